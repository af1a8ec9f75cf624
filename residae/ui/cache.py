"""What is kept so that it is there at once: opened pictures, and the reports on the example pictures."""

import functools
import logging
import os
import sys
import threading
from contextlib import suppress

import residae.examples
from residae.errors import ImageError, ResidaeError
from residae.image import CropBox, Picture, crop, fit
from residae.image.process import DecoderProcess
from residae.pipeline import Reconstruction
from residae.progress import Progress
from residae.ui.store import default_checkpoint, get_pipeline

EXAMPLES = residae.examples.paths()
DEFAULT_QUALITY = 80
MAX_STEPS = 200  # of refinement, beyond which nothing is gained
CPU_SIDE = 1024  # pixels on the long side; a CPU takes seconds for such a picture
FULL_SIZE = 0  # in place of a side: the picture's own

EXAMPLE_REPORTS: dict[tuple[object, ...], Reconstruction] = {}  # by settings, the last used last; 1 to 2 MB each
MAX_EXAMPLE_REPORTS = 40
_keeping = threading.Lock()
DECODER = DecoderProcess()  # opens every picture

LOG = logging.getLogger(__name__)


def default_side(checkpoint: str) -> int:
    """The working size that a visit starts with: the long side in pixels, or FULL_SIZE."""
    return FULL_SIZE if get_pipeline(checkpoint).engine.on_gpu else CPU_SIDE


def open_at_size(path: str, side: int, box: CropBox | None = None) -> Picture:
    """Open a picture, or a part of it, and reduce it to the working size.

    The latest small ones are kept, because each new quality needs its picture again.

    Args:
        path: Of the picture file.
        side: Long side in pixels; FULL_SIZE for the picture's own.
        box: The part to open; None for the whole picture.

    Raises:
        ImageError: The picture cannot be opened, or is over a limit.
    """
    return _open_once(path, side, box) if 0 < side <= CPU_SIDE else _open(path, side, box)


def _open(path: str, side: int, box: CropBox | None) -> Picture:
    try:
        picture = DECODER.open_picture(path)
    except ImageError as error:  # of which the visitor sees the message alone
        LOG.warning("A picture is refused.", exc_info=error)
        raise
    picture = crop(picture, box) if box else picture
    return fit(picture, side or max(picture.width, picture.height))


_open_once = functools.lru_cache(maxsize=16)(_open)  # 3 MB each; the path of an upload contains a hash of its content


def reconstruct(
    path: str,
    checkpoint: str,
    color: bool,
    side: int,
    quality: float | None,
    progress: Progress | None,
    box: CropBox | None = None,
) -> Reconstruction:
    """Send a picture through the network and back. Reports on the examples are kept.

    Args:
        path: Of the picture file.
        checkpoint: Name of the checkpoint.
        color: Whether to use chroma as well.
        side: Long side to work at, in pixels; FULL_SIZE for the picture's own.
        quality: Of the file, 0 to 100; if it is None the latent is decoded unquantized.
        progress: As in `Pipeline.reconstruct`.
        box: The part to work on; None for the whole picture.

    Raises:
        ImageError: The picture cannot be opened, or is over a limit.
        CheckpointError: The checkpoint cannot be loaded.
    """
    settings = path, checkpoint, color, side, quality, box
    with _keeping:
        report = EXAMPLE_REPORTS.pop(settings, None)
    report = report or get_pipeline(checkpoint).reconstruct(open_at_size(path, side, box), color, quality, progress)
    if path in EXAMPLES:
        with _keeping:
            EXAMPLE_REPORTS[settings] = report
            while len(EXAMPLE_REPORTS) > MAX_EXAMPLE_REPORTS:
                del EXAMPLE_REPORTS[next(iter(EXAMPLE_REPORTS))]
    return report


def warm_up() -> None:
    """Load the default checkpoint and compute the reports on the examples, the first visitor's first.

    Runs in a thread of its own, which on Linux gets the lowest priority; elsewhere only a process has one. Visitors'
    work therefore goes first.
    """
    with suppress(ResidaeError):  # the next visitor gets the same error, and sees it
        checkpoint = default_checkpoint()
        side = default_side(checkpoint)
        if side and sys.platform == "linux":  # work on a GPU takes no processor from anyone
            for path in EXAMPLES:
                open_at_size(path, side)  # first, because it starts the process that opens the next visitor's picture
            os.nice(19)
        for path in EXAMPLES:
            reconstruct(path, checkpoint, True, side, DEFAULT_QUALITY, None)
