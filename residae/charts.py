"""Charts and drawings as inline SVG. Each function takes numbers and returns the text of an SVG."""

import html
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from residae.arrays import Floats, Pixels
from residae.heatmaps import diverging, round_scale, sequential

# From Okabe and Ito, "Color universal design", 2008, darkened for contrast on white as well as on black. Each kind of
# color vision distinguishes them, and each has a mark of its own.
SERIES: tuple[tuple[str, str], ...] = (  # color, path of the mark about (0, 0)
    ("currentColor", "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z"),
    ("#c2571a", "M-4 -4h8v8h-8z"),
    ("#0b7fc4", "M0 -5.5L5 4H-5z"),
    ("#12906b", "M0 -5.5L5 0L0 5.5L-5 0z"),
    ("#b4639a", "M-4.5 -4.5L4.5 4.5M-4.5 4.5L4.5 -4.5"),
    ("#97790f", "M0 -5.5V5.5M-5.5 0H5.5"),
    ("#7a5cd6", "M0 5.5L5 -4H-5z"),
)

MIN_PSNR_SPAN = 4  # dB, of the axis of a chart of rates, also for a single point
DECADES = 5  # of the histogram's axis: from 100 % of the pixels down to 10^-5 of them, 0.001 %


def color_bar(scale: float, signed: bool) -> str:
    """The key to `heatmaps.error_map`.

    Args:
        scale: As in `heatmaps.error_map`.
        signed: As in `heatmaps.error_map`.

    Returns:
        An SVG of full width, 44 pixels high.
    """
    title = "Absolute error in gray levels (0 to 255)"
    table = sequential()
    values = np.linspace(0, scale, 5)
    if signed:
        title = "Luma error in gray levels: blue too dark, orange too bright"
        table = diverging()
        values = np.linspace(-scale, scale, 5)
    if scale > 8:
        values = np.rint(values)  # a quarter of 255 is not whole
    labels = [_number(v) for v in values]
    if scale < 255:  # the colors of the ends also stand for larger errors
        labels[-1] = f"\N{GREATER-THAN OR EQUAL TO} {labels[-1]}"
        if signed:
            labels[0] = f"\N{LESS-THAN OR EQUAL TO} {labels[0]}"
    return _color_bar(table, values, labels, title)


def channel_bar(center: float, reach: float) -> str:
    """The key to `heatmaps.latent_channel`.

    Args:
        center: As `heatmaps.channel_scale` returns it.
        reach: As `heatmaps.channel_scale` returns it.

    Returns:
        An SVG of full width, 44 pixels high.
    """
    values = np.linspace(center - reach, center + reach, 5)
    decimals = max(0, 2 - math.floor(math.log10(reach)))
    labels = [f"{round(v, decimals) + 0:,.{decimals}f}".replace("-", "\N{MINUS SIGN}") for v in values]  # no minus zero
    labels[0], labels[-1] = f"\N{LESS-THAN OR EQUAL TO} {labels[0]}", f"\N{GREATER-THAN OR EQUAL TO} {labels[-1]}"
    return _color_bar(diverging(), values, labels, "Value of the channel: blue below its mean, orange above")


def _color_bar(table: Pixels, values: Floats, labels: Sequence[str], title: str) -> str:
    """The colors of a table from the first of these values to the last, with a label at each of them."""
    places = 100 * (values - values[0]) / (values[-1] - values[0])
    # A CSS background needs no id. The ids of SVG gradients would clash between bars, and fail if the first is hidden.
    stops = ", ".join(_hex(color) for color in table[np.linspace(0, len(table) - 1, 17).astype(int)])
    style = f"background: linear-gradient(to right, {stops}) 0 0 / 100% 12px no-repeat"
    return _svg(title, 44, _axis(places, labels, 12) + _caption(title, 41), style)


