"""Components that several tabs use, and figures."""

import re

import gradio as gr
import pytest

from residae.compare import Comparison
from residae.image import Picture
from residae.pipeline import Pipeline
from residae.ui import static
from residae.ui.components import number_field, slider
from residae.ui.endpoints import PARAMETERS
from residae.ui.page import build
from residae.ui.refinement import RefineCard, seconds_left
from residae.ui.tabs.batch import BatchTab, draw_table
from residae.ui.text import comparison_table, file_figures, report_figures


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
    figures = report_figures(report) + file_figures(info) + tables
    names = {name.split(", ")[0] for name in re.findall(r'<(?:dt|th scope="col")>([^<]+)<', figures)}
    assert {"PSNR", "Fingerprint", "Codec", "Encode"} <= names <= explained()


@pytest.mark.parametrize(("times", "left"), [([0], None), ([0, 9], None), ([0, 9, 11], 6), ([0, 9, 10, 13], 4)])
def test_the_time_of_a_refinement_follows_from_its_steps(times: list[float], left: float | None) -> None:
    """But for the first of them, which takes longer."""
    assert seconds_left(times, 5) == left
