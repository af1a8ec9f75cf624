"""All codecs at equal bytes, their rate-distortion curves, and the BD-rate between two curves."""

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from residae.baselines import CODECS, CodedPicture
from residae.codec import Compressed
from residae.encoder_process import EncoderProcess
from residae.geometry import scaled_shape, within_limits
from residae.image import Picture, Pixels
from residae.metrics import bits_per_pixel
from residae.pipeline import ENCODE_WORK, Decoding, Encoding, Pipeline, network_pixels
from residae.progress import Progress, split

CURVE_QUALITIES = (25, 50, 75, 100)  # of our files on the chart, beside the current one
CURVE_RATE = 1.0  # bits per pixel, up to which our curve goes on by larger scales, at one quality
LARGER_SCALES, LARGER_QUALITY = (1.5, 2.0, 2.8, 4.0), 60
OURS, REFINED = "Residae", "Residae, refined"
AVIF, BEST_SPEED = "AVIF", 0  # which takes much longer than the default speed
STEPS_AROUND = (-3, 1)  # from the quality at the default speed, among which that at the best speed is searched
MAX_BEST_SPEED_PIXELS = 2**20  # of a picture; a larger one would take many minutes


@dataclass(frozen=True, eq=False)
class CodecResult:
    """A picture by one codec at a number of bytes.

    Attributes:
        name: Of the codec.
        pixels: The decoded picture; None if the codec cannot code it in so few bytes.
        bytes: Size of the file.
        psnr: In dB.
        ssim: As `residae.metrics.ssim`.
        ms_ssim: As `residae.metrics.ms_ssim`.
        ssimulacra2: As `residae.metrics.ssimulacra2`; NaN until it is measured, and where its package is not installed.
        quality: As in `CodedPicture`.
        effort: In words, such as `speed 6`; empty for a codec that takes none, and for ours.
    """

    name: str
    pixels: Pixels | None
    bytes: int = 0
    psnr: float = math.nan
    ssim: float = math.nan
    ms_ssim: float = math.nan
    ssimulacra2: float = math.nan
    quality: float = math.nan
    effort: str = ""

    def figures(self) -> dict[str, float | None]:
        """The figures by name; None for those that are not defined, and for all if there is no picture."""
        if self.pixels is None:
            return dict.fromkeys(("bytes", "bpp", "psnr", "ssim", "ms_ssim", "ssimulacra2"))
        height, width = self.pixels.shape[:2]
        values = {"bytes": self.bytes, "bpp": bits_per_pixel(self.bytes, width, height), "psnr": self.psnr}
        values |= {"ssim": self.ssim, "ms_ssim": self.ms_ssim, "ssimulacra2": self.ssimulacra2}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}