def error_histogram(error: Floats) -> str:
    """The distribution of the luma error, on a logarithmic axis.

    The horizontal axis ends at a round number that no error exceeds. Bins are an odd number of gray levels wide, and
    one is centered on 0. Bars of less than 0.001 % of the pixels are not drawn.

    Args:
        error: (H, W), as `heatmaps.luma_error` returns it.

    Returns:
        An SVG of full width, 200 pixels high.
    """
    limit = round_scale(round(float(abs(error).max())))  # rounding in float32 may exceed 255
    width = limit // 32 | 1  # odd, so that no gray level is on the edge of a bin
    half = -(-limit // width)  # bins on each side of the one at 0
    count = np.bincount(np.rint(error / width).astype(np.int64).ravel() + half, minlength=2 * half + 1)
    with np.errstate(divide="ignore"):
        depth = np.minimum(-np.log10(count / error.size), DECADES)  # decades below 100 %

    bars = ""
    for color, first, last in (
        (f"var(--too-dark, {_hex(diverging()[0])})", 0, half),
        ("currentColor", half, half + 1),
        (f"var(--too-bright, {_hex(diverging()[-1])})", half + 1, 2 * half + 1),
    ):
        steps = "".join(f"V{y:.3f}h1" for y in depth[first:last])
        bars += f'<path d="M{first} {DECADES}{steps}V{DECADES}z" fill="{color}"/>'
    top, bottom = 30, 164  # pixels; the names of one axis and of the sides are above, the other axis below
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
    plot += _text("0", 11, "start", "Share of pixels")
    plot += _text("49%", top - 4, "end", "too dark") + _text("51%", top - 4, "start", "too bright")
    plot += _axis(places, [_number(v) for v in values], bottom) + _caption("Luma error in gray levels", 196)
    return _svg("Share of pixels by luma error in gray levels", 200, plot)


def channel_chart(bits: Floats | None, losses: Sequence[float] | None) -> str:
    """Bars for each channel: its share of the bits, and the loss from muting it.

    Args:
        bits: (C,) bits of each channel, or None.
        losses: (C,) loss of luma PSNR in dB, or None; a negative loss has no bar, and one that is not a number, because
            it is not measured yet, no figure either.

    Returns:
        An SVG of full width.
    """
    groups = [
        (name, np.asarray(values, np.float64), unit)
        for name, values, unit in (("Share of the bits", bits, "%"), ("Luma PSNR lost when muted", losses, "dB"))
        if values is not None
    ]
    channels = max((len(values) for _, values, _ in groups), default=0)
    height, pitch, top = 92, 132, 18
    content = ""
    for row, (name, values, unit) in enumerate(groups):
        base = top + row * pitch + height
        heights = 100 * values / max(values.sum(), 1e-12) if unit == "%" else values
        highest = max(float(np.fmax.reduce(heights, initial=0)), 1e-9)
        content += _text("0", base - height - 6, "start", f"{name}, {unit}")
        content += f'<line x2="100%" y1="{base}" y2="{base}" stroke="currentColor" opacity="0.3"/>'
        for c, value in enumerate(heights):
            x = f"{100 * (c + 0.5) / channels:g}%"
            content += _text(x, base + 13, "middle", str(c + 1))
            if math.isnan(value):
                continue
            tall = max(0.0, float(value)) / highest * (height - 16)
            content += (
                f'<rect x="{100 * (c + 0.14) / channels:g}%" width="{72 / channels:g}%" y="{base - tall:.1f}" '
                f'height="{tall:.1f}" fill="{SERIES[2 if unit == "%" else 1][0]}">'
                f"<title>Channel {c + 1}: {value:.3g} {unit}</title></rect>"
            )
            figure = f"{value:.0f}" if unit == "%" else f"{value:.1f}"
            if unit == "%" and 0 < value < 0.5:
                figure = "&lt;1"
            content += _text(x, base - tall - 3, "middle", figure)
    bottom = top + (len(groups) - 1) * pitch + height + 34
    content += _caption("Channel", bottom)
    measured = [f"{name[0].lower()}{name[1:]} ({unit})" for name, values, unit in groups if not np.isnan(values).all()]
    return _svg(f"By channel: {' and '.join(measured)}", bottom + 4, content)


def rate_distortion_chart(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    marked: float | None,
    width: int | None = None,
    reach: Sequence[float] = (),
) -> str:
    """PSNR against rate on a logarithmic axis: a line for each codec, whose name is at the right where the line ends.

    Args:
        curves: (bits per pixel, dB) by rising rate, by name of the codec. Colors and marks follow its order, and begin
            again after the last of SERIES; an empty curve keeps its own. Points of infinite PSNR are not drawn.
        marked: The rate of the current file, or None.
        width: Of the SVG in pixels, to stand within another; None for the full width of a place in HTML.
        reach: Rates that the axis has as well, so that it need not change when there are points at them.

    Returns:
        An SVG, or an empty text if there is no point.
    """
    curves = {name: [point for point in curve if math.isfinite(point[1])] for name, curve in curves.items()}
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return ""
    rates, decibels = zip(*points, strict=True)
    rates = (*rates, *reach, marked or rates[0])
    room = max(0, (MIN_PSNR_SPAN - max(decibels) + min(decibels)) / 2)
    psnr_ticks = _ticks(min(decibels) - room, max(decibels) + room)
    rate_ticks = _log_ticks(min(rates), max(rates))
    named_curves = [(html.escape(name), curve) for name, curve in curves.items()]
    series = [(*style, *named) for style, named in zip(itertools.cycle(SERIES), named_curves, strict=False) if named[1]]
    left, top, height, line = 30, 30, 252, 16  # pixels
    right = 36 + 7 * min(18, max(len(name) for name in curves))  # room for the names; a longer one is not all seen

    def place(rate: float, psnr: float) -> tuple[float, float]:
        """Percent of the width of the plot, and pixels."""
        x = 100 * math.log(rate / rate_ticks[0]) / math.log(rate_ticks[-1] / rate_ticks[0])
        return x, top + height * (psnr_ticks[-1] - psnr) / (psnr_ticks[-1] - psnr_ticks[0])

    plot = _caption("Bits per pixel, logarithmic", top + height + 34)
    for tick in psnr_ticks:
        y = place(rate_ticks[0], tick)[1]
        plot += f'<line x2="100%" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" opacity="0.15"/>'
        plot += _text("-8", y + 4, "end", _number(tick))
    for tick in rate_ticks:
        x = place(tick, psnr_ticks[0])[0]
        plot += (
            f'<line x1="{x:.3f}%" x2="{x:.3f}%" y1="{top}" y2="{top + height}" stroke="currentColor" opacity="0.08"/>'
        )
        plot += _text(f"{x:.3f}%", top + height + 16, "middle", _number(tick))
    if marked is not None:
        x = place(marked, psnr_ticks[0])[0]
        plot += (
            f'<line x1="{x:.3f}%" x2="{x:.3f}%" y1="{top}" y2="{top + height}" stroke="currentColor" '
            f'stroke-dasharray="3 3" opacity="0.7"/>'
        )
        anchor = "start" if x < 50 else "end"  # on the side with more room
        plot += _text(f"{x:.3f}%", top - 5, anchor, "this file")  # above all points
    for color, mark, _, curve in series:
        places = [place(*point) for point in curve]
        for (x1, y1), (x2, y2) in itertools.pairwise(places):
            plot += (
                f'<line x1="{x1:.3f}%" y1="{y1:.1f}" x2="{x2:.3f}%" y2="{y2:.1f}" stroke="{color}" stroke-width="2"/>'
            )
        for (x, y), (rate, psnr) in zip(places, curve, strict=True):
            plot += _mark(f"{x:.3f}%", y, color, mark, f"{psnr:.2f} dB at {rate:.3f} bits per pixel")
    heights = _spread([place(*curve[-1])[1] for *_, curve in series], line, top)
    names = ""
    for (color, mark, name, _), y in zip(series, heights, strict=True):
        names += _mark("0", y, color, mark, name) + _text("11", y + 4, "start", name)
    plot += _text(f"-{left}", 12, "start", "PSNR, dB")
    plot += f'<svg x="100%" overflow="visible"><g transform="translate(20)">{names}</g></svg>'
    title, bottom = "PSNR in dB against bits per pixel, by codec", max(top + height + 40, round(max(heights)) + line)
    if width is None:  # of an element of HTML, the padding reduces what is the full width for all within
        return _svg(title, bottom, plot, f"box-sizing: border-box; padding: 0 {right}px 0 {left}px; overflow: visible")
    chart = _svg(title, bottom, plot, "overflow: visible")
    return f'<svg x="{left}" width="{width - left - right}" overflow="visible">{chart}</svg>'


def refinement_chart(points: Sequence[tuple[int, float, int]], steps: int) -> str:
    """PSNR and bytes of the best file by step, each between its own lowest and highest value.

    Args:
        points: (step, dB, bytes) of the steps after which it was measured, from step 0 on.
        steps: At which the axis ends.

    Returns:
        An SVG of full width, 56 pixels high, with the first and last values in words, each behind a piece of its line,
        and a dot at the last PSNR.
    """
    top, bottom = 16, 54  # pixels
    content = f'<line x2="100%" y1="{bottom}" y2="{bottom}" stroke="currentColor" opacity="0.3"/>'
    (_, first_psnr, first_size), (_, psnr, size) = points[0], points[-1]
    series = (
        ([point[1] for point in points], 0.2, "var(--accent, currentColor)", "none"),
        ([point[2] for point in points], 0.04 * points[0][2], "currentColor", "3 3"),
    )
    for values, least_span, color, dashes in series:
        low, span = min(values), max(max(values) - min(values), least_span)
        places = [
            (100 * step / max(steps, 1), bottom - 4 - (bottom - top - 8) * (value - low) / span)
            for (step, *_), value in zip(points, values, strict=True)
        ]
        for (x1, y1), (x2, y2) in itertools.pairwise(places):
            content += (
                f'<line x1="{x1:.3f}%" y1="{y1:.1f}" x2="{x2:.3f}%" y2="{y2:.1f}" stroke="{color}" stroke-width="2" '
                f'stroke-dasharray="{dashes}"/>'
            )
        if dashes == "none":
            x, y = places[-1]
            content += f'<circle cx="{x:.3f}%" cy="{y:.1f}" r="3" fill="{color}"/>'
    for left, text, (_, _, color, dashes) in zip(
        ("0", "52%"), (f"{first_psnr:.2f} → {psnr:.2f} dB", f"{first_size:,} → {size:,} B"), series, strict=True
    ):
        content += (
            f'<svg x="{left}" overflow="visible"><line x2="12" y1="8" y2="8" stroke="{color}" stroke-width="2" '
            f'stroke-dasharray="{dashes}"/><text x="16" y="12" fill="{color}">{text}</text></svg>'
        )
    progress = f"{points[-1][0]} of {steps} {'step' if steps == 1 else 'steps'}"
    before = f"{first_psnr:.2f} dB and {first_size:,} bytes"
    title = f"Refinement: {psnr:.2f} dB and {size:,} bytes after {progress}, from {before}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{title}" width="100%" height="56" '
        'fill="currentColor" font-size="12" style="overflow: visible; font-variant-numeric: tabular-nums">'
        f"{content}</svg>"
    )


