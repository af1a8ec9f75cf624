"""Progress of a piece of work, as a callback that is given the share that is done."""

import itertools
from collections.abc import Callable

Progress = Callable[[float], None]  # is told the share of the work done, in (0, 1]


def between(progress: Progress | None, start: float, stop: float) -> Progress | None:
    """The progress of one part of a piece of work, told as progress of the whole."""
    if progress is None:
        return None
    return lambda share: progress(start + (stop - start) * share)


def split(progress: Progress | None, *work: float) -> list[Progress | None]:
    """The progress of each part of a piece of work, as in `between`, given how much work each of them is."""
    stops = [stop / sum(work) for stop in itertools.accumulate(work)]
    return [between(progress, start, stop) for start, stop in zip([0, *stops], stops, strict=False)]
