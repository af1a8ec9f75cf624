"""Progress of a piece of work, as a callback that is given the share that is done, and a way to end it early."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Progress = Callable[[float], None]  # called with the share of the work that is done, in (0, 1]


def between(progress: Progress | None, start: float, stop: float) -> Progress | None:
    """The callback of one part of a piece of work, which runs from `start` to `stop` as shares of the whole.

    Args:
        progress: Of the whole work; None if nobody follows it.
        start: At least 0.
        stop: More than `start`, at most 1.

    Returns:
        A callback for the share of this part that is done; None if `progress` is.
    """
    if progress is None:
        return None
    return lambda share: progress(start + (stop - start) * share)


def split(progress: Progress | None, *work: float) -> list[Progress | None]:
    """Divide a progress callback among the consecutive parts of a piece of work; see `between`.

    Args:
        progress: Of the whole work; None if nobody follows it.
        *work: How much work each part is, in any unit.

    Returns:
        A callback for each part, in order; None for each if `progress` is.
    """
    ends = itertools.accumulate(work, initial=0.0)
    return [between(progress, *part) for part in itertools.pairwise(end / sum(work) for end in ends)]


# Whatever takes long calls it, wherever it is called from, so that work can be ended in the middle of any part of it.
CANCELLATION: ContextVar[Callable[[], None]] = ContextVar("cancellation", default=lambda: None)


def raise_if_cancelled() -> None:
    """Raise what `CANCELLATION` of this context raises, if the work that this is part of is to end.

    Functions that may run for a second call it several times a second, as they would call a `Progress`.
    """
    CANCELLATION.get()()


@contextmanager
def uncancellable() -> Iterator[None]:
    """Let nothing end the work while the block runs, for a short part of it without which the others are of no use."""
    token = CANCELLATION.set(lambda: None)
    try:
        yield
    finally:
        CANCELLATION.reset(token)
