"""Errors and latents as pictures and as sentences. Pictures are (H, W, 3) uint8 arrays.

Errors are in gray levels, 0 to 255. A signed error is reconstruction - original: blue is too dark, orange too bright.
"""

from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from residae.arrays import Floats, Pixels
from residae.image.picture import bands
from residae.image.planes import KB, KG, KR
from residae.progress import raise_if_cancelled

ROUND_SCALES = (4, 8, 16, 32, 64, 128, 255)  # gray levels
LUMA = np.array([KR, KG, KB])

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

MIN_MAP_SCALE = 1e-3  # gray levels: any error of whole levels is far larger

MOSAIC_COLUMNS, MOSAIC_GAP = 4, 8  # tiles in a row, and pixels between them
STRIP_SIDE = 128  # cells of a channel in a strip of channels, at most, along each side

BLOCK = 8  # pixels; an error within so many pixels of an edge counts as on it
BAND = 64  # blocks in a column that are summed before the next look whether the work is to end

REGIONS: dict[str, tuple[int | slice, int | slice]] = {  # row and column of a 3 x 3 grid
    "in the upper left": (0, 0),
    "at the top center": (0, 1),
    "in the upper right": (0, 2),
    "at the center left": (1, 0),
    "in the center": (1, 1),
    "at the center right": (1, 2),
    "in the lower left": (2, 0),
    "at the bottom center": (2, 1),
    "in the lower right": (2, 2),
    "at the top": (0, slice(None)),
    "across the middle": (1, slice(None)),
    "at the bottom": (2, slice(None)),
    "on the left": (slice(None), 0),
    "down the middle": (slice(None), 1),
    "on the right": (slice(None), 2),
}


@cache
def sequential() -> Pixels:
    """A color map for values from 0, deep indigo, through magenta and orange to 1, pale yellow.

    It is a helix in OKLab: lightness rises evenly while (a, b) follows a circular arc, so that neighbors are equally
    far apart, and lightness alone shows the value. Radius and center keep it inside sRGB.

    Returns:
        (256, 3) uint8 sRGB, read-only.
    """
    t = np.linspace(0, 1, 256)
    angle = np.radians(-96 + (118 + 96) * t)
    return _srgb(0.15 + (0.95 - 0.15) * t, 0.016 + 0.127 * np.cos(angle), 0.033 + 0.127 * np.sin(angle))


@cache
def diverging() -> Pixels:
    """A color map for values from -1, blue, through near-white to 1, orange.

    It consists of two straight lines in OKLab of equal lightness and chroma, so that steps are equal and both signs
    have the same weight.

    Returns:
        (255, 3) uint8 sRGB, read-only; the middle entry, 127, is that of 0.
    """
    t = np.linspace(-1, 1, 255)
    hue = np.radians(np.where(t < 0, 258, 46))
    chroma = 0.14 * abs(t)
    return _srgb(0.96 + (0.50 - 0.96) * abs(t), chroma * np.cos(hue), chroma * np.sin(hue))


def error_scale(original: Pixels, reconstruction: Pixels) -> float:
    """The scale on which an error map is easy to read.

    Args:
        original: (H, W) or (H, W, 3).
        reconstruction: Of the same shape.

    Returns:
        The first of 4, 8, 16, 32, 64, 128, 255 gray levels that 99 % of the absolute errors do not exceed. Maps to be
        compared should use the largest of their scales.

    Raises:
        ValueError: Shapes differ.
    """
    _check(original, reconstruction)
    within = np.zeros(len(ROUND_SCALES))
    for rows in bands(*original.shape[:2]):
        squares = _squared_error(original[rows], reconstruction[rows])
        within += [np.count_nonzero(squares <= scale**2) for scale in ROUND_SCALES]
    pixels = original.shape[0] * original.shape[1]
    return next(scale for scale, count in zip(ROUND_SCALES, within, strict=True) if count >= 0.99 * pixels)


def round_scale(error: float) -> int:
    """The first of 4, 8, 16, 32, 64, 128, 255 gray levels that `error` does not exceed.

    Args:
        error: Gray levels, at most 255.
    """
    return next(scale for scale in ROUND_SCALES if error <= scale)


def luma_error(original: Pixels, reconstruction: Pixels) -> NDArray[np.float32]:
    """The signed error of luma.

    Args:
        original: (H, W) or (H, W, 3).
        reconstruction: Of the same shape.

    Returns:
        (H, W) reconstruction - original, in gray levels.

    Raises:
        ValueError: Shapes differ.
    """
    _check(original, reconstruction)
    return _luma(reconstruction) - _luma(original)