@dataclass(frozen=True)
class DiagramStage:
    """A stage of the network as `network_diagram` draws it.

    Attributes:
        part: `encoder` or `decoder`.
        name: Such as `stage 1`.
        channels: Of its output.
        side: Of its output, pixels.
        parameters: Number of them.
        flops: That it takes.
    """

    part: str
    name: str
    channels: int
    side: int
    parameters: int
    flops: int

    @property
    def shape(self) -> str:
        """What it returns, in words."""
        channels = f"{self.channels} channel{'s' if self.channels > 1 else ''}"
        return f"{channels} of {self.side} \N{MULTIPLICATION SIGN} {self.side}"

    @property
    def label(self) -> str:
        """What it is and what it returns, in words."""
        return f"{self.part.capitalize()}, {self.name}: {self.shape}"


def network_diagram(stages: Sequence[DiagramStage], upright: bool = False) -> str:
    """The stages of the network as buttons, each a box with its figures.

    A box is the longer across the diagram, the larger the output of the stage is, and the thicker along it, the more
    channels it has. Each button is an element of class `stage` that has the index of its stage as `data-stage`.

    Args:
        stages: Of the encoder, the last of which returns the latent, then of the decoder.
        upright: Draw them one below another, for a narrow page, rather than one beside another.

    Returns:
        An SVG as wide as its place.
    """
    latent = sum(stage.part == "encoder" for stage in stages) - 1
    largest, most = max(stage.side for stage in stages), max(stage.channels for stage in stages)
    lengths = [0.1 + 0.9 * (stage.side / largest) ** 0.6 for stage in stages]  # of the longest
    thicknesses = [0.16 + 0.84 * (stage.channels / most) ** 0.5 for stage in stages]  # of the thickest
    pitch, middle, size = (60.0, 70.0, (124, 44)) if upright else (92.0, 142.0, (190, 72))
    start = 30.0 if upright else 118.0
    places = [start + pitch * index for index in range(len(stages))]
    edges = [
        (place, middle + side * size[0] / 2 * length)
        for side, order in ((-1, 1), (1, -1))
        for place, length in list(zip(places, lengths, strict=True))[::order]
    ]
    outline = " ".join(f"{y:g},{x:g}" if upright else f"{x:g},{y:g}" for x, y in edges)
    content = f'<polygon class="flow" points="{outline}"/>'
    for index, (stage, place, length, thickness) in enumerate(zip(stages, places, lengths, thicknesses, strict=True)):
        across, along = size[0] * length, size[1] * thickness
        name = "latent" if index == latent else stage.name
        figures = [
            str(stage.channels),
            f"{stage.side}\N{SUPERSCRIPT TWO}",
            _short(stage.parameters),
            _short(stage.flops),
        ]
        if upright:
            box = _box(middle - across / 2, place - along / 2, across, along)
            hit = _box(0, place - pitch / 2 + 1, 360, pitch - 2, "hit")
            title = name.capitalize() if index == latent else f"{stage.part} {name}".capitalize()
            text = _text("150", place - 12, "start", title, "name")
            text += _text("150", place + 5, "start", stage.shape)
            text += _text("150", place + 21, "start", f"{figures[2]} weights, {figures[3]}FLOP")
        else:
            box = _box(place - along / 2, middle - across / 2, along, across)
            hit = _box(place - pitch / 2 + 1, 30, pitch - 2, 312, "hit")
            text = _text(f"{place:g}", 262, "middle", name, "name")
            for row, figure in enumerate(figures):
                text += _text(f"{place:g}", 282 + 18 * row, "middle", figure)
        kind = "latent" if index == latent else stage.part
        content += (
            f'<g class="stage {kind}" data-stage="{index}" role="button" tabindex="0" aria-pressed="false" '
            f'aria-label="{stage.label}">{hit}{box}{text}</g>'
        )
    if upright:
        width, height = 360.0, pitch * len(stages)
    else:
        width, height = places[-1] + pitch / 2 + 2, 348.0
        for row, label in enumerate(("channels", "pixels", "weights", "FLOP")):
            content += _text("2", 282 + 18 * row, "start", label, "soft")
        for part, first, last in (("encoder", 0, latent), ("decoder", latent + 1, len(stages) - 1)):
            some = stages[first : last + 1]
            total = f"{_short(sum(s.parameters for s in some))} weights, {_short(sum(s.flops for s in some))}FLOP"
            left, right = places[first] - pitch / 2 + 6, places[last] + pitch / 2 - 6
            content += f'<path class="bracket" d="M{left:g} 27V21H{right:g}V27"/>'
            content += _text(f"{(left + right) / 2:g}", 14, "middle", f"{part.capitalize()}: {total}", "name")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="group" aria-label="The stages of the network" '
        f'class="network {"upright" if upright else "across"}" viewBox="0 0 {width:g} {height:g}" '
        f'fill="currentColor" font-size="{13 if upright else 14}">{content}</svg>'
    )


