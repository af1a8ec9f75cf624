"""All codecs at equal bytes, and their rate-distortion curves."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from residae.baselines import CODECS, Baseline, compress_within
from residae.image import Pixels
from residae.metrics import bits_per_pixel, ms_ssim, psnr, ssim
from residae.pipeline import Pipeline, Reconstruction
from residae.progress import Progress, between

CURVE_QUALITIES = (25, 50, 75, 100)  # of our files on the rate-distortion chart, beside the one that is shown
OURS = "Residae"


@dataclass(frozen=True, eq=False)
class CodecResult:
    """What one codec makes of a picture at a number of bytes; no pixels where it cannot keep it in so few."""

    name: str
    pixels: Pixels | None
    bytes: int = 0
    psnr: float = math.nan  # dB
    ssim: float = math.nan
    ms_ssim: float = math.nan


@dataclass(frozen=True)
class RatePoint:
    """A point of a rate-distortion curve: what one codec does with one picture."""

    bits_per_pixel: float
    psnr: float  # dB
    ssim: float = math.nan


@dataclass(frozen=True, eq=False)
class Comparison:
    """All codecs at the bytes of one file, and as much of their curves as has been measured."""

    original: Pixels
    results: tuple[CodecResult, ...]  # ours first
    curves: dict[str, tuple[RatePoint, ...]] = field(default_factory=dict)  # by rising rate
    done: bool = False


def compare(pipeline: Pipeline, report: Reconstruction, progress: Progress | None = None) -> Iterator[Comparison]:
    """The baselines at the bytes of the report's file, then the curves of all, a rate at a time.

    ValueError where the report has no file. Told as yields come, so that the first result can be shown early.
    """
    if report.compressed is None:
        raise ValueError("without a file there are no bytes to compare at")
    steps = len(CURVE_QUALITIES) + 1
    size, original = len(report.compressed.data), report.original
    results = [_codec_result(OURS, original, report.decoding.pixels, size)]
    for name, baseline in _each_baseline(original, size, between(progress, 0, 1 / steps)):
        results.append(
            _codec_result(name, original, baseline.pixels, len(baseline.data)) if baseline else CodecResult(name, None)
        )
    points = {c.name: [_point(original, c.bytes, c.psnr)] if c.pixels is not None else [] for c in results}
    yield Comparison(original, tuple(results), _curves(points))
    for step, quality in enumerate(CURVE_QUALITIES, start=1):
        for name, point in _points(pipeline, report, quality, between(progress, step / steps, (step + 1) / steps)):
            points[name].append(point)
        yield Comparison(original, tuple(results), _curves(points), done=step == len(CURVE_QUALITIES))


def _points(
    pipeline: Pipeline, report: Reconstruction, quality: float, progress: Progress | None
) -> Iterator[tuple[str, RatePoint]]:
    """Where each codec lands at the bytes of our file of that quality."""
    encoding, original = report.encoding, report.original
    compressed = pipeline.write(encoding, quality)
    rebuilt = pipeline.decode(pipeline.stored(encoding, compressed), between(progress, 0, 0.5)).pixels
    size = len(compressed.data)
    yield OURS, _point(original, size, psnr(original, rebuilt))
    for name, baseline in _each_baseline(original, size, between(progress, 0.5, 1)):
        if baseline:
            yield name, _point(original, len(baseline.data), psnr(original, baseline.pixels))


def _each_baseline(
    original: Pixels, max_bytes: int, progress: Progress | None
) -> Iterator[tuple[str, Baseline | None]]:
    """Each codec of CODECS at so many bytes."""
    for number, name in enumerate(CODECS):
        part = between(progress, number / len(CODECS), (number + 1) / len(CODECS))
        yield name, compress_within(original, name, max_bytes, part)


def _codec_result(name: str, original: Pixels, pixels: Pixels, size: int) -> CodecResult:
    return CodecResult(name, pixels, size, psnr(original, pixels), ssim(original, pixels), ms_ssim(original, pixels))


def _point(original: Pixels, size: int, decibels: float) -> RatePoint:
    height, width = original.shape[:2]
    return RatePoint(bits_per_pixel(size, width, height), decibels)


def _curves(points: dict[str, list[RatePoint]]) -> dict[str, tuple[RatePoint, ...]]:
    return {name: tuple(sorted(set(some), key=lambda point: point.bits_per_pixel)) for name, some in points.items()}
