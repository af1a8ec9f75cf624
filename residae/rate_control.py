"""Rate control: the scale at which a picture keeps most in a number of bytes, chosen from a few encodings.

In a file of a given size, a larger scale means a lower quality: the network itself loses less of the picture, and the
quantization of the latent loses more. Rate control predicts both, without decoding, and takes the scale with the least
sum of squared errors:

- The network mostly loses what is finer than RESOLUTION times the picture's resolution at scale 1. How much a larger
  scale saves therefore follows from the errors that the picture itself has when it is reduced: `detail_spectrum`.
- The error of quantization is halved every HALVING steps of quality. It is larger for pictures that take more bytes.
- The quality that fills the bytes at a scale follows from the bytes of the encodings made so far. Bytes grow with a
  power of the number of latent cells. As cells that reach beyond the picture waste bytes, scales are chosen at which
  few do.

The constants were measured on crops of Kodak pictures with the weights of residae-16x. The script
`tests/measure_rate_control.py` compares the choice with an exhaustive search.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from residae.geometry import MAX_SCALE, MIN_SCALE, STRIDE, latent_shape, scaled_shape, within_limits
from residae.resample import Plane, resample

STEPS = 42  # from MIN_SCALE to MAX_SCALE; each is a factor of 1.05
ALIGNMENT = 1.024  # the factor by which a scale may differ from its step to waste fewer bytes
MAX_ENCODINGS = 3
MAX_EXCESS = 1.5  # the largest ratio of the scale of an encoding to the chosen scale

RESOLUTION = 0.4
RESOLUTIONS = (0.2, 0.28, 0.4, 0.56, 0.8)  # at which the detail of a picture is measured
QUALITIES = tuple(range(0, 101, 10))  # at which the bytes of an encoding are measured
REFERENCE = QUALITIES.index(60)  # at which encodings are compared
GROWTH, LEAST_GROWTH, MOST_GROWTH = 0.875, 0.6, 1.2  # the power of the cells with which bytes grow
HALVING = 9.0  # steps of quality
UNIT_QUALITY = 76.0  # at which a picture of TYPICAL_RATE has an error of quantization of 1, in 8-bit units
TYPICAL_RATE = 0.12  # bits per pixel at the reference quality and scale 1
RATE_POWER = 1.35  # the power of the rate with which the error grows
RATE_OF_DETAIL = 0.038, 0.3  # a first guess at the rate of a picture: a * detail^b, a third above the usual
SLOPE = 0.02  # of the logarithm of the bytes over quality, for the same guess


@dataclass(frozen=True)
class Probe:
    """One encoding, as far as rate control is concerned.

    Attributes:
        scale: Of the encoding.
        sizes: Bytes of its file at each of QUALITIES; rising.
    """

    scale: float
    sizes: tuple[int, ...]

    def quality_at(self, size: float) -> float:
        """The quality, 0 to 100, at which the file has so many bytes."""
        return float(np.interp(math.log(max(size, 1)), np.log(self.sizes), QUALITIES))


def usable_scales(height: int, width: int) -> list[float]:
    """Scales for a picture of this size, rising by factors of at most 1.1, at which it is within the limits.

    1 is one of them. Each other one is the nearby number of hundredths at which the latent's cells reach the least
    beyond the picture.
    """
    ratio = (MAX_SCALE / MIN_SCALE) ** (1 / STEPS)
    scales = {_align(height, width, MIN_SCALE * ratio**step) for step in range(STEPS + 1)}
    return sorted(scale for scale in scales if within_limits(*scaled_shape(height, width, scale)))


def _align(height: int, width: int, scale: float) -> float:
    """The scale near this one with the least waste; the nearest of several."""
    if abs(scale - 1) < 1e-6:
        return 1.0
    least, most = max(MIN_SCALE, scale / ALIGNMENT), min(MAX_SCALE, scale * ALIGNMENT)
    candidates = [hundredths / 100 for hundredths in range(math.ceil(100 * least), math.floor(100 * most) + 1)]

    def waste(candidate: float) -> tuple[float, float]:
        pixels = math.prod(scaled_shape(height, width, candidate))
        return math.prod(latent_shape(height, width, candidate)) * STRIDE**2 / pixels, abs(candidate - scale)

    return min(candidates, key=waste)


def detail_spectrum(luma: Plane) -> tuple[float, ...]:
    """Measure how fine the detail of a plane is.

    Args:
        luma: (H, W) in [0, 1].

    Returns:
        The squared error, in 8-bit units, that each step between two of RESOLUTIONS saves, per unit of the logarithm of
        the resolution; at least 1.
    """
    height, width = luma.shape
    errors = []
    for resolution in RESOLUTIONS:
        reduced = resample(luma, max(1, round(resolution * height)), max(1, round(resolution * width)))
        difference = resample(reduced, height, width) - luma
        errors.append(255**2 * float(np.vdot(difference, difference)) / luma.size)
    return tuple(
        max(1.0, (coarse - fine) / math.log(b / a))
        for (coarse, fine), (a, b) in zip(itertools.pairwise(errors), itertools.pairwise(RESOLUTIONS), strict=True)
    )


def detail_at(scale: float, spectrum: Sequence[float]) -> float:
    """The value of a `detail_spectrum` at the resolution of the latent at a scale."""
    middles = [math.log(a * b) / 2 for a, b in itertools.pairwise(RESOLUTIONS)]
    return math.exp(np.interp(math.log(RESOLUTION * scale), middles, np.log(spectrum)))


def choose_scale(
    height: int, width: int, max_bytes: int, spectrum: Sequence[float], probe: Callable[[float], Probe]
) -> float:
    """The scale at which a picture of `height` x `width` pixels keeps most in `max_bytes`.

    Args:
        height: Of the picture.
        width: Of the picture.
        max_bytes: Size of the file.
        spectrum: `detail_spectrum` of its luma.
        probe: Encodes the picture at a scale. It is called at most MAX_ENCODINGS times.

    Returns:
        One of the scales that `probe` was called with. The others are at most MAX_EXCESS times as large, unless no file
        at such a scale is small enough.
    """
    predict = _Prediction(height, width, max_bytes, spectrum)
    scale = predict.best([predict.guess()])
    probes: list[Probe] = []
    for _ in range(MAX_ENCODINGS):
        probes.append(probe(scale))
        scale = predict.best(probes)
        nearest = min((known.scale for known in probes), key=lambda known: predict.steps(known, scale))
        small = max(known.scale for known in probes) <= MAX_EXCESS * nearest
        if predict.steps(nearest, scale) <= (1 if small else 0):
            scale = nearest
            break
    else:
        scale = probes[-1].scale
    fitting = [known.scale for known in probes if known.sizes[0] <= max_bytes]
    return scale if scale in fitting else max(fitting, default=min(known.scale for known in probes))


class _Prediction:
    """The predicted errors of one picture in a number of bytes."""

    def __init__(self, height: int, width: int, max_bytes: int, spectrum: Sequence[float]) -> None:
        self.pixels = height * width
        self.max_bytes = max_bytes
        self.spectrum = spectrum
        self.scales = usable_scales(height, width)
        self.cells = {scale: math.prod(latent_shape(height, width, scale)) for scale in self.scales}
        saved = [0.0]
        for a, b in itertools.pairwise(self.scales):
            saved.append(saved[-1] + math.log(b / a) * detail_at(math.sqrt(a * b), spectrum))
        self.saved = dict(zip(self.scales, saved, strict=True))

    def guess(self) -> Probe:
        """What a picture of this detail usually takes, and a third more, so that the first encoding is a small one."""
        factor, power = RATE_OF_DETAIL
        size = self.pixels / 8 * factor * detail_at(1.0, self.spectrum) ** power
        sizes = (40 + size * math.exp(SLOPE * (quality - QUALITIES[REFERENCE])) for quality in QUALITIES)
        return Probe(1.0, tuple(round(size) for size in sizes))

    def steps(self, a: float, b: float) -> int:
        """How many scales two of them are apart."""
        return abs(self.scales.index(a) - self.scales.index(b))

    def best(self, probes: Sequence[Probe]) -> float:
        """The scale with the least error, by the bytes of these encodings."""
        growth = self._growth(probes)
        last = probes[-1]
        rate = 8 * last.sizes[REFERENCE] / self.pixels / (self.cells[last.scale] / self.cells[1.0]) ** growth
        unit = (rate / TYPICAL_RATE) ** RATE_POWER

        def quality(scale: float) -> float:
            nearest = min(probes, key=lambda known: abs(math.log(known.scale / scale)))
            return nearest.quality_at(self.max_bytes / (self.cells[scale] / self.cells[nearest.scale]) ** growth)

        def cost(scale: float) -> tuple[bool, float]:
            if not quality(scale):  # the file may be too large
                return True, scale
            return False, unit * 2 ** ((UNIT_QUALITY - quality(scale)) / HALVING) - self.saved[scale]

        largest = max(known.scale for known in probes)
        allowed = [scale for scale in self.scales if MAX_EXCESS * scale >= largest]
        if not quality(allowed[0]):  # no file at these scales is small enough
            allowed = self.scales
        return min(allowed, key=cost)

    def _growth(self, probes: Sequence[Probe]) -> float:
        """The power of the number of cells with which bytes grow, by the last two encodings."""
        if len(probes) < 2:
            return GROWTH
        a, b = probes[-2:]
        if self.cells[a.scale] == self.cells[b.scale]:
            return GROWTH
        growth = math.log(b.sizes[REFERENCE] / a.sizes[REFERENCE]) / math.log(self.cells[b.scale] / self.cells[a.scale])
        return min(max(growth, LEAST_GROWTH), MOST_GROWTH)
