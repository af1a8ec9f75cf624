"""What the page works with: checkpoints in memory, pictures at working size, kept results, and work that stops."""

import functools
import hashlib
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import gradio as gr
from gradio.utils import get_upload_folder

import residae.examples
from residae.checkpoint import DEFAULT, Checkpoint
from residae.codec import Compressed
from residae.errors import CodecError, ResidaeError
from residae.image import Picture, fit
from residae.image.process import DecoderProcess
from residae.pipeline import Encoding, Pipeline, Reconstruction
from residae.progress import Progress
from residae.ui import zero_gpu

EXAMPLES = residae.examples.paths()
CPU_SIDE, NO_LIMIT = 1024, 0  # pixels on the long side that are worked on
QUALITY = 80
Updates = dict[Any, Any]  # component: its new value

DECODER = DecoderProcess()  # in which every upload is opened
LOCK = threading.Lock()
KEPT: dict[Any, Reconstruction] = {}  # on our own pictures, so that they are one click away; a megabyte or two each
MOST_KEPT = 40
TELLING = 0.2  # seconds between two words on progress: the browser works for each, perhaps on the same cores
FORESIGHT = 2.0  # seconds before a word on how long it will take: guesses from less were several times too high
BESIDE, ASKED, PICTURE = range(3)  # ranks of work: what tabs add to what is shown, what else was asked for, a picture
RUNNING: WeakValueDictionary[str, "Work"] = WeakValueDictionary()  # by session, what can be stopped


class Stopped(Exception):  # noqa: N818  # no error
    """The person does not want the result any more."""


class GivenUp(Stopped):
    """For good: nothing else was asked for in its place."""


class Work(threading.Event):
    """What runs for a session, until it is set."""

    given_up = False

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank


@dataclass(frozen=True, eq=False)
class Shown:
    """What the page shows now: all that another rate, an edit or a comparison starts from. No picture is in it."""

    path: str
    side: int
    checkpoint: str
    encoding: Encoding
    compressed: Compressed | None
    psnr: float

    @property
    def color(self) -> bool:
        return len(self.encoding.latents) == 3

    @property
    def quality(self) -> float | None:
        return self.compressed.quality if self.compressed else None

    @property
    def pipeline(self) -> Pipeline:
        return get_pipeline(self.checkpoint)

    def picture(self) -> Picture:
        return open_fitted(self.path, self.side)


@functools.lru_cache(maxsize=4)
def _open_pipeline(checkpoint: str) -> Pipeline:
    kind = zero_gpu.ZeroGpuPipeline if zero_gpu.LENT else Pipeline
    return kind.open(Checkpoint.find().get(checkpoint))  # where there is none, it says what to do


def default_checkpoint() -> str:
    """The name of the first of those found; one is always there, or opening it tells what is missing."""
    return next(iter(Checkpoint.find()), DEFAULT)


def get_pipeline(checkpoint: str) -> Pipeline:
    """A checkpoint in memory, loaded when it is first needed, and once."""
    with LOCK:
        return _open_pipeline(checkpoint)


def get_ready() -> None:
    """Before the page is launched: load the weights, in the background where that may be."""
    if zero_gpu.LENT:
        for name in Checkpoint.find():  # the only time at which they can be placed
            get_pipeline(name)  # and the first GPU is lent to a visitor
    else:
        threading.Thread(target=warm_up, daemon=True).start()  # the page answers meanwhile


def warm_up() -> None:
    """Load the weights, and have our own pictures ready, the first visitor's first; whoever asks meanwhile goes before.

    To be run in a thread of its own: on Linux it is made the last to get a processor. Elsewhere only a process has a
    priority.
    """
    with suppress(ResidaeError):  # whoever asks next is told
        checkpoint = default_checkpoint()
        side = usual_side(checkpoint)
        if side and sys.platform == "linux":  # work on a GPU takes no processor from anyone
            for path in EXAMPLES:
                open_fitted(path, side)  # before, since it starts the process that opens the next picture
            os.nice(19)
        for path in EXAMPLES:
            reconstruct(path, checkpoint, True, side, QUALITY, lambda share: None)