def color_map(signed: bool) -> Pixels:
    """The colors of error maps, as `diverging` and `sequential` give them.

    Args:
        signed: As in `error_map`.
    """
    return diverging() if signed else sequential()


def error_map(original: Pixels, reconstruction: Pixels, signed: bool, scale: float) -> Pixels:
    """Show the error of every pixel as a color.

    Args:
        original: (H, W) or (H, W, 3).
        reconstruction: Of the same shape.
        signed: As in `error_levels`.
        scale: As in `error_levels`.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: Shapes differ.
    """
    picture: Pixels = color_map(signed)[error_levels(original, reconstruction, signed, scale)]
    return picture


def error_levels(original: Pixels, reconstruction: Pixels, signed: bool, scale: float) -> Pixels:
    """The error of every pixel as the index of its color, of which a PNG is smaller and sooner written than of colors.

    Args:
        original: (H, W) or (H, W, 3).
        reconstruction: Of the same shape.
        signed: Whether to show the signed error of luma; otherwise it is the root mean square over channels, whose mean
            square is the MSE of PSNR.
        scale: The error in gray levels at which the color saturates; above 0. One below MIN_MAP_SCALE counts as that.

    Returns:
        (H, W) uint8, of the rows of `color_map`.

    Raises:
        ValueError: Shapes differ.
    """
    _check(original, reconstruction)
    scale = max(scale, MIN_MAP_SCALE)
    levels = np.empty(original.shape[:2], np.uint8)
    for rows in bands(*original.shape[:2]):
        if signed:
            levels[rows] = _diverging_level(luma_error(original[rows], reconstruction[rows]) / scale)
        else:
            error = np.sqrt(_squared_error(original[rows], reconstruction[rows]))
            levels[rows] = np.rint(np.minimum(error / scale, 1) * 255).astype(np.uint8)
    return levels


