"""Components that several tabs use, and figures."""

import html
import re
from collections.abc import Callable

import gradio as gr
import pytest

from residae.compare import Comparison
from residae.image import Picture, Pixels
from residae.pipeline import Pipeline
from residae.ui import static
from residae.ui.components import number_field, slider
from residae.ui.controls import scale_choices
from residae.ui.endpoints import PARAMETERS
from residae.ui.page import build
from residae.ui.refinement import RefineCard, seconds_left
from residae.ui.tabs.batch import BatchTab, draw_table
from residae.ui.text import (
    NBSP,
    comparison_table,
    duration,
    fewer,
    file_figures,
    heading,
    journey,
    refinement_sentence,
    report_figures,
    report_sentences,
    share_kept,
)


@pytest.mark.parametrize(("typed", "expected"), [(150, 100), (-3, 1), (40, 40), (None, 1)])
def test_a_number_out_of_bounds_counts_as_the_nearer_bound_and_none_as_the_lower(
    typed: float | None, expected: float
) -> None:
    """Gradio would raise an error, in each event that sends the field along."""
    assert slider(1, 100).preprocess(typed) == expected  # type: ignore[arg-type]
    assert number_field(1, 100).preprocess(typed) == expected


def test_every_number_of_the_page_can_be_typed_over() -> None:
    """Emptied, and replaced by any other, without an error of Gradio's."""
    blocks = build().blocks.values()
    labels = {description for _, _, description in PARAMETERS.values()}  # of the endpoints, which refuse such numbers
    fields = [block for block in blocks if isinstance(block, gr.Slider | gr.Number) and block.label not in labels]
    assert {"Quality", "At most, kB", "Steps", "Steps of refinement", "Noise"} <= {field.label for field in fields}
    for field in fields:
        for typed in (None, -1e9, 1e9):
            assert field.minimum <= field.preprocess(typed) <= field.maximum, field.label  # type: ignore


def test_the_limit_on_refinement_is_one() -> None:
    """In the box Refine, for many pictures and in the endpoints."""
    _, options, _ = PARAMETERS["refine"]
    with gr.Blocks():
        assert RefineCard().steps.maximum == BatchTab().refine.maximum == options["maximum"]


def explained() -> set[str]:
    """The names of the figures that have an explanation."""
    return set(re.findall(r'^    "?([^":]+)"?: "', static.read("explain.js"), re.MULTILINE))


def test_every_figure_has_an_explanation(pipeline: Pipeline, picture: Picture) -> None:
    report = pipeline.reconstruct(picture, quality=80)
    assert report.compressed
    info, _ = pipeline.read(report.compressed.data)
    tables = comparison_table(Comparison(report.original, ())) + draw_table([])
    figures = report_figures(report) + file_figures(info, pipeline.ratio) + tables
    names = {name.split(", ")[0] for name in re.findall(r'<(?:dt|th scope="col")>([^<]+)<', figures)}
    assert {"PSNR", "Fingerprint", "Codec", "Encode", "Numbers kept"} <= names <= explained()


@pytest.mark.parametrize(
    ("change", "size"),
    [
        (0, "the same size"),
        (-0.0213, "2.1 % fewer bytes"),
        (0.9994, "99.9 % more bytes"),
        (15.679, "1,568 % more bytes"),
    ],
)
def test_a_refinement_says_what_it_costs_to_a_sensible_precision(change: float, size: str) -> None:
    assert f" dB at {size}, after" in refinement_sentence(3, 0.5, change).replace(NBSP, " ")


@pytest.mark.parametrize(
    ("scale", "kept"), [(1, "1/16"), (1.5, "1/7"), (2, "1/4"), (3, "1/1.8"), (4, "1/1"), (0.5, "1/64")]
)
def test_a_scale_is_named_by_the_share_that_it_keeps(scale: float, kept: str) -> None:
    """As the control names it, which has no word for the factor."""
    assert share_kept(16, scale) == kept
    assert {kept for kept, value in scale_choices(16) if value == scale} <= {kept}


@pytest.mark.parametrize("scale", [0.5, 1, 1.5, 2, 4])
@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (40, 60), (17, 17)])
def test_the_explanation_of_fewer_numbers_comes_to_what_is_counted(
    height: int, width: int, color: bool, scale: float, pipeline: Pipeline, smooth: Callable[..., Pixels]
) -> None:
    """From the network's own ratio, which the heading names: the halves of chroma and the scale are the difference."""
    report = pipeline.reconstruct(Picture(smooth(height, width), (), None), color, 80, scale=scale)
    strip = journey(report).replace('<span class="wide"> halved</span>', " halved")  # where there is room
    samples, numbers, size = (int(count.replace(",", "")) for count in re.findall("<b>([^<]+)</b>", strip))
    (explanation, term), (coding, _) = re.findall('data-explanation="([^"]+)">([^<]+)<', strip)
    kept = share_kept(pipeline.ratio, scale).removeprefix("1/")  # as the control and the sentence on sizes have it
    assert term.startswith(f"{kept}× fewer")
    counted = fewer(samples / numbers)
    assert term.endswith(f", {counted.removesuffix(' fewer')} with halved chroma") == color
    figures = [float(figure) for figure in re.findall(r"\d+(?:\.\d+)?", explanation)]
    assert figures[0] == pipeline.ratio
    assert fewer(figures[-1]) == counted
    assert ("chroma" in explanation) == color
    assert ("enlarged" in explanation) == (scale > 1)
    assert ("reduced" in explanation) == (scale < 1)
    assert float(re.findall(r"leave ([\d.]+) bits", coding)[0]) == pytest.approx(8 * size / numbers, rel=0.05)
    assert f"one number for every {pipeline.ratio:g} samples" in html.unescape(heading(ratio=pipeline.ratio))


def test_how_a_limit_was_used_is_said_in_the_words_and_digits_of_the_controls(
    pipeline: Pipeline, picture: Picture
) -> None:
    report = pipeline.reconstruct(picture, quality=41.87, scale=3)
    sentence = "With 1/7 of the numbers, quality 41.9 is the highest in at most 20.0 kB."
    assert sentence in report_sentences(report, 20_000)
    sentence = "Of files up to 20.0 kB, one with 1/7 of the numbers, at quality 41.9, should have the least error."
    assert sentence in report_sentences(report, 20_000, chooses_scale=True)


@pytest.mark.parametrize(("times", "left"), [([0], None), ([0, 9], None), ([0, 9, 11], 6), ([0, 9, 10, 13], 4)])
def test_the_time_of_a_refinement_follows_from_its_steps(times: list[float], left: float | None) -> None:
    """But for the first of them, which takes longer."""
    assert seconds_left(times, 5) == left


def test_times_are_said_no_finer_than_they_are_known() -> None:
    said = {0.04: "0.1 s", 2.9: "2.9 s", 60: "60 s", 112: "2 minutes", 1000: "17 minutes", 9000: "2 hours"}
    assert {seconds: duration(seconds) for seconds in said} == said


def test_scripts_of_components_hold_no_copy_of_what_the_page_declares() -> None:
    own = [block.js_on_load for block in build().blocks.values() if isinstance(block, gr.HTML) and block.js_on_load]
    declared = re.findall(r"(?m)^(?:const|async function) (\w+)", static.read("dom.js"))
    assert {"make", "blobOf"} <= {*declared}
    for name in declared:
        assert any(re.search(rf"\b{name}\(", script) for script in own), f"{name} is used by no component"
        assert not any(re.search(rf"\b(const|let|function) {name}\b", script) for script in own)
