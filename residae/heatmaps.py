"""What the page shows of an error or a latent: pictures as (H, W, 3) uint8 arrays, and sentences.

Errors are in gray levels, 0 to 255. Signed errors are reconstruction - original: blue is too dark, orange too bright.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

ROUND_SCALES = (4, 8, 16, 32, 64, 128, 255)  # gray levels
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601, full range

# Björn Ottosson, "A perceptual color space for image processing", 2020.
OKLAB_TO_CONE_ROOTS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
CONES_TO_LINEAR_SRGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


BLOCK = 8  # pixels: an error just beside an edge still counts as on it

REGIONS: dict[str, tuple[int | slice, int | slice]] = {
    "in the upper left": (0, 0),
    "at the top center": (0, 1),
    "in the upper right": (0, 2),
    "at the center left": (1, 0),
    "in the center": (1, 1),
    "at the center right": (1, 2),
    "in the lower left": (2, 0),
    "at the bottom center": (2, 1),
    "in the lower right": (2, 2),
    "in the upper third": (0, slice(None)),
    "across the middle": (1, slice(None)),
    "in the lower third": (2, slice(None)),
    "in the left third": (slice(None), 0),
    "down the middle": (slice(None), 1),
    "in the right third": (slice(None), 2),
}  # row and column of a 3 x 3 grid

Picture = NDArray[np.uint8]
Floats = NDArray[np.floating]


@cache
def sequential() -> Picture:
    """(256, 3) colors from 0, deep indigo, through magenta and orange to 1, pale yellow.

    A helix in OKLab: lightness rises evenly while (a, b) runs along a circular arc, so that neighbors are equally
    far apart by construction, and lightness alone carries the value. Radius and center keep it inside sRGB.
    """
    t = np.linspace(0, 1, 256)
    angle = np.radians(-96 + (118 + 96) * t)
    return _srgb(0.15 + (0.95 - 0.15) * t, 0.016 + 0.127 * np.cos(angle), 0.033 + 0.127 * np.sin(angle))


@cache
def diverging() -> Picture:
    """(255, 3) colors from -1, blue, through near-white to 1, orange: an odd number, so that 0 has its own, entry 127.

    Two straight lines in OKLab of the same lightness and chroma, hence equal steps and equal weight on both sides;
    inside sRGB.
    """
    t = np.linspace(-1, 1, 255)
    hue = np.radians(np.where(t < 0, 258, 46))
    chroma = 0.14 * abs(t)
    return _srgb(0.96 + (0.50 - 0.96) * abs(t), chroma * np.cos(hue), chroma * np.sin(hue))


def error_scale(original: Picture, reconstruction: Picture) -> float:
    """The first of 4, 8, 16, 32, 64, 128, 255 gray levels that 99 % of the pixels' absolute errors do not exceed.

    Pictures that are compared share the largest of their scales. Raises ValueError where shapes differ.
    """
    return round_scale(float(np.quantile(np.sqrt(_squared_error(original, reconstruction)), 0.99)))


def round_scale(error: float) -> int:
    """The first of 4, 8, 16, 32, 64, 128, 255 gray levels that `error` does not exceed."""
    return next(scale for scale in ROUND_SCALES if error <= scale)


def luma_error(original: Picture, reconstruction: Picture) -> NDArray[np.float32]:
    """(H, W) reconstruction - original, in gray levels of luma. Raises ValueError where shapes differ."""
    _check(original, reconstruction)
    return _luma(reconstruction) - _luma(original)


def error_map(original: Picture, reconstruction: Picture, signed: bool, scale: float) -> Picture:
    """The error at every pixel of two (H, W) or (H, W, 3) pictures as an (H, W, 3) picture.

    Absolute errors are the root mean square over channels, whose mean square is that of PSNR; signed ones are of
    luma. `scale` > 0 is the error in gray levels at which the color saturates. Raises ValueError where shapes differ.
    """
    if signed:
        return _diverge(luma_error(original, reconstruction) / scale)
    error = np.sqrt(_squared_error(original, reconstruction))
    index = np.rint(np.minimum(error / scale, 1) * 255).astype(np.uint8)
    picture: Picture = sequential()[index]
    return picture


@dataclass(frozen=True)
class ChannelStatistics:
    """Of one latent channel, in the latent's own units."""

    mean: float
    standard_deviation: float
    minimum: float
    maximum: float


