"""What the page works with: the one checkpoint in memory, pictures at their working size, and results that are kept."""

import functools
import hashlib
import threading
import time
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

import gradio as gr
from gradio.utils import get_upload_folder

import residae.examples
from residae.engine import Progress
from residae.errors import ResidaeError
from residae.image import Picture, fit
from residae.sandbox import Sandbox
from residae.session import Encoding, Laboratory, Report
from residae.ui import zero

EXAMPLES = residae.examples.paths()
CPU_SIDE, NO_LIMIT = 1024, 0  # pixels on the long side that are worked on
QUALITY = 80

SANDBOX = Sandbox()  # in which every upload is opened
LOCK = threading.Lock()
KEPT: dict[Any, Report] = {}  # on our own pictures, so that they are one click away; a megabyte or two each
MOST_KEPT = 40


class Shown(NamedTuple):
    """What the page shows now, from which another rate of it is decoded."""

    path: str
    side: int
    encoding: Encoding


@functools.cache
def _open_laboratory() -> Laboratory:
    return zero.LentLaboratory.open() if zero.LENT else Laboratory.open()


def laboratory() -> Laboratory:
    """The one checkpoint in memory, loaded when it is first needed, and once."""
    with LOCK:
        return _open_laboratory()


def get_ready() -> None:
    """Before the page is launched: load the weights, in the background where that may be."""
    if zero.LENT:
        laboratory()  # the only time at which they can be placed; and the first GPU is lent to a visitor
    else:
        threading.Thread(target=warm_up, daemon=True).start()  # the page answers meanwhile


def warm_up() -> None:
    """Load the weights, and have the first visitor's picture ready."""
    with suppress(ResidaeError):  # whoever asks next is told
        examine(EXAMPLES[0], True, CPU_SIDE, QUALITY, lambda share: None)


def open_fitted(path: str, side: int) -> Picture:
    picture = SANDBOX.open_picture(path)
    return fit(picture, side or max(picture.width, picture.height))


def examine(path: str, color: bool, side: int, quality: float | None, progress: Progress) -> Report:
    settings = path, color, side, quality
    report = KEPT.pop(settings, None) or laboratory().examine(open_fitted(path, side), color, quality, progress)
    if path in EXAMPLES:
        KEPT[settings] = report  # the latest last
        while len(KEPT) > MOST_KEPT:
            del KEPT[next(iter(KEPT))]
    return report


def saved(data: bytes, name: str) -> str:
    """A file of that name where the page may fetch it; removed with the uploads.

    Files are kept by content, so it may be there and being read by another visitor: Gradio would write over it, and
    that one would get half of it. Put in its place, it is whole at every moment, and young again.
    """
    folder = Path(get_upload_folder()) / hashlib.sha256(data).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=folder.parent, delete=False) as part:
        part.write(data)
    return str(Path(part.name).replace(folder / name))


def told(progress: gr.Progress) -> Progress:
    """Tell the page how far the work is and how long it will take."""
    start = time.monotonic()

    def tell(share: float) -> None:
        left = (time.monotonic() - start) * (1 - share) / share
        progress(share, desc=f"About {left:.0f} s left")

    return tell
