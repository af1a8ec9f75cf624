"""Progress of a piece of work, as a callback that is given the share that is done."""

import itertools
from collections.abc import Callable

Progress = Callable[[float], None]  # called with the share of the work that is done, in (0, 1]


def between(progress: Progress | None, start: float, stop: float) -> Progress | None:
    """The callback of one part of a piece of work, which runs from `start` to `stop` as shares of the whole."""
    if progress is None:
        return None
    return lambda share: progress(start + (stop - start) * share)


def split(progress: Progress | None, *work: float) -> list[Progress | None]:
    """The callback of each part of a piece of work, as in `between`, given how much work each of them is."""
    ends = itertools.accumulate(work, initial=0.0)
    return [between(progress, *part) for part in itertools.pairwise(end / sum(work) for end in ends)]
