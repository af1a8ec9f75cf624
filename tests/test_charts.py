import itertools
import math
from xml.etree import ElementTree

import numpy as np
import pytest

from residae import charts, heatmaps


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]


@pytest.mark.parametrize(
    ("scale", "signed", "labels"),
    [
        (4, False, ["0", "1", "2", "3", "≥ 4"]),
        (255, False, ["0", "64", "128", "191", "255"]),
        (4, True, ["≤ −4", "−2", "0", "2", "≥ 4"]),
        (255, True, ["−255", "−128", "0", "128", "255"]),
    ],
)
def test_color_bar_is_labeled_in_gray_levels(scale: float, signed: bool, labels: list[str]) -> None:
    svg = charts.color_bar(scale, signed)
    *ticks, caption = texts(svg)
    assert ticks == labels
    assert "gray levels" in caption
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == caption
    ends = (heatmaps.diverging() if signed else heatmaps.sequential())[[0, -1]]
    assert all(f"#{end.tobytes().hex()}" in root.get("style", "") for end in ends)


@pytest.mark.parametrize(
    ("center", "reach", "labels"),
    [
        (0.04, 9.62, ["≤ −9.58", "−4.77", "0.04", "4.85", "≥ 9.66"]),
        (-0.0001, 1.0, ["≤ −1.00", "−0.50", "0.00", "0.50", "≥ 1.00"]),
        (250, 1200, ["≤ −950", "−350", "250", "850", "≥ 1,450"]),
    ],
)
def test_channel_bar_is_labeled_in_values_of_the_channel(center: float, reach: float, labels: list[str]) -> None:
    svg = charts.channel_bar(center, reach)
    *ticks, caption = texts(svg)
    assert ticks == labels
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == caption
    assert all(f"#{end.tobytes().hex()}" in root.get("style", "") for end in heatmaps.diverging()[[0, 127, -1]])


def bars(svg: str) -> list[list[float]]:
    """Heights of the negative, zero and positive bars, in decades below 100 %."""
    paths = [element.get("d", "") for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("path")]
    return [[float(step.split("h")[0]) for step in path.split("V")[1:-1]] for path in paths]


def test_error_histogram_counts_every_gray_level() -> None:
    original = np.full((10, 100), 100, np.uint8)
    reconstruction = original.copy()
    reconstruction[0] -= 3  # a tenth of the pixels: one decade below all
    reconstruction[1, :10] += 8  # a hundredth
    negative, zero, positive = bars(charts.error_histogram(heatmaps.luma_error(original, reconstruction)))
    assert negative == [5, 5, 5, 5, 5, 1, 5, 5]  # -8 .. -1
    assert zero == [pytest.approx(-np.log10(0.89), abs=1e-3)]
    assert positive == [5, 5, 5, 5, 5, 5, 5, 2]  # 1 .. 8


@pytest.mark.parametrize("levels", [64, 128, 256])
@pytest.mark.parametrize("channels", [(), (1,)])  # three columns, or three channels
def test_error_histogram_is_flat_where_every_level_occurs_once(levels: int, channels: tuple[int, ...]) -> None:
    original = np.arange(levels).astype(np.uint8).reshape(-1, 1, *channels).repeat(3, axis=-1)
    negative, _, _ = bars(charts.error_histogram(heatmaps.luma_error(original, np.zeros_like(original))))
    assert len(set(negative[2:])) == 1  # as many levels to each bin; the outermost hold what is left over
    assert 0 < negative[2] < 2


def test_error_histogram_holds_the_largest_errors() -> None:
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    svg = charts.error_histogram(heatmaps.luma_error(black, white))
    assert bars(svg)[2].count(0) == 1  # all pixels in one bar
    assert {"−255", "−128", "0", "128", "255", "100 %", "0.001 %"} <= set(texts(svg))


def rectangles(svg: str) -> list[ElementTree.Element]:
    return [element for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("rect")]


def test_channel_chart_has_a_bar_for_each_channel_and_measure() -> None:
    svg = charts.channel_chart(np.array([1.0, 3.0, 0.0]), [0.5, -0.1, 2.0])
    heights = [float(r.get("height", "")) for r in rectangles(svg)]
    assert len(heights) == 6
    assert heights[1] == pytest.approx(3 * heights[0], rel=0.01)
    assert heights[2] == heights[4] == 0  # no bits; and a channel that is better muted
    assert {"25", "75", "0.5", "2.0"} <= set(texts(svg))
    assert len(rectangles(charts.channel_chart(np.ones(16), None))) == 16
    some = charts.channel_chart(None, [0.5, math.nan, 2.0])
    assert len(rectangles(some)) == 2
    assert {"0.5", "2", "2.0"} <= set(texts(some))
    assert "nan" not in some
    assert {"100", "<1"} <= set(texts(charts.channel_chart(np.array([999.0, 1.0]), None)))


