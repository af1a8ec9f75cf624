"""What is kept so that it is there at once: opened pictures, encodings, and results and comparisons made before."""

import logging
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import residae.examples
from residae.compare import Comparison
from residae.errors import ImageError, ResidaeError, SizeError
from residae.geometry import Scale
from residae.image import CropBox, Picture, crop, fit
from residae.image.process import DecoderProcess
from residae.pipeline import Encoding, Reconstruction, network_pixels
from residae.progress import CANCELLATION, raise_if_cancelled
from residae.quality import DEFAULT_QUALITY
from residae.ui.store import RecentlyUsed, default_checkpoint, get_pipeline
from residae.ui.work import Work

EXAMPLES = residae.examples.paths()
CPU_SIDE = 1024  # pixels on the long side; a CPU takes seconds for such a picture
FULL_SIZE = 0  # in place of a side: the picture's own

MAX_REPORT_BYTES = 256 * 10**6  # a picture of CPU_SIDE takes up to 6 MB with its reconstruction
MAX_COMPARISON_BYTES = 192 * 10**6  # a picture of CPU_SIDE takes up to 22 MB with those of all codecs
MAX_ENCODING_BYTES = 64 * 10**6  # at scale 1, such a picture takes 400 kB
MAX_OPENED_BYTES = 48 * 10**6  # a picture of CPU_SIDE takes up to 3 MB
POLL_SECONDS = 0.2  # between two looks at whether whoever waits for the first result has left
DECODER = DecoderProcess()  # opens every picture

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What a result is made from.

    Attributes:
        path: Of the picture file.
        checkpoint: Name of the checkpoint.
        color: Whether to use chroma as well.
        side: Long side to work at, in pixels; FULL_SIZE for the picture's own.
        scale: At which the picture is encoded; "auto" to choose it by `max_bytes`.
        quality: Of the file, 0 to 100; None with `max_bytes`, or to decode the unquantized latent.
        max_bytes: Size that the file must not exceed; None to use the quality.
        box: The part of the picture to work on; None for the whole picture.
    """

    path: str
    checkpoint: str
    color: bool = True
    side: int = FULL_SIZE
    scale: Scale = 1.0
    quality: float | None = DEFAULT_QUALITY
    max_bytes: int | None = None
    box: CropBox | None = None

    @property
    def of_encoding(self) -> "Settings":
        """The same settings without those on which the encoding does not depend."""
        return replace(self, quality=None, max_bytes=self.max_bytes if self.scale == "auto" else None)


ComparisonKey = tuple[Settings, bytes]  # of the result, and its file
REPORTS: RecentlyUsed[Settings, Reconstruction] = RecentlyUsed(MAX_REPORT_BYTES)
SHORTEST: RecentlyUsed[tuple[Any, ...], tuple[float, float]] = RecentlyUsed(10_000)  # seconds of the same work
REFUSED: RecentlyUsed[Settings, str] = RecentlyUsed(1000)  # why no file is within the size
COMPARISONS: RecentlyUsed[ComparisonKey, Comparison] = RecentlyUsed(MAX_COMPARISON_BYTES)  # finished ones
ENCODINGS: RecentlyUsed[Settings, Encoding] = RecentlyUsed(MAX_ENCODING_BYTES)
OPENING: dict[Settings, threading.Event] = {}  # what `warm_up` makes for the first visitor; set when it is there
OPENED: RecentlyUsed[tuple[str, int, CropBox | None], Picture] = RecentlyUsed(MAX_OPENED_BYTES)  # small pictures


def default_side(checkpoint: str) -> int:
    """The working size that a visit starts with: FULL_SIZE on a GPU, else CPU_SIDE pixels on the long side.

    Args:
        checkpoint: A name, as for `get_pipeline`.

    Raises:
        CheckpointError: There is no such checkpoint, or it cannot be loaded.
    """
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
    key = path, side, box  # the path of an upload contains a hash of its content
    if kept := OPENED.get(key):
        return kept
    try:
        picture = DECODER.open_picture(path, CANCELLATION.get())
    except ImageError as error:  # of which the visitor sees the message alone
        LOG.warning("A picture is refused.", exc_info=error)
        raise
    picture = crop(picture, box) if box else picture
    picture = fit(picture, side or max(picture.width, picture.height))
    if 0 < side <= CPU_SIDE:
        OPENED.keep(key, picture, picture.pixels.nbytes)
    return picture


def read_sizes(paths: Sequence[str], side: int) -> list[tuple[int, int]]:
    """The height and width of pictures at the working size, as their headers state them; (0, 0) where they do not.

    Args:
        paths: Of the picture files.
        side: As in `open_at_size`.
    """
    sizes = []
    for height, width in (size or (0, 0) for size in DECODER.read_sizes(paths, CANCELLATION.get())):
        factor = min(1, side / max(height, width)) if side and height else 1
        sizes.append((round(factor * height), round(factor * width)))
    return sizes


def reconstruct(settings: Settings, work: Work | None) -> Reconstruction:
    """Send a picture through the network and back, or as much of it as was not done before with the same settings.

    Args:
        settings: What the result is made from.
        work: It is charged, and reports the progress; None where no visitor waits.

    Raises:
        ImageError: The picture cannot be opened, or is over a limit.
        CheckpointError: The checkpoint cannot be loaded.
        CodecError: No file is within `max_bytes`.
        ShareError: It is more than the page allows.
    """
    while (opening := OPENING.get(settings)) and not opening.wait(POLL_SECONDS):
        raise_if_cancelled()
        if work:
            work.report(0, None)
    if kept := kept_report(settings):
        return kept
    if refused := REFUSED.get(settings):  # leaving the field of the size asks again
        raise SizeError(refused)
    try:
        return _keep_report(settings, _reconstruct(settings, work))
    except SizeError as error:
        REFUSED.keep(settings, str(error), 1)
        raise


def kept_report(settings: Settings) -> Reconstruction | None:
    """The result with these settings, if it was made before and is still kept.

    That of a picture smaller than CPU_SIDE is the same at full size.
    """
    if report := REPORTS.get(settings):
        return _keep_report(settings, report)
    other = replace(settings, side=CPU_SIDE if settings.side == FULL_SIZE else FULL_SIZE)
    report = REPORTS.get(other) if settings.side in (CPU_SIDE, FULL_SIZE) else None
    if report is None or not is_small(report.encoding):
        return None
    _keep_encoding(settings, report.encoding)
    return _keep_report(settings, report)


def is_small(encoding: Encoding) -> bool:
    """Whether a picture is encoded at its own size whichever working size is chosen."""
    return max(encoding.height, encoding.width) < CPU_SIDE  # one of just this size may have been reduced to it


def _keep_report(settings: Settings, report: Reconstruction) -> Reconstruction:
    """Keep a result, with the shortest time in which the same work was done.

    Other work may go on at the same time, and whatever it took is no property of the network.
    """
    encoding, decoding = report.encoding, report.decoding
    size = sorted((encoding.height, encoding.width))
    work = settings.checkpoint, *size, len(encoding.latents), encoding.scale
    encode, decode = SHORTEST.get(work) or (encoding.seconds, decoding.seconds)
    SHORTEST.keep(work, (min(encode, encoding.seconds), min(decode, decoding.seconds)), 1)
    if encode < encoding.seconds:
        report = replace(report, encoding=replace(encoding, seconds=encode))
    if decode < decoding.seconds:
        report = replace(report, decoding=replace(decoding, seconds=decode))
    REPORTS.keep(settings, report, report.original.nbytes + report.decoding.pixels.nbytes)
    return report


def _reconstruct(settings: Settings, work: Work | None) -> Reconstruction:
    pipeline, quality, max_bytes = get_pipeline(settings.checkpoint), settings.quality, settings.max_bytes
    picture = open_at_size(settings.path, settings.side, settings.box)
    encoding = ENCODINGS.get(settings.of_encoding)
    if work:
        scale = settings.scale if encoding is None else encoding.scale
        size, encodes = (picture.height, picture.width), encoding is None
        pixels = network_pixels(*size, picture.keeps_color(settings.color), scale, max_bytes=max_bytes, encodes=encodes)
        work.charge(pixels, pipeline.engine.on_gpu)
    if encoding is None:
        report = pipeline.reconstruct(picture, settings.color, quality, work, settings.scale, max_bytes=max_bytes)
        _keep_encoding(settings, report.encoding)
        return report
    compressed = None
    if max_bytes is not None:
        compressed = pipeline.write_within(encoding, max_bytes)
    elif quality is not None:
        compressed = pipeline.write(encoding, quality)
    return pipeline.decode_and_measure(picture, encoding, compressed, progress=work)


def _keep_encoding(settings: Settings, encoding: Encoding) -> None:
    size = sum(latent.nbytes for latent in encoding.latents)
    for key in {settings.of_encoding, replace(settings, scale=encoding.scale).of_encoding}:
        ENCODINGS.keep(key, encoding, size)


def warm_up() -> None:
    """Load the default checkpoint and reconstruct the examples, the one that a visit opens with first.

    Runs in a thread of its own. A visitor who comes before the first result is there waits for it. The others are made
    at the lowest priority on Linux, where a thread has one, so that visitors' work goes first.
    """
    with suppress(ResidaeError):  # the next visitor gets the same error, and sees it
        checkpoint = default_checkpoint()
        side = default_side(checkpoint)
        opening, *others = (Settings(path, checkpoint, side=side) for path in EXAMPLES)
        OPENING[opening] = done = threading.Event()
        try:
            _keep_report(opening, _reconstruct(opening, None))
        finally:
            del OPENING[opening]
            done.set()
        if side and sys.platform == "linux":  # work on a GPU takes no processor from anyone
            for settings in others:
                open_at_size(
                    settings.path, side
                )  # or the process that opens visitors' pictures may start at 19 as well
            os.nice(19)
        for settings in others:
            reconstruct(settings, None)
