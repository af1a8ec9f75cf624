"""Rate control: the scale at which a picture keeps most in a number of bytes, chosen from a few encodings.

In a file of a given size, a larger scale means a lower quality: the network itself loses less of the picture, and the
quantization of the latent loses more. The more detail the network loses, the more a larger scale brings; and the larger
the scale, the less is left to gain. Both change which quality is best, and `best_quality` is a fit to it, by the scale
and by what a picture loses at half its resolution: `detail`. So rate control looks for the scale at which this quality
fills the bytes, without decoding:

- A first guess at the bytes comes from `detail` as well.
- Each encoding tells its bytes at all qualities. They grow with a power of the number of latent cells. As cells that
  reach beyond the picture waste bytes, scales are chosen at which few do.

The constants were measured on Kodak pictures with the weights of residae-16c. The script
`tests/measure_rate_control.py` compares the choice with the best of a search.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from residae.arrays import Plane
from residae.geometry import (
    MAX_PIXELS,
    MAX_SCALE,
    MAX_SIDE,
    MIN_SCALE,
    STRIDE,
    latent_shape,
    scaled_shape,
    within_limits,
)
from residae.resample import resample

STEPS = 42  # from MIN_SCALE to MAX_SCALE; each is a factor of 1.05
ALIGNMENT = 1.024  # the factor by which a scale may differ from its step to waste fewer bytes
MAX_ENCODINGS = 3
MAX_EXCESS = 1.5  # the largest ratio of the scale of an encoding to the chosen scale

LEAST_QUALITY, MOST_QUALITY = 10.0, 90.0  # that are best for any picture
TOLERANCE = 3.0  # of the quality: an encoding so near the best is taken
QUALITIES = tuple(range(0, 101, 10))  # at which the bytes of an encoding are measured
GROWTH, LEAST_GROWTH, MOST_GROWTH = 0.875, 0.6, 1.2  # the power of the cells with which bytes grow
DETAIL_RESOLUTION = 0.5
# A first guess at the rate of a picture at scale 1 and quality 43: a * detail^b, a third above the usual.
RATE_OF_DETAIL = 0.0125, 0.49
SLOPE = 0.022  # of the logarithm of the bytes over quality, for the same guess
USUAL_RATE = 0.0641  # bits per pixel at scale 1 and the best quality; a test holds both to the weights' results.tsv
USUAL_GROWTH = 1.06  # as GROWTH, in the mean of pictures whose scale is chosen


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
        """The quality at which the file has so many bytes, interpolated in their logarithm.

        Args:
            size: Bytes.

        Returns:
            0 where even the smallest file is larger, 100 where the largest is smaller.
        """
        return float(np.interp(math.log(max(size, 1)), np.log(self.sizes), QUALITIES))


def usable_scales(height: int, width: int) -> list[float]:
    """Scales for a picture of this size, rising by factors of about 1.1 at most, at which it is within the limits.

    1 is one of them. Each other one is the nearby number of hundredths at which the latent's cells reach the least
    beyond the picture.

    Args:
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
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


def detail(luma: Plane) -> float:
    """Measure how much fine detail a plane has.

    Args:
        luma: (H, W) in [0, 1].

    Returns:
        The squared error, in 8-bit units, of the plane at DETAIL_RESOLUTION; at least 1.
    """
    height, width = luma.shape
    reduced = resample(luma, *(max(1, round(DETAIL_RESOLUTION * length)) for length in luma.shape))
    difference = resample(reduced, height, width) - luma
    return max(1.0, 255**2 * float(np.vdot(difference, difference)) / luma.size)


def best_quality(fineness: float, scale: float) -> float:
    """The quality of the best file of so many bytes, if its scale is this one: a fit to searches over the scales.

    Args:
        fineness: `detail` of the picture's luma.
        scale: MIN_SCALE to MAX_SCALE.

    Returns:
        LEAST_QUALITY to MOST_QUALITY.
    """
    logarithm = math.log(fineness)
    quality = 61 - 5.7 * logarithm + 1.6 * (5.5 - logarithm) * scale**2
    return min(max(quality, LEAST_QUALITY), MOST_QUALITY)


