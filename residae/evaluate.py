"""Measure a checkpoint on a folder of pictures: the tables of the README and the model card."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import nan
from pathlib import Path
from statistics import fmean

from residae.baselines import compress_within
from residae.codec import Compressed
from residae.codec.tables import Symbols
from residae.compare import RatePoint
from residae.errors import CodecError, ImageError
from residae.image import Picture, open_picture
from residae.metrics import bits_per_pixel, psnr, ssim
from residae.pipeline import Pipeline, Reconstruction

LeftOut = Callable[[Path, ImageError], None]


@dataclass(frozen=True)
class File:
    """A picture's `.rae` file, what it cost to make and to read, and what its tables would take at best."""

    quality: float
    bytes: int
    ideal_bytes: float
    coding: float  # seconds, without the network's, as are those of parsing
    parsing: float
    luma: Symbols = field(repr=False)


@dataclass(frozen=True)
class Score:
    """One picture's luma, rebuilt from its file or from the unquantized latent, against its 8-bit original.

    Where the picture cannot be kept at the rate that was asked for, there is no file, and `psnr` is not a number.
    """

    name: str
    width: int
    height: int
    psnr: float  # dB
    ssim: float
    encoding: float  # seconds in the network
    decoding: float
    file: File | None = None
    baselines: dict[str, RatePoint | None] = field(default_factory=dict)  # None where one cannot do it in so few bytes

    @property
    def bits_per_pixel(self) -> float:
        """Of the whole file; not a number without one."""
        return bits_per_pixel(self.file.bytes, self.width, self.height) if self.file else nan


def evaluate(
    pipeline: Pipeline,
    folder: str | Path,
    qualities: Sequence[float] = (),
    rates: Sequence[float] = (),
    baselines: Sequence[str] = (),
    left_out: LeftOut | None = None,
) -> Iterator[Score]:
    """Score each picture directly in `folder`, in order of name. ImageError when there is none.

    Each is encoded once, and scored at each of `qualities` (0 to 100), then at each of `rates` (the best file within
    so many bits per pixel); or from its unquantized latent, where there are neither. `baselines`, keys of
    `residae.baselines.CODECS`, get no more bytes than our file takes. `left_out` as in `open_pictures`.
    """
    for name, picture in open_pictures(folder, left_out):
        encoding = pipeline.encode(picture, color=False)
        if not qualities and not rates:
            yield _score(name, pipeline.decode_and_measure(picture, encoding, None))
        pixels = picture.width * picture.height
        coders: list[Callable[[], Compressed]] = [partial(pipeline.write, encoding, q) for q in qualities]
        coders += [partial(pipeline.write_within, encoding, int(rate * pixels / 8)) for rate in rates]
        for coder in coders:
            try:
                compressed = coder()
            except CodecError:  # even at quality 0 it takes more bytes
                yield Score(name, picture.width, picture.height, nan, nan, encoding.seconds, nan)
                continue
            report = pipeline.decode_and_measure(picture, encoding, compressed)
            yield _score(name, report, _file(pipeline, report, compressed), baselines)


def files(folder: str | Path) -> list[Path]:
    """What may be a picture directly in `folder`, in order of name."""
    return sorted(path for path in Path(folder).glob("*") if not path.is_dir())


def open_pictures(folder: str | Path, left_out: LeftOut | None = None) -> Iterator[tuple[str, Picture]]:
    """Name and content of each picture directly in `folder`, in order of name. ImageError when there is none.

    A folder of pictures may hold a text about them: what cannot be opened is told to `left_out`, with the reason.
    """
    found = False
    for path in files(folder):
        try:
            picture = open_picture(path)
        except ImageError as error:
            if left_out:
                left_out(path, error)
            continue
        found = True
        yield path.stem, picture
    if not found:
        raise ImageError(f"There is no picture in {folder}.")


def mean_psnr(pipeline: Pipeline, folder: str | Path) -> float:
    """Mean PSNR in dB of the unquantized latents of the pictures in `folder`."""
    return fmean(score.psnr for score in evaluate(pipeline, folder))


def _score(name: str, report: Reconstruction, file: File | None = None, baselines: Sequence[str] = ()) -> Score:
    height, width = report.original.shape
    points = {baseline: _rival(report, baseline, file.bytes) for baseline in baselines} if file else {}
    seconds = report.encoding.seconds, report.decoding.seconds
    return Score(name, width, height, report.psnr, report.ssim, *seconds, file, points)


def _file(pipeline: Pipeline, report: Reconstruction, compressed: Compressed) -> File:
    """Make and read the file once more, for the time that it takes."""
    start = time.perf_counter()
    pipeline.write(report.encoding, compressed.quality)
    middle = time.perf_counter()
    pipeline.codec.decompress(compressed.data)
    end = time.perf_counter()
    ideal = pipeline.codec.channel_bits(compressed.symbols, compressed.quality).sum() / 8
    size = len(compressed.data)
    return File(compressed.quality, size, float(ideal), middle - start, end - middle, compressed.symbols[0])


def _rival(report: Reconstruction, codec: str, max_bytes: int) -> RatePoint | None:
    baseline = compress_within(report.original, codec, max_bytes)
    if baseline is None:
        return None
    height, width = report.original.shape
    rate = bits_per_pixel(len(baseline.data), width, height)
    return RatePoint(rate, psnr(report.original, baseline.pixels), ssim(report.original, baseline.pixels))
