"""Work that a visitor waits for: how far it is, what ends it early, and how its errors are shown."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from enum import IntEnum
from typing import Any, Self, TypeVar

import gradio as gr
from gradio.context import LocalContext

from residae.errors import TOO_LITTLE_MEMORY, OutOfMemoryError, ResidaeError
from residae.progress import CANCELLATION
from residae.ui.budget import (
    REQUESTS_PER_WINDOW,
    TOLERANCE,
    VISITORS_PER_ADDRESS,
    Account,
    ShareError,
    Speed,
    shares,
)
from residae.ui.text import alert, duration, megapixels
from residae.ui.turns import Turns, Visitor

T = TypeVar("T")
Updates = dict[Any, Any]  # the new value of each component that changes

PROGRESS_INTERVAL = 0.2  # seconds between two messages: each costs the browser time, perhaps on the same processor
PATIENCE = 60.0  # seconds without anyone who listens, after which work ends
RETURN_SECONDS = 2.0  # the same for work that begins after its listeners were lost; it may be of a visitor who returns
SOON = 1.0  # seconds that are left, below which they are not said: it would be over when it is read
ETA_DELAY = 2.0  # seconds before a remaining time is estimated: earlier estimates were several times too high


class Priority(IntEnum):
    """How much it takes to end a piece of work early."""

    BACKGROUND = 0  # what a tab adds to the current result; it starts again when the tab is looked at
    REQUESTED = 1  # what a visitor asked for
    NEW_PICTURE = 2  # ending it for another quality would recompress the picture before, in its place


class Stopped(Exception):  # noqa: N818  # not an error
    """The work ended early."""


class Superseded(Stopped):
    """The visitor asked for something else in its place."""


class Cancelled(Stopped):
    """The visitor pressed Stop, or left: nothing comes in its place."""


class Left(Cancelled):
    """The visitor left: nobody wants the result any more, however much of it there is."""


class Work:
    """A piece of work that a visitor waits for.

    While its block runs, the work holds a turn in front of the model, if it needs it, and can be ended: at the next
    `check`, report of progress or `raise_if_cancelled` it raises Superseded or Cancelled. It ends by itself once nobody
    has listened to it for PATIENCE seconds. As a `Progress`, it reports to the page how far it is and how long it will
    take.

    Args:
        request: Of the visitor.
        progress: Receives a message at most every PROGRESS_INTERVAL.
        doing: A sentence that says what is being done.
        priority: What it takes to end it early.
        advice: What to choose so that it takes less, for the errors that say that it takes too much time or memory.
        needs_turn: Whether it needs the model. Work that shows what is kept already waits for nobody.
        says_waiting: Whether the page is told that it waits for its turn.
    """

    def __init__(
        self,
        request: gr.Request,
        progress: gr.Progress | None = None,
        doing: str = "",
        priority: Priority = Priority.REQUESTED,
        advice: str = "a smaller working size",
        needs_turn: bool = True,
        says_waiting: bool = True,
    ) -> None:
        self.session, self.event = str(request.session_hash), LocalContext.event_id.get(None)
        assert request.request  # Gradio has none where it calls a function by itself, which it does not here
        self.visitor: Visitor = request.request.scope["visitor"]
        self.priority = priority
        self._progress, self._doing, self._advice = progress, doing, advice
        self._needs_turn, self._says_waiting = needs_turn, says_waiting
        self._reason: type[Stopped] | None = None
        self._heard = time.monotonic()  # when somebody last listened
        self._told = 0.0  # when the page was last told of progress
        self._estimate = ""  # of how long the work takes; it is said until the time that is left is known
        self._speed = SPEEDS[False]
        self._pixels = self._used = 0.0  # charged so far, and seconds of turns that are over
        self._pictures = 1
        self._give_way: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        with ExitStack() as exits, _lock:
            _works.add(self)
            if {self.session, self.event} & _lost.keys():
                self._heard = min(self._heard, time.monotonic() - PATIENCE + RETURN_SECONDS)
            exits.callback(self._forget)
            self._exits = exits.pop_all()
        try:
            if self._needs_turn:
                self._give_way = self._exits.enter_context(TURNS.turn(self.visitor, self._wait))
        except BaseException:
            self._exits.close()
            raise
        self._begun = self._start = time.monotonic()
        self._exits.callback(self._settle)
        self._exits.callback(CANCELLATION.set, CANCELLATION.get())
        CANCELLATION.set(self.check)
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: object) -> None:
        if error is not None:  # it ended early, and did less than was charged
            self._pixels = min(self._pixels, self._speed.pixels_per_second * self._seconds())
        elif self.priority > Priority.BACKGROUND:  # what tabs add runs other codecs and metrics as well
            self._speed.learn(self._pixels, self._seconds(), self._pictures)
        self._exits.close()
        if isinstance(error, OutOfMemoryError) and str(error) == TOO_LITTLE_MEMORY:
            raise OutOfMemoryError(f"{TOO_LITTLE_MEMORY.removesuffix('.')}: choose {self._advice}.") from error

    def __call__(self, share: float) -> None:
        """Report the share done, in (0, 1]."""
        seconds = time.monotonic() - self._start
        known = seconds > ETA_DELAY and share > 0.001  # earlier it would be hours
        self.report(share, seconds * (1 - share) / share if known else None)

    def report(self, share: float, left: float | None) -> None:
        """Report the share done, and how many seconds are left, if that is known.

        Args:
            share: In [0, 1].
            left: Seconds; None if they are not known.

        Raises:
            Superseded, Cancelled, ShareError: As `check`.
        """
        self.check()
        time_left = f"About {duration(left)} left." if left is not None and left >= SOON else ""
        self._tell(share, f"{self._doing} {self._estimate if left is None else time_left}".rstrip())

    def cancel(self, reason: type[Stopped]) -> None:
        """Ask the work to end, at which `check` raises the reason. Work that was cancelled for good stays so."""
        if reason is Left or self._reason is None or not issubclass(self._reason, Cancelled):
            self._reason = reason

    def check(self) -> None:
        """Raise if the work is to end.

        Raises:
            Superseded: The visitor asked for something else.
            Cancelled: The visitor pressed Stop, or, as Left, is gone.
            ShareError: The work takes longer than the page allows, whatever was estimated.
        """
        if self._reason:
            raise self._reason
        now = time.monotonic()
        if _listeners[self.session] or _listeners[self.event]:
            self._heard = now
        elif now - self._heard > PATIENCE:
            raise Left
        most = shares().seconds
        if self._seconds() > TOLERANCE * most:
            raise ShareError(
                f"The work was stopped because it took longer than the {duration(most)} that this page allows: "
                f"choose {self._advice}."
            )

    def charge(self, pixels: float, on_gpu: bool = False, pictures: int = 1, is_all: bool = True) -> None:
        """Check that there is a share left for work that is about to begin, and say how long it will take.

        Args:
            pixels: By `network_pixels`.
            on_gpu: Whether a GPU does it.
            pictures: How many pictures it is.
            is_all: Whether the network does all of the work; if not, nothing is said until the time is known.

        Raises:
            ShareError: It is more than the page allows.
        """
        self._speed, limits = SPEEDS[on_gpu], shares()
        estimate, total = self._speed.seconds(pixels), self._pixels + pixels
        if self._seconds() + estimate > limits.seconds or total > limits.pixels:
            raise ShareError(
                f"This takes about {duration(estimate)}; this page allows {duration(limits.seconds)} and "
                f"{megapixels(limits.pixels)} at a time: choose {self._advice}."
            )
        if limits:
            self._check_window(estimate, limits.seconds, SECONDS_USED, self._seconds(), duration)
            self._check_window(pixels, limits.pixels, PIXELS_USED, self._pixels, megapixels)
        self._pixels, self._pictures = total, max(pictures, self._pictures)
        if is_all and estimate > ETA_DELAY and total == pixels:  # later charges are for parts of work that has begun
            allowed = f"; this page allows {duration(limits.seconds)}" if limits else ""
            self._estimate = f"About {duration(estimate)} left{allowed}."
            self._told = -math.inf  # this is said, whatever was said just before
            self._tell(0, f"{self._doing} {self._estimate}")

    def _check_window(
        self, needed: float, most: float, account: Account, own: float, unit: Callable[[float], str]
    ) -> None:
        """Check what the visitor and the address have left, given the limit of one request and what this one used."""
        for who, times in ((self.visitor, 1), (self.visitor.address, VISITORS_PER_ADDRESS)):
            left = REQUESTS_PER_WINDOW * times * most - account.used(who) - own
            if needed > left:
                raise ShareError(
                    f"This takes about {unit(needed)}, and you have {unit(max(left, 0))} left of what this page "
                    f"allows a visitor in an hour: try again later, or choose {self._advice}."
                )

    def refund(self, pixels: float) -> None:
        """Take back a part of what was charged, for work that was not needed.

        Args:
            pixels: By `network_pixels`.
        """
        self._pixels -= pixels

    def give_way(self) -> None:
        """Between two parts of the work, let the work of other visitors go first."""
        self.check()
        self._used, self._begun = self._seconds(), math.inf
        self._give_way()
        self._begun = time.monotonic()

    def _wait(self, ahead: int) -> None:
        """While others have their turns."""
        self._begun = math.inf
        self.check()
        if self._says_waiting:
            self._tell(0, f"Waiting: {ahead} {'request comes' if ahead == 1 else 'requests come'} first.")

    def _tell(self, share: float, message: str) -> None:
        now = time.monotonic()
        if self._progress is not None and now - self._told >= PROGRESS_INTERVAL:
            self._told = now
            self._progress(share, desc=message.strip() or None)

    def _seconds(self) -> float:
        """How long the work has held its turns."""
        return self._used + max(0.0, time.monotonic() - self._begun)

    def _settle(self) -> None:
        """Charge the visitor for what was used."""
        SECONDS_USED.add(self.visitor, self._seconds())
        PIXELS_USED.add(self.visitor, self._pixels)

    def _forget(self) -> None:
        with _lock:
            _works.discard(self)


TURNS = Turns()
SPEEDS = {False: Speed(1e5), True: Speed(4e6)}  # on a CPU and on a GPU; at first a guess
SECONDS_USED, PIXELS_USED = Account(), Account()
_lock = threading.Lock()
_works: set[Work] = set()
_listeners: Counter[str | None] = Counter()  # connections that wait for news, by session or event
_lost: dict[str, float] = {}  # sessions and events that were let go in the last PATIENCE seconds, and when


def is_at_work(request: gr.Request) -> bool:
    """Whether there is work of the session that has begun or waits for its turn."""
    with _lock:
        return any(work.session == request.session_hash for work in _works)


def supersede(request: gr.Request) -> None:
    """End the work of the session, whatever it is."""
    _cancel(request.session_hash, Priority.NEW_PICTURE, Superseded)


def supersede_requested(request: gr.Request) -> None:
    """End the work of the session, unless it is a new picture."""
    _cancel(request.session_hash, Priority.REQUESTED, Superseded)


def supersede_background(request: gr.Request) -> None:
    """End the work of the session if it starts again by itself when it is looked at."""
    _cancel(request.session_hash, Priority.BACKGROUND, Superseded)


def cancel(request: gr.Request) -> None:
    """End the work of the session because the visitor pressed Stop."""
    _cancel(request.session_hash, Priority.NEW_PICTURE, Cancelled)


def let_go(key: str) -> None:
    """End the work of a session, or of an event, because nobody wants it any more; soon also what is about to begin."""
    with _lock:
        now = time.monotonic()
        _lost[key] = now
        for old in [lost for lost, since in _lost.items() if now - since > PATIENCE]:
            del _lost[old]
    _cancel(key, Priority.NEW_PICTURE, Left)


def _cancel(key: str | None, highest: Priority, reason: type[Stopped]) -> None:
    with _lock:
        works = [work for work in _works if key in (work.session, work.event) and work.priority <= highest]
    for work in works:
        work.cancel(reason)


@contextmanager
def listening(key: str) -> Iterator[Callable[[], None]]:
    """Note that somebody listens to a session or an event while the block runs.

    Yields:
        A function to call when the listener is lost before the end: the work ends if nobody else listens.
    """
    lost = False

    def lose() -> None:
        nonlocal lost
        lost = True

    _listeners[key] += 1
    try:
        yield lose
    finally:
        _listeners[key] -= 1
        if not _listeners[key]:
            del _listeners[key]
            if lost:
                let_go(key)


def newest(request: gr.Request, component: gr.State, value: T) -> T:
    """What the session remembers in a component now: work may have waited, and changed it, since it was `value`.

    Args:
        request: From Gradio; it names the session.
        component: One of the page's states.
        value: What the component held when the event began; it is returned outside of Gradio.
    """
    blocks = LocalContext.blocks.get(None)
    return blocks.state_holder[str(request.session_hash)][component._id] if blocks else value


def report_errors(place: gr.HTML, work: Iterator[Updates]) -> Iterator[Updates]:
    """Forward the updates of work.

    Show a ResidaeError in `place`; leave the page unchanged if the work ended early or yielded nothing, where Gradio
    would empty all outputs.

    Args:
        place: The status line of the tab.
        work: Runs in one context, so that what it sets there lasts from one step to the next.

    Yields:
        The updates of the work, then that of its error, if there is one.
    """
    no_change = {place: gr.skip()}
    steps = _in_one_context(work)
    try:
        yield next(steps, no_change)
        yield from steps
    except Stopped:
        yield no_change
    except ResidaeError as error:
        yield {place: alert(error)}


def _in_one_context(work: Iterator[T]) -> Iterator[T]:
    """What an iterator yields. Gradio runs each step in a context of its own, where what it sets would be lost."""
    context = copy_context()
    try:
        while (update := context.run(next, work, None)) is not None:
            yield update
    finally:
        if isinstance(work, Generator):
            context.run(work.close)