def usual_side(checkpoint: str) -> int:
    """The working size that a visit begins with."""
    return NO_LIMIT if get_pipeline(checkpoint).engine.on_gpu else CPU_SIDE


def open_fitted(path: str, side: int) -> Picture:
    """A picture at working size. The latest small ones are kept: each new rate asks for its picture again."""
    return _open_once(path, side) if 0 < side <= CPU_SIDE else _open(path, side)


def _open(path: str, side: int) -> Picture:
    picture = DECODER.open_picture(path)
    return fit(picture, side or max(picture.width, picture.height))


_open_once = functools.lru_cache(maxsize=16)(_open)  # 3 MB each; paths of uploads are made of what is in them


def reconstruct(
    path: str, checkpoint: str, color: bool, side: int, quality: float | None, progress: Progress
) -> Reconstruction:
    settings = path, checkpoint, color, side, quality
    report = KEPT.pop(settings, None)
    report = report or get_pipeline(checkpoint).reconstruct(open_fitted(path, side), color, quality, progress)
    if path in EXAMPLES:
        KEPT[settings] = report  # the latest last
        while len(KEPT) > MOST_KEPT:
            del KEPT[next(iter(KEPT))]
    return report


def read(path: str) -> bytes:
    """An uploaded file. CodecError where it is not there any more."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CodecError("The file is not here any more, or is a folder: upload it again.") from error


def saved(data: bytes, name: str) -> str:
    """A file of that name where the page may fetch it; removed with the uploads.

    Files are kept by content, so it may be there and being read by another visitor: Gradio would write over it, and
    that one would get half of it. Put in its place, it is whole at every moment, and young again. ResidaeError where
    it cannot be written.
    """
    folder = Path(get_upload_folder()) / hashlib.sha256(data).hexdigest()
    part = folder.parent / f"tmp{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        return str(part.replace(folder / name))
    except OSError as error:
        with suppress(OSError):
            part.unlink()  # on a full disk, half a result is half too much
        raise ResidaeError(f"The result cannot be written on the server: {error.strerror}.") from error


def told(progress: gr.Progress, request: gr.Request, doing: str = "", rank: int = ASKED) -> Progress:
    """Tell the page what is being done, how far it is and how long it will take; stop when the session asks to.

    The time is told once it can be known from what has passed.
    """
    start = last = time.monotonic()
    work = RUNNING[str(request.session_hash)] = Work(rank)

    def tell(share: float) -> None:
        nonlocal last
        if work.is_set():
            raise GivenUp if work.given_up else Stopped
        now = time.monotonic()
        if now - last < TELLING:
            return
        last = now
        words = doing
        if now - start > FORESIGHT:
            left = (now - start) * (1 - share) / share
            words += f" About {left:.0f} s left" if left < 120 else f" About {left / 60:.0f} minutes left"
        progress(share, desc=words.strip() or None)

    return tell


def stop(request: gr.Request) -> None:
    """Ask what runs for this session to stop; what is shown stays."""
    _stop(request, PICTURE)


def give_up(request: gr.Request) -> None:
    """As `stop`, for good."""
    _stop(request, PICTURE, for_good=True)


def stop_for_rate(request: gr.Request) -> None:
    """As `stop`, but a picture goes on: to end it would change the rate of the one before in its place."""
    _stop(request, ASKED)


def stop_beside(request: gr.Request) -> None:
    """As `stop`, of what would begin anew by itself when it is looked at."""
    _stop(request, BESIDE)


def _stop(request: gr.Request, highest: int, for_good: bool = False) -> None:
    work = RUNNING.get(str(request.session_hash))
    if work and work.rank <= highest:
        work.given_up |= for_good
        work.set()


def explained(place: gr.HTML, alert: Any, work: Iterator[Updates]) -> Iterator[Updates]:
    """What `work` yields; an error of the person's as a sentence in `place`, and a stop or nothing as no change.

    Gradio would empty all outputs of what ends without yielding anything.
    """
    no_change = {place: gr.skip()}
    try:
        yield next(work, no_change)
        yield from work
    except Stopped:
        yield no_change
    except ResidaeError as error:
        yield {place: alert(error)}