def channel_statistics(z_c: Floats) -> ChannelStatistics:
    """Mean, standard deviation, minimum and maximum of one (h, w) latent channel."""
    mean, deviation = z_c.mean(dtype=np.float64), z_c.std(dtype=np.float64)
    return ChannelStatistics(float(mean), float(deviation), float(z_c.min()), float(z_c.max()))


def latent_tiles(z: Floats, scale: float | None = None) -> list[Picture]:
    """One picture for each channel of a (C, h, w) latent, on one scale: busy channels are vivid, empty ones pale.

    Each channel is centerd on its own mean, for offsets carry no picture. Colors saturate at a deviation of `scale`
    in the latent's units; by default three standard deviations of the busiest channel. Every cell becomes a square
    of whole pixels: the short side reaches 128 px unless the long side would pass 512 px.
    """
    deviation = z - z.mean((1, 2), dtype=np.float64, keepdims=True)
    scale = scale or 3 * float(deviation.std((1, 2)).max()) or 1.0  # a latent of constants has no spread
    return [_enlarge(_diverge(channel / scale), 128, 512) for channel in deviation]


def latent_channel(z_c: Floats) -> Picture:
    """One (h, w) channel on a scale of its own, three of its standard deviations; a long side of up to 1,024 px."""
    deviation = z_c - z_c.mean(dtype=np.float64)
    return _enlarge(_diverge(deviation / (3 * float(deviation.std()) or 1.0)), 512, 1024)


def where_error(original: Picture, reconstruction: Picture) -> str:
    """One sentence on where the squared error sits: in which part of the picture, and whether where detail is.

    A part, a ninth or a third, is named where its share of the error exceeds its share of the area by 10 points or
    more. Detail, the quarter of the picture with the steepest luma gradients, is named where it has half of the error
    and twice its share. Raises ValueError where shapes differ.
    """
    error = _squared_error(original, reconstruction)
    total = float(error.sum(dtype=np.float64))
    if not total:
        return "There is no error: the two pictures are equal."

    energy, area = _ninths(error)
    excess = energy - area
    place = max(REGIONS, key=lambda name: float(excess[REGIONS[name]].sum()))
    share, part = float(energy[REGIONS[place]].sum()), float(area[REGIONS[place]].sum())

    size = _block_sums(np.ones(error.shape))
    detail = _block_sums(_gradient_energy(original)) / size
    sharpest = detail > np.quantile(detail, 0.75)  # fewer blocks than a quarter where many are flat
    on_detail, detailed = float(_block_sums(error)[sharpest].sum()) / total, float(size[sharpest].sum()) / error.size
    clause = ""
    if on_detail >= max(0.5, 2 * detailed):
        clause = f"; {_percent(on_detail)} of it lies on the {_percent(detailed)} with the most detail"

    if share - part >= 0.1:
        subject = "Most of the error sits" if share > 0.5 else "The error gathers"
        return f"{subject} {place}: {_percent(share)} of it on {_percent(part)} of the picture{clause}."
    return f"The error is spread over the whole picture{clause}."


def where_free(original: Picture, reconstruction: Picture) -> str:
    """One sentence on the largest part, a ninth or a third, that is nearly free of squared error; "" if there is none.

    It has at most a quarter of the error that its area would have. Raises ValueError where shapes differ.
    """
    error = _squared_error(original, reconstruction)
    if not error.any():
        return ""
    energy, area = _ninths(error)
    free = [name for name, cells in REGIONS.items() if energy[cells].sum() <= area[cells].sum() / 4 > 0]
    if not free:
        return ""
    place = max(free, key=lambda name: float((area - energy)[REGIONS[name]].sum()))
    share, part = float(energy[REGIONS[place]].sum()), float(area[REGIONS[place]].sum())
    return f"What lies {place} is nearly free of it: {_percent(share)} on {_percent(part)} of the picture."