def _axis(places: Floats, labels: Iterable[str], y: float) -> str:
    """Ticks at these percentages of the width, with labels below."""
    axis = ""
    for place, label in zip(places, labels, strict=True):
        x = f"{place:g}%"
        axis += f'<line x1="{x}" x2="{x}" y1="{y}" y2="{y + 4}" stroke="currentColor"/>'
        axis += _text(x, y + 15, "start" if place < 5 else "end" if place > 95 else "middle", label)
    return axis


def _ticks(low: float, high: float) -> list[float]:
    """Two to about seven evenly spaced round numbers, from `low` or below to `high` or above."""
    span = max(high - low, 0.01)
    unit = 10.0 ** math.floor(math.log10(span))
    step = next(unit * m for m in (0.2, 0.5, 1, 2) if span / (unit * m) <= 6)
    first = math.floor(low / step)
    return [round(i * step, 9) for i in range(first, max(math.ceil(high / step), first + 1) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Two to nine round numbers for a logarithmic axis, from about `low` or below to about `high` or above."""
    low, high = 1.03 * low, high / 1.03
    for mantissas in ((1, 2, 3, 5), (1, 3), (1,)):
        decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        numbers = [float(f"{mantissa}e{decade}") for decade in decades for mantissa in mantissas]
        first = max(index for index, number in enumerate(numbers) if number <= low)
        last = next(index for index, number in enumerate(numbers) if number >= high and index > first)
        if last - first < 9:
            break
    return numbers[first : last + 1]


def _spread(places: Sequence[float], gap: float, low: float) -> list[float]:
    """Places in the same order, at least `gap` apart and not below `low`, with the least squared distance to these."""
    order = sorted(range(len(places)), key=places.__getitem__)
    blocks: list[list[float]] = []  # of places that lie together, less the gaps before them
    for rank, index in enumerate(order):
        blocks.append([places[index] - rank * gap])
        while len(blocks) > 1 and fmean(blocks[-2]) > fmean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    starts = [max(low, fmean(block)) for block in blocks for _ in block]
    spread = {index: start + rank * gap for rank, (index, start) in enumerate(zip(order, starts, strict=True))}
    return [spread[index] for index in range(len(places))]


def _mark(x: str, y: float, color: str, path: str, title: str) -> str:
    stroke = "none" if path.endswith("z") else color
    return (
        f'<svg x="{x}" y="{y:.1f}" overflow="visible"><path d="{path}" fill="{color}" stroke="{stroke}" '
        f'stroke-width="2"><title>{title}</title></path></svg>'
    )


def _box(x: float, y: float, width: float, height: float, kind: str = "box") -> str:
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="{4 if kind == "hit" else 3}"/>'
    )


def _text(x: str, y: float, anchor: str, text: str, kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y:g}" text-anchor="{anchor}"{style}>{text}</text>'


def _caption(text: str, y: float, x: str = "50%") -> str:
    """The name of a horizontal axis below it."""
    return _text(x, y, "middle", text)


def _svg(title: str, height: int, content: str, style: str = "") -> str:
    """An SVG of full width in which text keeps its size. The title is its label."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{title}" width="100%" height="{height}" '
        f'fill="currentColor" font-size="12" style="font-variant-numeric: tabular-nums; {style}">{content}</svg>'
    )


def _hex(color: NDArray[np.uint8]) -> str:
    return f"#{color.tobytes().hex()}"


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def _short(number: float) -> str:
    """A number with three digits and a unit, such as `525 k` or `17.2 G`."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"