def change(before: Pixels, after: Pixels, share: float = 1.0) -> Pixels:
    """The change from one picture to another, as a picture that can be enlarged and added to a third.

    Args:
        before: (H, W) or (H, W, 3).
        after: Of the same shape.
        share: How much of the change it is, 0 to 1.

    Returns:
        uint8 of that shape: 128 plus half of that change at each sample, rounded down.

    Raises:
        ValueError: Shapes differ.
    """
    _check(before, after)
    return ((share * (after.astype(np.float32) - before) + 256) // 2).astype(np.uint8)


@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics of one latent channel, in the units of the latent.

    Attributes:
        mean: Over all cells.
        standard_deviation: Of the population: the sum of squares is divided by the number of cells.
        minimum: Over all cells.
        maximum: Over all cells.
    """

    mean: float
    standard_deviation: float
    minimum: float
    maximum: float


def channel_statistics(z_c: Floats) -> ChannelStatistics:
    """Compute the statistics of one (h, w) latent channel.

    Args:
        z_c: (h, w) floating point.
    """
    mean, deviation = z_c.mean(dtype=np.float64), z_c.std(dtype=np.float64)
    return ChannelStatistics(float(mean), float(deviation), float(z_c.min()), float(z_c.max()))


def latent_tiles(z: Floats, scale: float | None = None) -> list[Pixels]:
    """Show each channel of a latent, on one scale: channels that vary much are vivid, the others pale.

    Args:
        z: (C, h, w) latent.
        scale: The deviation from the channel's mean at which the color saturates, in the units of the latent; three
            standard deviations of the channel that varies most if None.

    Returns:
        (H, W, 3) uint8 for each channel. Each cell is a square of whole pixels, as large as the short side needs to
        reach 128 pixels, unless the long side would then exceed 512.
    """
    deviation = z - z.mean((1, 2), dtype=np.float64, keepdims=True)
    scale = scale or 3 * float(deviation.std((1, 2)).max()) or 1.0  # constant channels have no deviation
    return [_enlarge(_diverge(channel / scale), 128, 512) for channel in deviation]


def mosaic(tiles: list[Pixels]) -> Pixels:
    """Tiles of one size in rows, four in each, with gaps of white.

    Args:
        tiles: At least one, each (h, w, 3) uint8 of the same size.

    Returns:
        (H, W, 3) uint8 of MOSAIC_COLUMNS tiles in a row, or fewer, MOSAIC_GAP pixels apart.
    """
    height, width = (side + MOSAIC_GAP for side in tiles[0].shape[:2])
    columns = min(MOSAIC_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    picture = np.full((rows * height - MOSAIC_GAP, columns * width - MOSAIC_GAP, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * height, index % columns * width
        picture[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return picture


def latent_channel(z_c: Floats) -> Pixels:
    """Show one channel on a color scale of its own, which ends at three of its standard deviations from its mean.

    Args:
        z_c: (h, w) floating point.

    Returns:
        (H, W, 3) uint8, enlarged by a whole factor until the short side has 512 pixels or the long side would exceed
        1,024.
    """
    center, reach = channel_scale(z_c)
    return _enlarge(_diverge((z_c - center) / reach), 512, 1024)


def channel_scale(z_c: Floats) -> tuple[float, float]:
    """The color scale of `latent_channel`.

    Args:
        z_c: (h, w) floating point.

    Returns:
        The value in the middle, which is the mean, and how far from it the color saturates: three standard deviations,
        or 1 if all values are equal.
    """
    center = z_c.mean(dtype=np.float64)
    return float(center), 3 * float((z_c - center).std()) or 1.0


def latent_strip(z: Floats) -> Pixels:
    """Show every channel of a latent on a scale of its own, one below the other.

    Args:
        z: (C, h, w) latent. If a side has more than STRIP_SIDE cells, blocks of cells are averaged.

    Returns:
        (C * h', w', 3) uint8, a pixel for each cell or block. The color saturates at 2.5 standard deviations of the
        channel.
    """
    block = -(-max(z.shape[1:]) // STRIP_SIDE)
    sums, cells = (_block_sums(x, block) for x in (z.astype(np.float64), np.ones(z.shape[1:])))
    means = sums / cells
    deviation = means - means.mean((1, 2), keepdims=True)
    scale = 2.5 * deviation.std((1, 2), keepdims=True)
    return _diverge(deviation / np.where(scale, scale, 1)).reshape(-1, means.shape[2], 3)


def where_error(original: Pixels, reconstruction: Pixels) -> str:
    """Say where the squared error is.

    A part of the picture, a ninth or a third, is named if its share of the error exceeds its share of the area by 10
    points or more. Detail, the quarter of the picture with the steepest luma gradients, is named if it has half of the
    error and twice its share by area; beside a part, if the detail is in that part by the same 10 points.

    Args:
        original: (H, W) or (H, W, 3).
        reconstruction: Of the same shape.

    Returns:
        One sentence.

    Raises:
        ValueError: Shapes differ.
    """
    error = _squared_error(original, reconstruction)
    total = float(error.sum(dtype=np.float64))
    if not total:
        return "There is no error: the two pictures are equal."

    size = np.outer(*(np.minimum(BLOCK, length - np.arange(0, length, BLOCK)) for length in error.shape))
    gradient = _block_sums(_gradient_energy(original), BLOCK) / size
    sharpest = gradient > np.quantile(gradient, 0.75)  # fewer blocks than a quarter if many are flat
    share_of_error = float(_block_sums(error, BLOCK)[sharpest].sum()) / total
    share_of_area = float(size[sharpest].sum()) / error.size
    is_on_detail = share_of_error >= max(0.5, 2 * share_of_area)

    energy, area = _ninths(error)
    excess = energy - area
    place = max(REGIONS, key=lambda name: float(excess[REGIONS[name]].sum()))
    if excess[REGIONS[place]].sum() < 0.1:
        return "Most of the error is where the detail is." if is_on_detail else "The error is spread over the picture."
    if energy[REGIONS[place]].sum() <= 0.5:
        return f"The error is largest {place}."
    if is_on_detail:
        height, width = error.shape
        mask = sharpest.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)[:height, :width]
        detail, _ = _ninths(mask.astype(np.float32))
        if (detail - area)[REGIONS[place]].sum() >= 0.1:
            return f"Most of the error is {place}, where the detail is."
    return f"Most of the error is {place}."


def _ninths(error: Floats) -> tuple[Floats, Floats]:
    """The shares of a 3 x 3 grid in the error and in the area."""
    rows, columns = ([side * i // 3 for i in range(4)] for side in error.shape)
    energy, area = np.zeros((3, 3)), np.zeros((3, 3))
    for i, j in np.ndindex(3, 3):
        cell = error[rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
        energy[i, j], area[i, j] = cell.sum(dtype=np.float64), cell.size / error.size
    return energy / energy.sum(), area


def where_bits(bits: Floats) -> str:
    """Say which channels take the bits of a file.

    Args:
        bits: (C,) bits of each channel.

    Returns:
        One or two sentences.
    """
    shares = np.asarray(bits, np.float64) / max(float(bits.sum()), np.finfo(float).tiny)
    order = np.argsort(-shares, kind="stable")
    half = int(np.searchsorted(np.cumsum(shares[order]), 0.5)) + 1
    sentence = f"Half of the bits are in {_channels(order[:half])}."
    empty = np.flatnonzero(shares < 0.25 / len(bits))
    if len(empty):
        sentence += f" {_channels(empty).capitalize()} {'is' if len(empty) == 1 else 'are'} nearly empty."
    return sentence


def _channels(indices: NDArray[np.integer]) -> str:
    """The numbers of channels in words, counted from 1: `channels 1, 3 to 5 and 7`."""
    numbers = np.sort(indices) + 1
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    *first, last = chain.from_iterable([f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run) for run in runs)
    listed = f"{', '.join(first)} and {last}" if first else last
    return f"channel{'s' if len(numbers) > 1 else ''} {listed}"


def _squared_error(original: Pixels, reconstruction: Pixels) -> NDArray[np.float32]:
    """(H, W) mean over channels."""
    _check(original, reconstruction)
    a, b = np.atleast_3d(original), np.atleast_3d(reconstruction)
    height, width, channels = a.shape
    error = np.empty((height, width), np.float32)
    for rows in bands(height, width):
        difference = np.subtract(b[rows], a[rows], dtype=np.float32)
        error[rows] = np.einsum("hwc,hwc->hw", difference, difference) / channels
    return error


def _check(original: Pixels, reconstruction: Pixels) -> None:
    if original.shape != reconstruction.shape:
        raise ValueError(f"pictures differ in shape: {original.shape} and {reconstruction.shape}")


def _luma(picture: Pixels) -> NDArray[np.float32]:
    height, width = picture.shape[:2]
    luma = np.empty((height, width), np.float32)
    for rows in bands(height, width):
        luma[rows] = picture[rows] if picture.ndim == 2 else picture[rows] @ LUMA
    return luma


def _gradient_energy(picture: Pixels) -> NDArray[np.float32]:
    height, width = picture.shape[:2]
    luma, energy = np.pad(_luma(picture), 1, mode="edge"), np.empty((height, width), np.float32)
    for rows in bands(height, width):
        band = luma[rows.start : rows.stop + 2]
        across, down = band[1:-1, 2:] - band[1:-1, :-2], band[2:, 1:-1] - band[:-2, 1:-1]
        energy[rows] = across**2 + down**2
    return energy


def _block_sums(x: Floats, side: int) -> Floats:
    """Sums over squares of the last two axes; those at the right and lower edges are cut."""
    sums = []
    for top in range(0, x.shape[-2], side * BAND):
        raise_if_cancelled()
        band = x[..., top : top + side * BAND, :]
        rows = np.add.reduceat(band, range(0, band.shape[-2], side), axis=-2)
        sums.append(np.add.reduceat(rows, range(0, x.shape[-1], side), axis=-1))
    return np.concatenate(sums, axis=-2)


def _diverge(x: Floats) -> Pixels:
    """The diverging color of each value, clipped to -1 .. 1."""
    picture: Pixels = diverging()[_diverging_level(x)]
    return picture


def _diverging_level(x: Floats) -> Pixels:
    """The index of that color."""
    return np.rint(np.clip(x, -1, 1) * 127 + 127).astype(np.uint8)


def _enlarge(picture: Pixels, short_side: int, long_side: int) -> Pixels:
    height, width = picture.shape[:2]
    factor = max(1, min(-(-short_side // min(height, width)), long_side // max(height, width)))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _srgb(lightness: Floats, a: Floats, b: Floats) -> Pixels:
    """(N, 3) uint8 sRGB of OKLab colors, read-only because callers cache it."""
    linear = (np.stack((lightness, a, b), axis=1) @ OKLAB_TO_CONE_ROOTS.T) ** 3 @ CONES_TO_LINEAR_SRGB.T
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    table: Pixels = np.rint(255 * encoded).astype(np.uint8)
    table.flags.writeable = False
    return table