def test_rate_distortion_chart_places_points_by_rate_and_quality() -> None:
    curves = {"Residae": [(0.1, 25.0), (0.2, 28.0)], "JPEG": [(0.2, 26.0)]}
    svg = charts.rate_distortion_chart(curves, 0.2)
    titles = [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("title")]
    assert "28.00 dB at 0.200 bits per pixel" in titles
    assert {"Residae", "JPEG", "this file"} <= set(texts(svg))
    places = {
        element.find(".//{*}title").text: (float(element.get("x", "")[:-1]), float(element.get("y", "")))
        for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}svg")
        if element.findtext("./{*}path/{*}title", "").endswith("per pixel")
    }
    low, high, baseline = (
        places[f"{psnr:.2f} dB at {rate:.3f} bits per pixel"] for rate, psnr in ((0.1, 25), (0.2, 28), (0.2, 26))
    )
    assert low[0] < high[0] == baseline[0]
    assert high[1] < baseline[1] < low[1]


@pytest.mark.parametrize("curve", [[(0.1, 30.0)], [(0.1, 30.0), (0.2, 30.0)], [(1e-4, 12.0)]])
def test_rate_distortion_chart_of_little(curve: list[tuple[float, float]]) -> None:
    ElementTree.fromstring(charts.rate_distortion_chart({"Residae": curve}, curve[0][0]))
    assert charts.rate_distortion_chart({}, None) == ""


@pytest.mark.parametrize(("marked", "anchor"), [(0.02, "start"), (0.2, "end")])
def test_the_label_of_the_mark_stays_in_the_chart(marked: float, anchor: str) -> None:
    svg = charts.rate_distortion_chart({"Residae": [(0.02, 25.0), (0.2, 28.0)]}, marked)
    named = [element for element in ElementTree.fromstring(svg).iter() if element.text == "this file"]
    assert [element.get("text-anchor") for element in named] == [anchor]
    marks = [
        e for e in ElementTree.fromstring(svg).iter() if e.findtext("./{*}path/{*}title", "").endswith("per pixel")
    ]
    assert all(float(mark.get("y", "")) - 5 >= float(named[0].get("y", "")) for mark in marks)  # under no mark
    assert len(marks) == 2


def test_rate_distortion_chart_without_exact_copies() -> None:
    exact = (0.1, math.inf)
    svg = charts.rate_distortion_chart({"Residae": [(0.1, 30.0)], "WebP": [exact], "AVIF": [exact, (0.2, 40.0)]}, 0.1)
    assert {"Residae", "AVIF"} <= set(texts(svg))
    assert "WebP" not in svg
    assert "inf" not in svg
    for (color, mark), is_seen in zip(charts.SERIES[:4], (True, False, True, False), strict=True):
        assert (color in svg) is (mark in svg) is is_seen
    assert charts.rate_distortion_chart({"WebP": [exact]}, 0.1) == ""


def test_every_curve_is_drawn_whatever_its_name_and_their_number() -> None:
    """Names are those of a checkpoint's table, which may be anyone's."""
    names = [f"<img src=x onerror=alert({number})>" for number in range(2 * len(charts.SERIES) + 1)]
    svg = charts.rate_distortion_chart({name: [(0.1 + i, 30.0)] for i, name in enumerate(names)}, None)
    assert set(names) <= set(texts(svg))
    assert "<img" not in svg


def test_rates_are_on_a_logarithmic_axis() -> None:
    """Or those of small files, which differ the most, would share the first third."""
    svg = charts.rate_distortion_chart({"Residae": [(0.1, 28.0), (0.2, 30.0), (0.4, 32.0), (0.8, 35.0)]}, None)
    places = [
        float(element.get("x", "")[:-1])
        for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}svg")
        if element.findtext("./{*}path/{*}title", "").endswith("per pixel")
    ]
    steps = np.diff(places)
    assert steps == pytest.approx([steps[0]] * 3, abs=0.01)
    assert 25 < steps[0] < 34
    assert {"0.1", "0.2", "0.3", "0.5"} <= set(texts(svg))


@pytest.mark.parametrize("width", [None, 760])
def test_each_line_is_named_at_its_end_without_overlap(width: int | None) -> None:
    names = ["Residae", "JPEG", "WebP", "AVIF", "JPEG 2000", "Residae, 20 steps"]
    ends = [36.7, 35.0, 37.7, 38.4, 38.0, 28.2]
    svg = charts.rate_distortion_chart({name: [(1, end)] for name, end in zip(names, ends, strict=True)}, None, width)
    elements = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    found = {element.text: float(element.get("y", "")) for element in elements}
    places = [found[name] for _, name in sorted(zip(ends, names, strict=True), reverse=True)]
    assert all(below - above >= 16 for above, below in itertools.pairwise(places))
    if width:
        plot = ElementTree.fromstring(svg)
        room = width - float(plot.get("x", "")) - float(plot.get("width", ""))
        assert room > 31 + 6 * max(map(len, names))


