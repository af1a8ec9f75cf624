"""The weights of the repository compress and rebuild a picture as they did when the golden file was made."""

import json

import pytest
from draw_results import CHART, draw
from make_golden import GOLDEN, QUALITY, digest, original, shipped_pipeline

from residae import __version__
from residae.codec import read_info
from residae.metrics import psnr
from residae.pipeline import Pipeline

FIGURES = json.loads(GOLDEN.with_suffix(".json").read_text(encoding="utf-8"))
REMAKE = "if the weights, their tables or the format have changed on purpose: python -m tests.make_golden"


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return shipped_pipeline()


def test_the_golden_file_opens_to_the_same_symbols_and_picture(pipeline: Pipeline) -> None:
    data = GOLDEN.read_bytes()
    assert read_info(data).fingerprint == pipeline.codec.fingerprint.hex(), REMAKE
    assert digest(pipeline.codec.decompress(data).symbols) == FIGURES["symbols"], REMAKE
    rebuilt = pipeline.read(data)[1].pixels
    assert psnr(original().pixels, rebuilt) == pytest.approx(FIGURES["psnr"], abs=0.05), REMAKE


def test_compressing_anew_gives_a_file_as_small_and_as_good(pipeline: Pipeline) -> None:
    report = pipeline.reconstruct(original(), quality=QUALITY)
    assert report.compressed
    assert len(report.compressed.data) == pytest.approx(FIGURES["bytes"], rel=0.01), REMAKE
    assert report.psnr == pytest.approx(FIGURES["psnr"], abs=0.05), REMAKE


def test_the_changelog_has_this_version_and_its_weights(pipeline: Pipeline) -> None:
    changelog = (GOLDEN.parent.parent.parent / ".github" / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## {__version__}\n" in changelog
    row = next(line for line in changelog.splitlines() if line.startswith(f"| {pipeline.name} |"))
    assert pipeline.codec.fingerprint.hex() in row
    assert __version__ in row


def test_the_chart_is_that_of_the_published_table() -> None:
    """After a new table: python -m tests.draw_results"""
    assert CHART.read_text(encoding="utf-8") == draw(CHART.parent)
