"""What the page shows of an error or a latent: pictures as (H, W, 3) uint8 arrays, charts as inline SVG, one sentence.

Errors are in grey levels, 0 to 255. Signed errors are reconstruction - original: blue is too dark, orange too bright.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

ROUND_SCALES = (4, 8, 16, 32, 64, 128, 255)  # grey levels
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

DECADES = 5  # of the histogram's axis: from 100 % of the pixels down to 10^-5 of them, 0.001 %
BLOCK = 8  # pixels: an error just beside an edge still counts as on it

REGIONS: dict[str, tuple[int | slice, int | slice]] = {
    "in the upper left": (0, 0),
    "at the top centre": (0, 1),
    "in the upper right": (0, 2),
    "at the centre left": (1, 0),
    "in the centre": (1, 1),
    "at the centre right": (1, 2),
    "in the lower left": (2, 0),
    "at the bottom centre": (2, 1),
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
    """(256, 3) colours from 0, deep indigo, through magenta and orange to 1, pale yellow.

    A helix in OKLab: lightness rises evenly while (a, b) runs along a circular arc, so that neighbours are equally
    far apart by construction, and lightness alone carries the value. Radius and centre keep it inside sRGB.
    """
    t = np.linspace(0, 1, 256)
    angle = np.radians(-96 + (118 + 96) * t)
    return _srgb(0.15 + (0.95 - 0.15) * t, 0.016 + 0.127 * np.cos(angle), 0.033 + 0.127 * np.sin(angle))


@cache
def diverging() -> Picture:
    """(255, 3) colours from -1, blue, through near-white to 1, orange: an odd number, so that 0 has its own, entry 127.

    Two straight lines in OKLab of the same lightness and chroma, hence equal steps and equal weight on both sides;
    inside sRGB.
    """
    t = np.linspace(-1, 1, 255)
    hue = np.radians(np.where(t < 0, 258, 46))
    chroma = 0.14 * abs(t)
    return _srgb(0.96 + (0.50 - 0.96) * abs(t), chroma * np.cos(hue), chroma * np.sin(hue))


def error_scale(original: Picture, reconstruction: Picture) -> float:
    """The first of 4, 8, 16, 32, 64, 128, 255 grey levels that 99 % of the pixels' absolute errors do not exceed.

    Pictures that are compared share the largest of their scales. Raises ValueError where shapes differ.
    """
    return _round_up(float(np.quantile(np.sqrt(_squared_error(original, reconstruction)), 0.99)))


def error_map(original: Picture, reconstruction: Picture, signed: bool, scale: float) -> Picture:
    """The error at every pixel of two (H, W) or (H, W, 3) pictures as an (H, W, 3) picture.

    Absolute errors are the root mean square over channels, whose mean square is that of PSNR; signed ones are of
    luma. `scale` > 0 is the error in grey levels at which the colour saturates. Raises ValueError where shapes differ.
    """
    if signed:
        return _diverge(_luma_error(original, reconstruction) / scale)
    error = np.sqrt(_squared_error(original, reconstruction))
    index = np.rint(np.minimum(error / scale, 1) * 255).astype(np.uint8)
    picture: Picture = sequential()[index]
    return picture


def color_bar(scale: float, signed: bool) -> str:
    """The key to `error_map` at `scale`, as an SVG of 44 px height and all the width there is."""
    title = "Absolute error in grey levels (0 to 255)"
    table = sequential()
    values = np.linspace(0, scale, 5)
    if signed:
        title = "Luma error in grey levels: blue too dark, orange too bright"
        table = diverging()
        values = np.linspace(-scale, scale, 5)
    if scale > 8:
        values = np.rint(values)  # a quarter of 255 is not whole
    labels = [_number(v) for v in values]
    if scale < 255:  # the ends also stand for all that lies beyond
        labels[-1] = f"\N{GREATER-THAN OR EQUAL TO} {labels[-1]}"
        if signed:
            labels[0] = f"\N{LESS-THAN OR EQUAL TO} {labels[0]}"
    places = 100 * (values - values[0]) / (values[-1] - values[0])
    # A CSS background needs no id: an SVG gradient's would clash between bars, and fail where the first is hidden.
    stops = ", ".join(_hex(colour) for colour in table[np.linspace(0, len(table) - 1, 17).astype(int)])
    style = f"background: linear-gradient(to right, {stops}) 0 0 / 100% 12px no-repeat"
    return _svg(title, 44, _axis(places, labels, 12), style)


def error_histogram(original: Picture, reconstruction: Picture) -> str:
    """How many pixels have which luma error, on a logarithmic axis, as an SVG of 184 px height and full width.

    The horizontal axis ends at a round number that no error exceeds; bins are an odd number of grey levels wide, one
    of them centred on 0. Bars of less than 0.001 % of the pixels are not drawn. Raises ValueError where shapes differ.
    """
    error = _luma_error(original, reconstruction)
    limit = _round_up(round(float(abs(error).max())))  # luma in float32 may pass 255 by a hair
    width = limit // 32 | 1  # odd, so that no whole grey level lies on the edge of a bin
    half = -(-limit // width)  # bins on either side of the one at 0
    count = np.bincount(np.rint(error / width).astype(np.int64).ravel() + half, minlength=2 * half + 1)
    with np.errstate(divide="ignore"):
        depth = np.minimum(-np.log10(count / error.size), DECADES)  # decades below all pixels

    bars = ""
    for colour, first, last in (
        (_hex(diverging()[0]), 0, half),
        ("currentColor", half, half + 1),
        (_hex(diverging()[-1]), half + 1, 2 * half + 1),
    ):
        steps = "".join(f"V{y:.3f}h1" for y in depth[first:last])
        bars += f'<path d="M{first} {DECADES}{steps}V{DECADES}z" fill="{colour}"/>'
    top, bottom = 14, 150  # px: room for the top label above, the axis and the title below
    plot = (
        f'<svg y="{top}" width="100%" height="{bottom - top}" viewBox="0 0 {2 * half + 1} {DECADES}" '
        f'preserveAspectRatio="none">{bars}</svg>'
    )
    for decade, share in enumerate(("100 %", "10 %", "1 %", "0.1 %", "0.01 %", "0.001 %")):
        y = top + (bottom - top) * decade / DECADES
        plot += f'<line x2="100%" y1="{y:g}" y2="{y:g}" stroke="currentColor" opacity="0.15"/>'
        plot += _text("0", y - 3, "start", share)
    values = np.linspace(-limit, limit, 5).round()
    places = 50 + 50 * values / ((half + 0.5) * width)
    plot += _text("49%", top - 4, "end", "too dark") + _text("51%", top - 4, "start", "too bright")
    title = "Share of pixels by luma error in grey levels"
    return _svg(title, 184, plot + _axis(places, [_number(v) for v in values], bottom))


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

    Each channel is centred on its own mean, for offsets carry no picture. Colours saturate at a deviation of `scale`
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

    row_edges, column_edges = ([side * i // 3 for i in range(4)] for side in error.shape)
    energy, area = np.zeros((3, 3)), np.zeros((3, 3))
    for i, j in np.ndindex(3, 3):
        cell = error[row_edges[i] : row_edges[i + 1], column_edges[j] : column_edges[j + 1]]
        energy[i, j], area[i, j] = cell.sum(dtype=np.float64) / total, cell.size / error.size
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
    return f"The error is spread {'over the whole' if clause else 'evenly over the'} picture{clause}."


def _squared_error(original: Picture, reconstruction: Picture) -> NDArray[np.float32]:
    """(H, W): mean over channels."""
    _check(original, reconstruction)
    a, b = np.atleast_3d(original), np.atleast_3d(reconstruction)
    total = np.zeros(a.shape[:2], np.float32)
    for c in range(a.shape[2]):  # one channel at a time: a third of the memory
        total += np.square(b[..., c].astype(np.float32) - a[..., c])
    total /= a.shape[2]
    return total


def _luma_error(original: Picture, reconstruction: Picture) -> NDArray[np.float32]:
    _check(original, reconstruction)
    return _luma(reconstruction) - _luma(original)


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


def _round_up(error: float) -> int:
    return next(scale for scale in ROUND_SCALES if error <= scale)


def _diverge(x: Floats) -> Picture:
    """Colours of values in -1 .. 1; beyond, those of the ends."""
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


def _hex(colour: Picture) -> str:
    return f"#{colour.tobytes().hex()}"


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "less than 1 %"


def _axis(places: Floats, labels: Iterable[str], y: float) -> str:
    """Ticks at `places`, in percent of the width, with labels below."""
    axis = ""
    for place, label in zip(places, labels, strict=True):
        x = f"{place:g}%"
        axis += f'<line x1="{x}" x2="{x}" y1="{y}" y2="{y + 4}" stroke="currentColor"/>'
        axis += _text(x, y + 15, "start" if place < 5 else "end" if place > 95 else "middle", label)
    return axis


def _text(x: str, y: float, anchor: str, words: str) -> str:
    return f'<text x="{x}" y="{y:g}" text-anchor="{anchor}">{words}</text>'


def _svg(title: str, height: int, content: str, style: str = "") -> str:
    """All the width there is, unscaled: text keeps its size. The title is the label and the last line."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{title}" width="100%" height="{height}" '
        f'fill="currentColor" font-size="11" style="font-variant-numeric: tabular-nums; {style}">'
        f"{content}{_text('50%', height - 3, 'middle', title)}</svg>"
    )
