"""Work that a visitor waits for: how far it is, what ends it early, and how its errors are shown."""

import time
from collections.abc import Iterator
from enum import IntEnum
from typing import Any
from weakref import WeakValueDictionary

import gradio as gr

from residae.errors import ResidaeError
from residae.progress import Progress
from residae.ui.text import alert

Updates = dict[Any, Any]  # the new value of each component that changes

PROGRESS_INTERVAL = 0.2  # seconds between two messages: each costs the browser time, perhaps on the same processor
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


class CancelToken:
    """Ends a piece of work from outside, at the work's next `check`.

    Attributes:
        priority: Of the work.
    """

    def __init__(self, priority: Priority) -> None:
        self.priority = priority
        self._reason: type[Stopped] | None = None

    def cancel(self, reason: type[Stopped]) -> None:
        """Ask the work to end. Work that was cancelled for good stays so."""
        if self._reason is not Cancelled:
            self._reason = reason

    def check(self) -> None:
        """Raise Superseded or Cancelled if the work is to end."""
        if self._reason:
            raise self._reason


TOKENS: WeakValueDictionary[str, CancelToken] = WeakValueDictionary()  # by session; each lives as long as its work


def supersede(request: gr.Request) -> None:
    """End the work of the session, whatever it is."""
    _cancel(request, Priority.NEW_PICTURE, Superseded)


def supersede_requested(request: gr.Request) -> None:
    """End the work of the session, unless it is a new picture."""
    _cancel(request, Priority.REQUESTED, Superseded)


def supersede_background(request: gr.Request) -> None:
    """End the work of the session if it starts again by itself when it is looked at."""
    _cancel(request, Priority.BACKGROUND, Superseded)


def cancel(request: gr.Request) -> None:
    """End the work of the session because the visitor pressed Stop."""
    _cancel(request, Priority.NEW_PICTURE, Cancelled)


def _cancel(request: gr.Request, highest: Priority, reason: type[Stopped]) -> None:
    token = TOKENS.get(str(request.session_hash))
    if token and token.priority <= highest:
        token.cancel(reason)


def progress_reporter(
    progress: gr.Progress, request: gr.Request, doing: str = "", priority: Priority = Priority.REQUESTED
) -> Progress:
    """Register work of a session, so that it can be ended, and report its progress and remaining time to the page.

    Args:
        progress: Receives a message at most every PROGRESS_INTERVAL.
        request: Identifies the session.
        doing: A sentence that says what is being done.
        priority: Of the work.

    Returns:
        A callback for the share done. It raises Superseded or Cancelled once the work is to end.
    """
    start = last = time.monotonic()
    token = TOKENS[str(request.session_hash)] = CancelToken(priority)

    def report(share: float) -> None:
        nonlocal last
        token.check()
        now = time.monotonic()
        if now - last < PROGRESS_INTERVAL:
            return
        last = now
        message = doing
        if now - start > ETA_DELAY:
            left = (now - start) * (1 - share) / share
            message += f" About {left:.0f} s left" if left < 120 else f" About {left / 60:.0f} minutes left"
        progress(share, desc=message.strip() or None)

    return report


def report_errors(place: gr.HTML, work: Iterator[Updates]) -> Iterator[Updates]:
    """Forward the updates of work.

    Show a ResidaeError in `place`; leave the page unchanged if the work ended early or yielded nothing, where Gradio
    would empty all outputs.
    """
    no_change = {place: gr.skip()}
    try:
        yield next(work, no_change)
        yield from work
    except Stopped:
        yield no_change
    except ResidaeError as error:
        yield {place: alert(error)}
