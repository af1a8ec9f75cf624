"""What the page shows of an error or a latent: pictures as (H, W, 3) uint8 arrays, charts as inline SVG, one sentence.

Errors are in grey levels, 0 to 255. Signed errors are reconstruction - original: blue is too dark, orange too bright.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

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

# Okabe and Ito, "Color universal design", 2008, but for the first: told apart by every kind of colour vision, and, with
# a mark of its own each, by none at all. Dark enough for white, light enough for black.
SERIES: tuple[tuple[str, str], ...] = (  # colour, path of the mark about (0, 0)
    ("currentColor", "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z"),
    ("#c2571a", "M-4 -4h8v8h-8z"),
    ("#0b7fc4", "M0 -5.5L5 4H-5z"),
    ("#12906b", "M0 -5.5L5 0L0 5.5L-5 0z"),
    ("#b4639a", "M-4.5 -4.5L4.5 4.5M-4.5 4.5L4.5 -4.5"),
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
    return f"The error is spread {'over the whole' if clause else 'evenly over the'} picture{clause}."


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


def channel_chart(bits: Floats | None, losses: Sequence[float] | None) -> str:
    """Shares of bits, and what muting takes away in dB, for each channel, as an SVG of full width.

    Both (C,), in the order of the network; either may be missing. A channel that helps nothing when heard has no bar.
    """
    groups = [
        (name, np.asarray(values, np.float64), unit)
        for name, values, unit in (("bits", bits, "%"), ("dB lost when muted", losses, "dB"))
        if values is not None
    ]
    channels = max((len(values) for _, values, _ in groups), default=0)
    height, top = 92, 18
    content = ""
    for row, (name, values, unit) in enumerate(groups):
        base = top + row * (height + 30) + height
        shown = 100 * values / max(values.sum(), 1e-12) if unit == "%" else values
        most = max(float(shown.max(initial=0)), 1e-9)
        content += _text("0", base - height - 6, "start", f"{'Share of the ' if unit == '%' else ''}{name}")
        content += f'<line x2="100%" y1="{base}" y2="{base}" stroke="currentColor" opacity="0.3"/>'
        for c, value in enumerate(shown):
            tall = max(0.0, float(value)) / most * (height - 16)
            content += (
                f'<rect x="{100 * (c + 0.14) / channels:g}%" width="{72 / channels:g}%" y="{base - tall:.1f}" '
                f'height="{tall:.1f}" fill="{SERIES[1 + row][0]}">'
                f"<title>Channel {c + 1}: {value:.3g} {unit}</title></rect>"
            )
            x = f"{100 * (c + 0.5) / channels:g}%"
            content += _text(x, base - tall - 3, "middle", f"{value:.0f}" if unit == "%" else f"{value:.1f}")
            content += _text(x, base + 13, "middle", str(c + 1))
    title = "By channel: " + " and ".join(f"{name} ({unit})" for name, _, unit in groups)
    return _svg(title, top + len(groups) * (height + 30) + 18, content)


def rate_distortion_chart(curves: Mapping[str, Sequence[tuple[float, float]]], marked: float | None) -> str:
    """PSNR in dB against bits per pixel, a line for each codec in the order of SERIES, as an SVG of full width.

    `curves` hold (bits per pixel, dB), by rising rate. `marked` is the rate of the file that is shown.
    """
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return ""
    rates, decibels = zip(*points, strict=True)
    rate_ticks, psnr_ticks = _ticks(0, max(rates)), _ticks(min(decibels), max(decibels))
    left, top, width, height = 7.0, 14, 90.0, 250  # percent and pixels

    def place(rate: float, psnr: float) -> tuple[float, float]:
        x = left + width * (rate - rate_ticks[0]) / (rate_ticks[-1] - rate_ticks[0])
        return x, top + height * (psnr_ticks[-1] - psnr) / (psnr_ticks[-1] - psnr_ticks[0])

    content = ""
    for tick in psnr_ticks:
        y = place(0, tick)[1]
        content += (
            f'<line x1="{left}%" x2="{left + width}%" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" opacity="0.15"/>'
        )
        content += _text(f"{left - 1}%", y + 4, "end", _number(tick))
    for tick in rate_ticks:
        x = place(tick, 0)[0]
        content += _text(f"{x:g}%", top + height + 16, "middle", _number(tick))
    if marked is not None:
        x = place(marked, 0)[0]
        content += (
            f'<line x1="{x:.3f}%" x2="{x:.3f}%" y1="{top}" y2="{top + height}" stroke="currentColor" '
            f'stroke-dasharray="3 3" opacity="0.7"/>' + _text(f"{x + 0.6:.3f}%", top + 8, "start", "this file")
        )
    for (colour, mark), curve in zip(SERIES, curves.values(), strict=False):
        places = [place(*point) for point in curve]
        for (x1, y1), (x2, y2) in pairwise(places):
            content += (
                f'<line x1="{x1:.3f}%" y1="{y1:.1f}" x2="{x2:.3f}%" y2="{y2:.1f}" stroke="{colour}" stroke-width="2"/>'
            )
        for (x, y), (rate, psnr) in zip(places, curve, strict=True):
            content += _mark(f"{x:.3f}%", y, colour, mark, f"{psnr:.2f} dB at {rate:.3f} bits per pixel")
    step = 84 / len(curves)  # room for the last name
    for number, ((colour, mark), name) in enumerate(zip(SERIES, curves, strict=False)):
        place_of_key, line = f"{1.5 + number * step:g}%", top + height + 36
        content += _mark(place_of_key, line, colour, mark, name)
        content += f'<svg x="{place_of_key}" overflow="visible"><text x="11" y="{line + 4}">{name}</text></svg>'
    return _svg("PSNR in dB against bits per pixel, by codec", top + height + 66, content)


def network_diagram(
    encoder: Sequence[tuple[str, int, int, int, int]], decoder: Sequence[tuple[str, int, int, int, int]]
) -> str:
    """The hourglass of the network, as an SVG: boxes as high as the picture there and as wide as there are channels.

    Each stage is its name, channels, side in pixels, parameters and operations. The encoder's last is the latent.
    """
    stages = [*encoder, *decoder]
    side = stages[0][2]
    gap, left, middle = 12.0, 46.0, 150.0
    most = max(stage[1] for stage in stages)
    widths = [22 + 66 * (channels / most) ** 0.5 for _, channels, *_ in stages]
    total = 2 * left + sum(widths) + gap * (len(stages) - 1) + 44
    content, x = _box(4, middle, 34, 200, "none", "picture"), left
    for number, ((name, channels, cells, parameters, flops), width) in enumerate(zip(stages, widths, strict=True)):
        tall = 16 + 184 * (cells / side) ** 0.55
        is_latent = number == len(encoder) - 1
        kind = "latent" if is_latent else "encoder" if number < len(encoder) else "decoder"
        content += _box(x, middle, width, tall, kind, f"{name}: {channels} channels of {cells} x {cells}")
        centre = x + width / 2
        content += _text(f"{centre:.1f}", middle - tall / 2 - 8, "middle", str(channels))
        content += _text(f"{centre:.1f}", 274, "middle", "latent" if is_latent else name)
        content += _text(f"{centre:.1f}", 289, "middle", str(cells))
        content += _text(f"{centre:.1f}", 306, "middle", _short(parameters))
        content += _text(f"{centre:.1f}", 321, "middle", _short(flops))
        x += width + gap
    content += _box(x, middle, 34, 200, "none", "reconstruction")
    for y, words in ((274, "stage"), (289, "side, px"), (306, "weights"), (321, "FLOP")):
        content += _text("2", y, "start", words)
    content += _text("2", 26, "start", "channels")
    title = "The network: encoder, latent and decoder, each box as high as the picture is there"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{title}" viewBox="0 0 {total:.0f} 328" '
        f'fill="currentColor" font-size="11" style="min-width: 720px; max-width: 1080px">{content}</svg>'
    )


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


def _ticks(low: float, high: float) -> list[float]:
    """At least two round numbers, evenly spaced, that enclose the two; about six."""
    span = max(high - low, 0.01)
    unit = 10.0 ** math.floor(math.log10(span))
    step = next(unit * m for m in (0.2, 0.5, 1, 2) if span / (unit * m) <= 6)
    first = math.floor(low / step)
    return [round(i * step, 9) for i in range(first, max(math.ceil(high / step), first + 1) + 1)]


def _mark(x: str, y: float, colour: str, path: str, title: str) -> str:
    stroke = "none" if path.endswith("z") else colour
    return (
        f'<svg x="{x}" y="{y:.1f}" overflow="visible"><path d="{path}" fill="{colour}" stroke="{stroke}" '
        f'stroke-width="2"><title>{title}</title></path></svg>'
    )


def _box(x: float, middle: float, width: float, height: float, kind: str, title: str) -> str:
    return (
        f'<rect class="stage-{kind}" x="{x:.1f}" y="{middle - height / 2:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="2"><title>{title}</title></rect>'
    )


def _short(number: float) -> str:
    """Three digits and a unit: 525 k, 17.2 G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


def _svg(title: str, height: int, content: str, style: str = "") -> str:
    """All the width there is, unscaled: text keeps its size. The title is the label and the last line."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{title}" width="100%" height="{height}" '
        f'fill="currentColor" font-size="11" style="font-variant-numeric: tabular-nums; {style}">'
        f"{content}{_text('50%', height - 3, 'middle', title)}</svg>"
    )
