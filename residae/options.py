"""Options that are written as text, in one way on the command line and in the page's endpoints."""

import re
from collections.abc import Callable

from residae.errors import ResidaeError
from residae.geometry import MAX_SCALE, MIN_SCALE, Scale

MAX_FACTOR = 1000.0  # of a channel: float32 has no number for what the network would make of much larger ones


class OptionError(ResidaeError):
    """The text of an option has no meaning."""


def number(kind: Callable[[str], float], text: str) -> float:
    """A number of this `kind`, int or float.

    Args:
        kind: `int` or `float`.
        text: As Python writes such numbers.

    Raises:
        OptionError: The text is none.
    """
    try:
        return kind(text)
    except ValueError:
        raise OptionError(f"{text!r} is not a {'whole ' if kind is int else ''}number") from None


def scale(text: str) -> Scale:
    """The factor by which a picture is resampled before it is encoded: `auto`, or a number from MIN_SCALE to MAX_SCALE.

    Args:
        text: Such as `auto` or `1.5`.

    Raises:
        OptionError: The text is neither.
    """
    if text == "auto":
        return "auto"
    value = number(float, text)
    if not MIN_SCALE <= value <= MAX_SCALE:
        raise OptionError(f"a scale is auto, or {MIN_SCALE:g} to {MAX_SCALE:g}, not {text}")
    return value


def crop(text: str) -> tuple[int, int, int, int]:
    """A part of a picture as (left, top, width, height) in pixels, from `WxH+X+Y`.

    Args:
        text: Four whole numbers, such as `640x480+100+0`.

    Raises:
        OptionError: The text has another form.
    """
    length = r"(\d{1,9})"  # Python reads no numbers of thousands of digits
    found = re.fullmatch(rf"{length}x{length}\+{length}\+{length}", text, re.ASCII)
    if not found:
        raise OptionError(f"{text!r} is not WxH+X+Y, such as 640x480+100+0")
    width, height, left, top = map(int, found.groups())
    return left, top, width, height


def channels(text: str) -> list[int]:
    """Channels of a latent, which count from 1, such as `3,7`.

    Args:
        text: Numbers of 1 and more, separated by commas.

    Raises:
        OptionError: The text has another form.
    """
    return [_channel(part) for part in text.split(",")]


def gains(text: str) -> dict[int, float]:
    """The factor of each channel that is named, such as `3=0.5,7=-1`.

    Args:
        text: CHANNEL=FACTOR, separated by commas; a factor is a number from -MAX_FACTOR to MAX_FACTOR.

    Raises:
        OptionError: The text has another form.
    """
    pairs = {}
    for part in text.split(","):
        channel, _, factor = part.partition("=")
        value = number(float, factor)
        if not abs(value) <= MAX_FACTOR:
            raise OptionError(f"a factor is -{MAX_FACTOR:g} to {MAX_FACTOR:g}, not {factor}")
        pairs[_channel(channel)] = value
    return pairs


def _channel(text: str) -> int:
    value = int(number(int, text))
    if value < 1:
        raise OptionError(f"{text.strip()} is not a channel: they count from 1")
    return value
