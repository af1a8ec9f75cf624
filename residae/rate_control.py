"""Rate control: the scale at which a picture keeps most in a number of bytes, chosen from a few encodings.

In a file of a given size, a larger scale means a lower quality: the network itself loses less of the picture, and the
quantization of the latent loses more. The best scale is where a further step would lose as much as it saves. What it
saves is the detail of the picture just beyond the resolution of the latent, in the squared error that a reduced picture
has: `detail_spectrum`. What it loses grows exponentially as the quality falls. So the best scale is the smallest one at
which the quality of the file is no more than BALANCE - BALANCE_SLOPE * log2(detail). Nothing is decoded to find it.

The constants are for the weights of residae-16x, measured on crops of Kodak pictures. The script
`tests/measure_rate_control.py` compares the choice with an exhaustive search.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from residae.geometry import scaled_shape, within_limits
from residae.resample import Plane, resample

SCALES = (  # each at most 1.1 times the one before
    *(0.5, 0.54, 0.59, 0.65, 0.71, 0.77, 0.84, 0.92, 1.0, 1.09, 1.19, 1.3, 1.41, 1.54, 1.68, 1.83),
    *(2.0, 2.18, 2.38, 2.59, 2.83, 3.08, 3.36, 3.67, 4.0),
)
MAX_ENCODINGS = 3
MAX_EXCESS = 1.5  # the largest ratio of the scale of an encoding to the chosen scale
QUALITIES = tuple(range(0, 101, 10))  # at which the bytes of an encoding are measured
GROWTH = 1.75  # bytes at one quality grow with this power of the scale
LEAST_GROWTH, MOST_GROWTH = 1.2, 2.4
TYPICAL_RATE = 0.042, 0.3  # bits per pixel at quality 65 and scale 1: a * detail^b, a third above the usual
TYPICAL_SLOPE = 0.02  # of the logarithm of the bytes over quality
BALANCE, BALANCE_SLOPE = 93.0, 7.2
RESOLUTION = 0.4  # of the latent at scale 1, as a fraction of the picture's: what is finer, the network mostly loses
RESOLUTIONS = (0.2, 0.28, 0.4, 0.56, 0.8)  # at which the detail of a picture is measured


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
        return float(np.interp(math.log(size), np.log(self.sizes), QUALITIES))


def usable_scales(height: int, width: int) -> list[float]:
    """Those of SCALES at which a picture of this size is within the limits, rising; at least one is."""
    return [scale for scale in SCALES if within_limits(*scaled_shape(height, width, scale))]


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


def best_quality(scale: float, spectrum: Sequence[float]) -> float:
    """The quality below which a larger scale would lose more than it saves.

    Args:
        scale: The scale.
        spectrum: `detail_spectrum` of the picture's luma.
    """
    return BALANCE - BALANCE_SLOPE * math.log2(detail_at(scale, spectrum))


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
    scales = usable_scales(height, width)
    scale = _predict([_typical_probe(height * width, spectrum)], max_bytes, spectrum, scales)
    probes: list[Probe] = []
    for _ in range(MAX_ENCODINGS):
        probes.append(probe(scale))
        scale = _predict(probes, max_bytes, spectrum, scales)
        if scale in (known.scale for known in probes):
            break
    else:
        scale = probes[-1].scale
    fitting = [known.scale for known in probes if known.sizes[0] <= max_bytes]
    return scale if scale in fitting else max(fitting, default=min(known.scale for known in probes))


def _typical_probe(pixels: int, spectrum: Sequence[float]) -> Probe:
    """A guess at the bytes of a picture. They are a third too many, so that the first encoding is rather too small."""
    factor, power = TYPICAL_RATE
    size = pixels / 8 * factor * detail_at(1.0, spectrum) ** power
    return Probe(1.0, tuple(round(40 + size * math.exp(TYPICAL_SLOPE * (quality - 65))) for quality in QUALITIES))


def _predict(probes: Sequence[Probe], max_bytes: int, spectrum: Sequence[float], scales: Sequence[float]) -> float:
    """The smallest scale at which the predicted quality of the file is no more than `best_quality`."""
    growth = _growth(probes)

    def quality(scale: float) -> float:
        nearest = min(probes, key=lambda known: abs(math.log(known.scale / scale)))
        return nearest.quality_at(max_bytes / (scale / nearest.scale) ** growth)

    largest = max(known.scale for known in probes)
    allowed = [scale for scale in scales if MAX_EXCESS * scale >= largest]
    if not quality(allowed[0]):  # no file at these scales is small enough
        allowed = list(scales)
    return next((scale for scale in allowed if quality(scale) <= best_quality(scale, spectrum)), allowed[-1])


def _growth(probes: Sequence[Probe]) -> float:
    """The power of the scale with which bytes at one quality grow, by the last two probes."""
    if len(probes) < 2:
        return GROWTH
    a, b = probes[-2:]
    middle = len(QUALITIES) // 2
    growth = math.log(b.sizes[middle] / a.sizes[middle]) / math.log(b.scale / a.scale)
    return min(max(growth, LEAST_GROWTH), MOST_GROWTH)