def _ninths(error: Floats) -> tuple[Floats, Floats]:
    """(3, 3) shares of the error and of the area."""
    rows, columns = ([side * i // 3 for i in range(4)] for side in error.shape)
    energy, area = np.zeros((3, 3)), np.zeros((3, 3))
    for i, j in np.ndindex(3, 3):
        cell = error[rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
        energy[i, j], area[i, j] = cell.sum(dtype=np.float64), cell.size / error.size
    return energy / energy.sum(), area


def where_bits(bits: Floats) -> str:
    """One sentence on how evenly a file's bits lie on the channels, of (C,) bits of each."""
    shares = np.asarray(bits, np.float64) / max(float(bits.sum()), np.finfo(float).tiny)
    order = np.argsort(-shares, kind="stable")
    half = int(np.searchsorted(np.cumsum(shares[order]), 0.5)) + 1
    busiest = ", ".join(str(i + 1) for i in sorted(order[:half]))
    words = f"Half of the bits go into {half} of the {len(bits)} channels: {busiest}."
    empty = np.flatnonzero(shares < 0.25 / len(bits))
    if len(empty):
        words += f" Nearly empty: {', '.join(str(i + 1) for i in empty)}."
    return words


def _squared_error(original: Picture, reconstruction: Picture) -> NDArray[np.float32]:
    """(H, W): mean over channels."""
    _check(original, reconstruction)
    a, b = np.atleast_3d(original), np.atleast_3d(reconstruction)
    total = np.zeros(a.shape[:2], np.float32)
    for c in range(a.shape[2]):  # one channel at a time: a third of the memory
        total += np.square(b[..., c].astype(np.float32) - a[..., c])
    total /= a.shape[2]
    return total


def _check(original: Picture, reconstruction: Picture) -> None:
    if original.shape != reconstruction.shape:
        raise ValueError(f"pictures differ in shape: {original.shape} and {reconstruction.shape}")


def _luma(picture: Picture) -> NDArray[np.float32]:
    return picture.astype(np.float32) if picture.ndim == 2 else picture @ LUMA


def _gradient_energy(picture: Picture) -> NDArray[np.float32]:
    luma = np.pad(_luma(picture), 1, mode="edge")
    across, down = luma[1:-1, 2:] - luma[1:-1, :-2], luma[2:, 1:-1] - luma[:-2, 1:-1]
    return across**2 + down**2


def _block_sums(x: Floats) -> Floats:
    """(H, W) -> sums over BLOCK x BLOCK squares, those at the right and lower edge cut."""
    rows = np.add.reduceat(x, range(0, x.shape[0], BLOCK), axis=0)
    return np.add.reduceat(rows, range(0, x.shape[1], BLOCK), axis=1)


def _diverge(x: Floats) -> Picture:
    """Colors of values in -1 .. 1; beyond, those of the ends."""
    picture: Picture = diverging()[np.rint(np.clip(x, -1, 1) * 127 + 127).astype(np.uint8)]
    return picture


def _enlarge(picture: Picture, short_side: int, long_side: int) -> Picture:
    height, width = picture.shape[:2]
    factor = max(1, min(-(-short_side // min(height, width)), long_side // max(height, width)))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _srgb(lightness: Floats, a: Floats, b: Floats) -> Picture:
    """OKLab -> (N, 3) sRGB, read-only as it is cached."""
    linear = (np.stack((lightness, a, b), axis=1) @ OKLAB_TO_CONE_ROOTS.T) ** 3 @ CONES_TO_LINEAR_SRGB.T
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    table: Picture = np.rint(255 * encoded).astype(np.uint8)
    table.flags.writeable = False
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "less than 1 %"