def choose_scale(height: int, width: int, max_bytes: int, fineness: float, probe: Callable[[float], Probe]) -> float:
    """The scale at which a picture of `height` x `width` pixels keeps most in `max_bytes`.

    Args:
        height: Of the picture.
        width: Of the picture.
        max_bytes: Size of the file.
        fineness: `detail` of its luma.
        probe: Encodes the picture at a scale. It is called at most MAX_ENCODINGS times.

    Returns:
        One of the scales that `probe` was called with. The others are at most MAX_EXCESS times as large, unless no file
        at such a scale is small enough.
    """
    scales = usable_scales(height, width)
    cells = {scale: math.prod(latent_shape(height, width, scale)) for scale in scales}
    probes: list[Probe] = []

    def quality(scale: float, known: Sequence[Probe]) -> float:
        """At which a file of this scale has `max_bytes`."""
        nearest = min(known, key=lambda one: abs(math.log(one.scale / scale)))
        return nearest.quality_at(max_bytes / (cells[scale] / cells[nearest.scale]) ** _growth(cells, known))

    def excess(scale: float, known: Sequence[Probe]) -> float:
        """By how much the quality that a file of this scale has is above the best."""
        return quality(scale, known) - best_quality(fineness, scale)

    def best(known: Sequence[Probe], among: Sequence[float]) -> float:
        """The one of these scales at which the quality is nearest to the best."""
        largest = max((one.scale for one in probes), default=0.0)
        allowed = [scale for scale in among if MAX_EXCESS * scale >= largest]
        if not allowed or not quality(allowed[0], known):  # no file at these scales is small enough
            allowed = list(among)

        def cost(scale: float) -> tuple[bool, float, float]:
            if not quality(scale, known):  # the file may be too large
                return True, scale, 0
            found = excess(scale, known)
            return False, abs(found), scale if found < 0 else -scale  # of several at 100, the largest scale

        return min(allowed, key=cost)

    scale = best([_guess(height, width, fineness)], scales)
    while len(probes) < MAX_ENCODINGS and all(scale != one.scale for one in probes):
        probes.append(probe(scale))
        if abs(excess(scale, probes)) > TOLERANCE:
            scale = best(probes, scales)
    return best(probes, sorted(one.scale for one in probes))


def usual_scale(height: int, width: int, max_bytes: int) -> float:
    """The scale that `choose_scale` comes to for pictures of usual detail, to estimate work before a picture is opened.

    Args:
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        max_bytes: Size of the file.

    Returns:
        MIN_SCALE to MAX_SCALE, and no more than the limits on the size of a picture allow.
    """
    pixels = max(height * width, 1)
    usual = math.pow(8 * max_bytes / pixels / USUAL_RATE, 1 / (2 * USUAL_GROWTH))
    largest = min(MAX_SCALE, math.sqrt(MAX_PIXELS / pixels), MAX_SIDE / max(height, width, 1))
    return min(max(usual, MIN_SCALE), largest)


def _guess(height: int, width: int, fineness: float) -> Probe:
    """What a picture of this detail usually takes, and a third more, so that the first encoding is a small one."""
    factor, power = RATE_OF_DETAIL
    size = height * width / 8 * factor * fineness**power
    return Probe(1.0, tuple(round(40 + size * math.exp(SLOPE * (quality - 43))) for quality in QUALITIES))


def _growth(cells: Mapping[float, int], probes: Sequence[Probe]) -> float:
    """The power of the number of cells with which bytes grow, by the last two encodings."""
    if len(probes) < 2:
        return GROWTH
    a, b = probes[-2:]
    if cells[a.scale] == cells[b.scale]:
        return GROWTH
    middle = len(QUALITIES) // 2
    growth = math.log(b.sizes[middle] / a.sizes[middle]) / math.log(cells[b.scale] / cells[a.scale])
    return min(max(growth, LEAST_GROWTH), MOST_GROWTH)