@dataclass(frozen=True)
class RatePoint:
    """A point of a rate-distortion curve.

    Attributes:
        bits_per_pixel: Of the whole file.
        psnr: In dB.
    """

    bits_per_pixel: float
    psnr: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """All codecs at the bytes of one file, and their curves as far as they are measured.

    Attributes:
        original: (H, W) luma or (H, W, 3).
        results: Of each codec, ours first.
        curves: By the name of the codec, in order of rate.
    """

    original: Pixels
    results: tuple[CodecResult, ...]
    curves: dict[str, tuple[RatePoint, ...]] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Of the original and the decoded pictures."""
        return self.original.nbytes * (1 + sum(result.pixels is not None for result in self.results))

    def rows(self) -> list[dict[str, str | float | None]]:
        """For each codec its name, as `codec`, its effort, and its figures."""
        return [{"codec": one.name, "effort": one.effort, **one.figures()} for one in self.results]


def compare_at_equal_bytes(
    original: Pixels, compressed: Compressed, decoding: Decoding, progress: Progress | None = None
) -> Comparison:
    """Compare a file with the baselines at the same bytes, by all metrics and without curves.

    Args:
        original: (H, W) luma, or (H, W, 3) in color.
        compressed: The file.
        decoding: Of the file.
        progress: Called with the share done, in (0, 1]; it may raise to stop the work.
    """
    with EncoderProcess(original) as process:
        *_, results = _at_equal_bytes(process, compressed, decoding, progress)
    return Comparison(original, tuple(results))


def compare(
    pipeline: Pipeline,
    original: Pixels,
    encoding: Encoding,
    compressed: Compressed | None,
    scales: Sequence[float] = (),
    progress: Progress | None = None,
) -> Generator[Comparison, None, None]:
    """Compare a file with the baselines at the same bytes, then measure the curves of all codecs.

    On ZeroGPU a GPU is borrowed once, for all our files, and given back while other codecs and metrics still run.

    Args:
        pipeline: That made the file.
        original: (H, W) luma, or (H, W, 3) in color.
        encoding: Of the original.
        compressed: The file.
        scales: Of `larger_scales`, by which the curves go on until ours has CURVE_RATE.
        progress: Called with the share done, in (0, 1]; it may raise to stop the work.

    Yields:
        The results at equal bytes, the same with SSIMULACRA 2, which takes longer, then the same with one more rate on
        each curve, so that they can be shown early.

    Raises:
        ValueError: There is no file.
    """
    if compressed is None:
        raise ValueError("without a file there are no bytes to compare at")
    files = [compressed, *(pipeline.write(encoding, quality) for quality in CURVE_QUALITIES)]
    if max(_rate(original, file) for file in files) >= CURVE_RATE:
        scales = ()
    height, width, color = encoding.height, encoding.width, original.ndim == 3
    pixels = encoding.work(decodes=len(files)) + sum(network_pixels(height, width, color, scale) for scale in scales)
    # Larger scales take longer, but are rarely all needed.
    halves = [split(part, 1, 1) for part in split(progress, *[1] * len(files), *(scale**2 / 10 for scale in scales))]
    arguments = Picture(original, (), None), encoding, files, scales
    ours = pipeline.stream(_decode_ours, *arguments, pixels=pixels, parts=[first for first, _ in halves])
    with EncoderProcess(original) as process, closing(ours) as decodings:
        for results in _at_equal_bytes(process, *next(decodings), halves[0][1]):
            points = {r.name: [_point(original, r.bytes, r.psnr)] if r.pixels is not None else [] for r in results}
            yield Comparison(original, tuple(results), _curves(points))
        for (file, decoding), (_, part) in zip(decodings, halves[1:], strict=False):
            _add_points(points, process, file, decoding, part)
            yield Comparison(original, tuple(results), _curves(points))


def _decode_ours(
    pipeline: Pipeline,
    picture: Picture,
    encoding: Encoding,
    files: Sequence[Compressed],
    scales: Sequence[float],
    *parts: Progress | None,
) -> Iterator[tuple[Compressed, Decoding]]:
    """Files of a picture, then those at larger scales until one has CURVE_RATE, each with what it decodes to."""
    for file, part in zip(files, parts, strict=False):
        yield file, pipeline.decode(pipeline.stored(encoding, file), part)
    for scale, part in zip(scales, parts[len(files) :], strict=True):
        first, last = split(part, ENCODE_WORK, 1)
        larger, file = pipeline.encode_and_write(picture, picture.color, LARGER_QUALITY, scale, progress=first)
        yield file, pipeline.decode(pipeline.stored(larger, file), last)
        if _rate(picture.pixels, file) >= CURVE_RATE:
            return


def larger_scales(encoding: Encoding) -> list[float]:
    """The scales by which our curve can go on from that of an encoding.

    Args:
        encoding: Of the picture, at the scale of the curve so far.

    Returns:
        Those of LARGER_SCALES, rising, that are more than 1.2 times that scale and keep the picture within the limits.
    """
    height, width, scale = encoding.height, encoding.width, encoding.scale
    return [s for s in LARGER_SCALES if s > 1.2 * scale and within_limits(*scaled_shape(height, width, s))]


def with_best_speed(comparison: Comparison, progress: Progress | None = None) -> Comparison:
    """The comparison with AVIF at its best speed, where that has more PSNR in the same bytes. The curve stays.

    Args:
        comparison: From `compare`, with all metrics.
        progress: Called with the share done, in (0, 1]; it may raise to stop the work.

    Returns:
        The comparison as it was for a picture over MAX_BEST_SPEED_PIXELS, and where AVIF cannot make so small a file.
    """
    original, results = comparison.original, [*comparison.results]
    index = [result.name for result in results].index(AVIF)
    if results[index].pixels is None or math.prod(original.shape[:2]) > MAX_BEST_SPEED_PIXELS:
        return comparison
    coding, measuring = split(progress, 9, 1)
    quality = int(results[index].quality)
    steps = quality + STEPS_AROUND[0], quality + STEPS_AROUND[1]
    with EncoderProcess(original) as process:
        coded = process.compress_within(AVIF, results[0].bytes, coding, BEST_SPEED, steps)
        best = _result(process, AVIF, coded, None)
        if best.pixels is not None and best.psnr > results[index].psnr:
            effort = CODECS[AVIF].at_effort(BEST_SPEED).description
            results[index] = replace(_with_ssimulacra2(process, best, measuring), effort=effort)
    return replace(comparison, results=tuple(results))


def with_refined(comparison: Comparison) -> Comparison:
    """The comparison of a refined file with its point not on the curve of OURS, but as REFINED.

    Args:
        comparison: Its first result is the refined file.
    """
    original, ours = comparison.original, comparison.results[0]
    point = _point(original, ours.bytes, ours.psnr)
    others = tuple(one for one in comparison.curves[OURS] if one != point)
    return replace(comparison, curves=comparison.curves | {OURS: others, REFINED: (point,)})


def refined_curve(
    pipeline: Pipeline, picture: Picture, encoding: Encoding, steps: int, progress: Progress | None = None
) -> Iterator[RatePoint]:
    """Measure our curve with refined files, at the scale of an encoding.

    Args:
        pipeline: That made the encoding.
        picture: The original.
        encoding: Of the picture.
        steps: Of each refinement.
        progress: Called with the share done, in (0, 1]; it may raise to stop the work.

    Yields:
        A point for each of CURVE_QUALITIES.
    """
    pixels = encoding.work(decodes=len(CURVE_QUALITIES), refine=steps * len(CURVE_QUALITIES))
    arguments = picture, encoding, steps
    with closing(pipeline.stream(_refine_each, *arguments, pixels=pixels, parts=[progress])) as refined:
        for size, decibels in refined:
            yield _point(picture.pixels, size, decibels)


def _refine_each(
    pipeline: Pipeline, picture: Picture, encoding: Encoding, steps: int, progress: Progress | None
) -> Iterator[tuple[int, float]]:
    """The bytes and the PSNR of a refined file at each of CURVE_QUALITIES."""
    for quality, part in zip(CURVE_QUALITIES, split(progress, *[1] * len(CURVE_QUALITIES)), strict=True):
        for step in pipeline.refinement(picture, encoding, quality, steps, part):
            last = step
        yield last.bytes, last.psnr


def bd_rate(anchor: Sequence[RatePoint], test: Sequence[RatePoint]) -> float:
    """The Bjontegaard delta rate: how many percent more bits `test` takes than `anchor` at equal PSNR, on average.

    The logarithm of the rate is interpolated over PSNR by piecewise cubics (PCHIP) and averaged over the PSNR that both
    curves cover (Bjontegaard, VCEG-M33, 2001; PCHIP as in JVET-T2010). Points that cost more bits than another
    without a higher PSNR are left out.

    Args:
        anchor: The curve to compare with, in any order.
        test: The other curve.

    Returns:
        Percent, negative if `test` takes fewer bits; NaN if a curve has fewer than two points, or if they cover no
        PSNR in common.
    """
    curves = [rising(anchor), rising(test)]
    if min(len(curve) for curve in curves) < 2:
        return math.nan
    decibels = [np.array([point.psnr for point in curve]) for curve in curves]
    log_rates = [np.log([point.bits_per_pixel for point in curve]) for curve in curves]
    low, high = max(d[0] for d in decibels), min(d[-1] for d in decibels)
    if low >= high:
        return math.nan
    ours, theirs = (_pchip_integral(x, y, low, high) for x, y in zip(decibels, log_rates, strict=True))
    return 100 * math.expm1((theirs - ours) / (high - low))


def rising(curve: Sequence[RatePoint]) -> list[RatePoint]:
    """The rising envelope of a curve, which has the best PSNR at no more bits.

    Args:
        curve: In any order.

    Returns:
        The points of finite PSNR by rate, without those that are no better than a cheaper one.
    """
    kept: list[RatePoint] = []
    for point in sorted(curve, key=lambda point: (point.bits_per_pixel, -point.psnr)):
        if math.isfinite(point.psnr) and (not kept or point.psnr > kept[-1].psnr):
            kept.append(point)
    return kept


def _pchip_integral(x: NDArray[np.float64], y: NDArray[np.float64], low: float, high: float) -> float:
    """The integral from `low` to `high` of the PCHIP interpolant of (x, y), x rising (Fritsch and Butland 1984)."""
    width, slope = np.diff(x), np.diff(y) / np.diff(x)
    derivatives = np.empty(len(x))
    if len(x) == 2:
        derivatives[:] = slope[0]
    else:
        w1, w2 = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = (w1 + w2) / (w1 / slope[:-1] + w2 / slope[1:])
        derivatives[1:-1] = np.where(slope[:-1] * slope[1:] > 0, mean, 0)
        derivatives[0] = _end_derivative(width[0], width[1], slope[0], slope[1])
        derivatives[-1] = _end_derivative(width[-1], width[-2], slope[-1], slope[-2])

    def interpolate(at: NDArray[np.float64]) -> NDArray[np.float64]:
        i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(width) - 1)
        t, h = (at - x[i]) / width[i], width[i]
        return np.asarray(
            (1 + 2 * t) * (1 - t) ** 2 * y[i]
            + t * (1 - t) ** 2 * h * derivatives[i]
            + t**2 * (3 - 2 * t) * y[i + 1]
            + t**2 * (t - 1) * h * derivatives[i + 1]
        )

    edges = np.array([low, *x[(x > low) & (x < high)], high])
    left, right = edges[:-1], edges[1:]  # Simpson's rule is exact for the cubic between two edges
    simpson = interpolate(left) + 4 * interpolate((left + right) / 2) + interpolate(right)
    return float(((right - left) / 6 * simpson).sum())


def _end_derivative(h0: float, h1: float, slope0: float, slope1: float) -> float:
    """The three-point derivative at an end, limited so that the interpolant stays monotonic."""
    derivative = ((2 * h0 + h1) * slope0 - h0 * slope1) / (h0 + h1)
    if derivative * slope0 <= 0:
        return 0.0
    if slope0 * slope1 < 0 and abs(derivative) > 3 * abs(slope0):
        return 3 * slope0
    return derivative


def _each_codec(
    process: EncoderProcess, compressed: Compressed, decoding: Decoding, progress: Progress | None
) -> Iterator[tuple[str, CodedPicture | None]]:
    """Our file, then that of each baseline at the same bytes."""
    yield OURS, CodedPicture(compressed.data, decoding.pixels, compressed.quality, 0, 0)
    for name, part in zip(CODECS, split(progress, *[1] * len(CODECS)), strict=True):
        yield name, process.compress_within(name, len(compressed.data), part)


def _at_equal_bytes(
    process: EncoderProcess, compressed: Compressed, decoding: Decoding, progress: Progress | None
) -> Iterator[list[CodecResult]]:
    """The results of all codecs, then the same with SSIMULACRA 2, which takes longer."""
    coding, measuring, perceiving = split(progress, 4, 1, 3)
    coded = list(_each_codec(process, compressed, decoding, coding))
    parts = split(measuring, *[1] * len(coded))
    results = [_result(process, *item, part) for item, part in zip(coded, parts, strict=True)]
    yield results
    parts = split(perceiving, *[1] * len(results))
    yield [_with_ssimulacra2(process, *item) for item in zip(results, parts, strict=True)]


def _add_points(
    points: dict[str, list[RatePoint]],
    process: EncoderProcess,
    compressed: Compressed,
    decoding: Decoding,
    progress: Progress | None,
) -> None:
    """Add a point at the bytes of a file to each curve."""
    for name, coded in _each_codec(process, compressed, decoding, progress):
        if coded:
            (decibels,) = process.measure(coded.pixels, ["psnr"], None)
            points[name].append(_point(process.original, len(coded.data), decibels))


def _result(process: EncoderProcess, name: str, coded: CodedPicture | None, progress: Progress | None) -> CodecResult:
    effort = CODECS[name].description if name in CODECS else ""
    if coded is None:
        return CodecResult(name, None, effort=effort)
    names = ["psnr", "ssim", "ms_ssim"]
    metrics = dict(zip(names, process.measure(coded.pixels, names, progress), strict=True))
    return CodecResult(name, coded.pixels, len(coded.data), **metrics, quality=coded.quality, effort=effort)


def measures_ssimulacra2() -> bool:
    """Whether the package is installed that measures SSIMULACRA 2."""
    return find_spec("ssimulacra2") is not None


def _with_ssimulacra2(process: EncoderProcess, result: CodecResult, progress: Progress | None) -> CodecResult:
    if result.pixels is None or not measures_ssimulacra2():
        return result
    (value,) = process.measure(result.pixels, ["ssimulacra2"], progress)
    return replace(result, ssimulacra2=value)


def _rate(original: Pixels, file: Compressed) -> float:
    return bits_per_pixel(len(file.data), original.shape[1], original.shape[0])


def _point(original: Pixels, size: int, decibels: float) -> RatePoint:
    height, width = original.shape[:2]
    return RatePoint(bits_per_pixel(size, width, height), decibels)


def _curves(points: dict[str, list[RatePoint]]) -> dict[str, tuple[RatePoint, ...]]:
    """Each curve in order of rate, without duplicate points."""
    return {name: tuple(sorted(set(some), key=lambda point: point.bits_per_pixel)) for name, some in points.items()}
