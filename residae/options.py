"""Options that are written as text, in one way on the command line and in the page's endpoints."""

import math
import re
from collections.abc import Callable

from residae.errors import ResidaeError
from residae.geometry import MAX_SCALE, MIN_SCALE, Scale


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
    found = re.fullmatch(r"(\d+)x(\d+)\+(\d+)\+(\d+)", text, re.ASCII)
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
        text: CHANNEL=FACTOR, separated by commas; a factor is any finite number.

    Raises:
        OptionError: The text has another form.
    """
    pairs = {}
    for part in text.split(","):
        channel, _, factor = part.partition("=")
        value = number(float, factor)
        if not math.isfinite(value):
            raise OptionError(f"{factor} is not a factor")
        pairs[_channel(channel)] = value
    return pairs


def _channel(text: str) -> int:
    value = int(number(int, text))
    if value < 1:
        raise OptionError(f"{text.strip()} is not a channel: they count from 1")
    return value
