"""Shares of a public page: how much work one request and one visitor may take, and how long work will take.

They hold on a Hugging Face Space, and elsewhere where RESIDAE_SHARE_SECONDS asks for them. The owner of a laptop has
none.
"""

import math
import os
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass

from residae.codec import FileInfo
from residae.errors import ResidaeError
from residae.geometry import MAX_PIXELS
from residae.pipeline import network_pixels
from residae.ui.turns import REMEMBERED, Visitor

VARIABLE = "RESIDAE_SHARE_SECONDS"
SPACE_SECONDS = 120.0  # of one request, on a Space
WINDOW = 3600.0  # seconds over which the work of a visitor is added up
REQUESTS_PER_WINDOW = 5  # full shares that a visitor may take in that time
VISITORS_PER_ADDRESS = 10  # that may use their full shares; an address may be that of an office, or of many cookies
REQUEST_PIXELS = 4 * MAX_PIXELS  # encoded and decoded
UPLOAD_BYTES = 2 * 10**9  # of one visitor in WINDOW, which is also how long uploads are kept
MIN_LEARNED_PIXELS = 2.5e5  # of work from which a speed is learned: most of less does not grow with the picture
TOLERANCE = 1.5  # an estimate may be off by this factor before work is ended


class ShareError(ResidaeError):
    """The work is more than the page allows to one request or to one visitor."""


@dataclass(frozen=True)
class Shares:
    """Limits of one request; a visitor has REQUESTS_PER_WINDOW times as much in WINDOW seconds."""

    seconds: float = math.inf
    pixels: float = math.inf

    def __bool__(self) -> bool:
        """Whether there are limits at all."""
        return self.seconds < math.inf


def shares() -> Shares:
    """The limits that hold here: from VARIABLE if it is set, else SPACE_SECONDS on a Space, and none elsewhere.

    Raises:
        ResidaeError: The environment variable is not a number.
    """
    wanted = os.environ.get(VARIABLE, f"{SPACE_SECONDS}" if os.environ.get("SPACE_ID") else "0")
    try:
        seconds = float(wanted)
    except ValueError as error:
        raise ResidaeError(f"{VARIABLE} is a number of seconds, not {wanted!r}.") from error
    return Shares(seconds, REQUEST_PIXELS) if seconds > 0 else Shares()


def file_work(info: FileInfo) -> float:
    """The work of decoding a `.rae` file, by its header, in `network_pixels`."""
    return network_pixels(info.height, info.width, info.color, info.scale, encodes=0)


class Speed:
    """How many pixels a second the network encodes and decodes here, learned from the work that was done."""

    def __init__(self, pixels_per_second: float) -> None:
        self.pixels_per_second = pixels_per_second

    def learn(self, pixels: float, seconds: float, pictures: int = 1) -> None:
        """Take a finished piece of work into account.

        Args:
            pixels: By `network_pixels`. Nothing is learned from less than MIN_LEARNED_PIXELS a picture.
            seconds: How long it took. Nothing is learned from a second or less.
            pictures: How many pictures it was.
        """
        if pixels >= pictures * MIN_LEARNED_PIXELS and seconds > 1:
            self.pixels_per_second += (pixels / seconds - self.pixels_per_second) / 4

    def seconds(self, pixels: float) -> float:
        """An estimate of how many seconds work takes, given its `network_pixels`."""
        return pixels / self.pixels_per_second


class Account:
    """What each visitor has used in the last WINDOW seconds, of any resource."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: OrderedDict[Visitor | str, deque[tuple[int, float]]] = OrderedDict()  # by minute, latest last

    def add(self, visitor: Visitor, amount: float) -> None:
        """Charge an amount to a visitor, and to the address.

        Args:
            visitor: Who used the resource.
            amount: How much, in the unit of the account, such as seconds or bytes.
        """
        with self._lock:
            for who in (visitor, visitor.address):
                minutes, now = self._used.setdefault(who, deque()), int(time.monotonic() // 60)
                before = minutes.pop()[1] if minutes and minutes[-1][0] == now else 0
                minutes.append((now, before + amount))
                self._used.move_to_end(who)
            while len(self._used) > REMEMBERED:
                self._used.popitem(last=False)

    def used(self, who: Visitor | str) -> float:
        """What a visitor, or all visitors of an address, were charged in the last WINDOW seconds, to the minute."""
        with self._lock:
            entries = self._used.get(who, deque())
            while entries and 60 * entries[0][0] < time.monotonic() - WINDOW:
                entries.popleft()
            return sum(amount for _, amount in entries)