def test_the_axes_have_names_and_no_text_is_smaller_than_12_px() -> None:
    error = heatmaps.luma_error(np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8))
    for svg, names in (
        (charts.rate_distortion_chart({"Residae": [(0.1, 30.0)]}, None), {"PSNR, dB", "Bits per pixel, logarithmic"}),
        (charts.error_histogram(error), {"Share of pixels", "Luma error in gray levels"}),
        (
            charts.channel_chart(np.ones(4), np.ones(4)),
            {"Share of the bits, %", "Luma PSNR lost when muted, dB", "Channel"},
        ),
        (charts.refinement_chart([(0, 30.0, 900)], 1), {"30.00 → 30.00 dB", "900 → 900 B"}),
    ):
        assert names <= set(texts(svg))
        assert float(ElementTree.fromstring(svg).get("font-size", "")) >= 12


def test_a_refinement_of_a_fifth_of_a_decibel_takes_the_height_of_its_chart() -> None:
    svg = ElementTree.fromstring(charts.refinement_chart([(0, 30.0, 900), (1, 30.2, 900)], 1))
    rise = next(line for line in svg.iter() if line.get("x2") == "100.000%")
    assert float(rise.get("y1", "")) - float(rise.get("y2", "")) == 30
    keys = [line.get("stroke-dasharray") for line in svg.iterfind("{*}svg/{*}line")]
    assert keys == ["none", "3 3"]  # as the lines themselves


def test_the_names_of_the_channel_charts_stay_clear_of_the_numbers_above() -> None:
    """By the height of a capital: names are drawn upwards from their baseline, and so are numbers."""
    svg = ElementTree.fromstring(charts.channel_chart(np.ones(4), [math.nan] * 4))
    numbers, name = (
        min(float(e.get("y", "")) for e in svg.iter() if e.text == text)
        for text in ("1", "Luma PSNR lost when muted, dB")
    )
    assert name - numbers > 20
    caption = max(float(e.get("y", "")) for e in svg.iter() if e.text == "Channel")
    assert float(svg.get("height", "")) >= caption + 3


def test_every_series_has_a_color_and_a_mark_of_its_own() -> None:
    assert len({color for color, _ in charts.SERIES}) == len({mark for _, mark in charts.SERIES}) == len(charts.SERIES)


@pytest.mark.parametrize("upright", [False, True])
def test_network_diagram_shows_every_stage_in_proportion(upright: bool) -> None:
    stages = [
        charts.DiagramStage("encoder", "stem", 4, 256, 10, 2_000_000),
        charts.DiagramStage("encoder", "stage 1", 2, 16, 1_500, 3_000_000_000),
        charts.DiagramStage("decoder", "output", 1, 256, 20, 5),
    ]
    svg = charts.network_diagram(stages, upright)
    buttons = [element for element in ElementTree.fromstring(svg).iter() if element.get("role") == "button"]
    assert [button.get("class") for button in buttons] == ["stage encoder", "stage latent", "stage decoder"]
    assert [button.get("data-stage") for button in buttons] == ["0", "1", "2"]
    assert {button.get("tabindex") for button in buttons} == {"0"}
    assert buttons[0].get("aria-label") == "Encoder, stem: 4 channels of 256 × 256"
    boxes = [next(part for part in button if part.get("class") == "box") for button in buttons]
    across, along = ("width", "height") if upright else ("height", "width")
    stem, latent, output = ({name: float(box.get(name, "")) for name in (across, along)} for box in boxes)
    assert stem[across] == output[across] > latent[across]
    assert stem[along] > latent[along] > output[along]
    shown = " ".join(texts(svg)).lower()
    for expected in ("stem", "latent", "output", "1.5 k", "2 m", "3 g", "256"):
        assert expected in shown


def test_network_diagram_keeps_everything_inside() -> None:
    stages = [
        charts.DiagramStage("encoder" if i < 5 else "decoder", f"stage {i}", 4, 8, 10**7, 10**10) for i in range(10)
    ]
    for upright in (False, True):
        drawing = ElementTree.fromstring(charts.network_diagram(stages, upright))
        _, _, width, height = map(float, drawing.get("viewBox", "").split())
        for box in (element for element in drawing.iter() if element.tag.endswith("rect")):
            x, y, wide, high = (float(box.get(name, "")) for name in ("x", "y", "width", "height"))
            assert x >= 0
            assert x + wide <= width
            assert y >= 0
            assert y + high <= height


def test_rate_distortion_chart_of_a_point_has_the_axes_of_the_curves_to_come() -> None:
    svg = charts.rate_distortion_chart({"Residae": [(0.1, 30.0)]}, 0.1, reach=(0.07, 1.0))
    numbers = [float(text) for text in texts(svg) if text.replace(".", "").isdigit()]
    rates = [number for number in numbers if number <= 1]
    decibels = [number for number in numbers if number > 1]
    assert min(rates) < 0.1 < max(rates) == 1
    assert max(decibels) - min(decibels) >= 4
