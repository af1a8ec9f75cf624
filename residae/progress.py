"""Progress of a piece of work, as a callback that is given the share that is done."""

from collections.abc import Callable

Progress = Callable[[float], None]  # is told the share of the work done, in (0, 1]


def between(progress: Progress | None, start: float, stop: float) -> Progress | None:
    """The progress of one part of a piece of work, told as progress of the whole."""
    if progress is None:
        return None
    return lambda share: progress(start + (stop - start) * share)
