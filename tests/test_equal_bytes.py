"""The tab Equal bytes: pictures that codecs keep exactly or cannot compress, and work that ends early."""

import math
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from visitor import SILENT, VISIT

from residae.compare import CodecResult, Comparison
from residae.image import Pixels, open_picture, write_png
from residae.pipeline import Pipeline
from residae.ui import store
from residae.ui.cache import Settings
from residae.ui.state import CurrentResult
from residae.ui.tabs.equal_bytes import EqualBytesTab
from residae.ui.text import verdict
from residae.ui.work import supersede

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def shown(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Pixels], CurrentResult]:
    """Makes the current result of a picture with these pixels."""
    monkeypatch.setattr(store, "_open_pipeline", lambda _: pipeline)

    def show(pixels: Pixels) -> CurrentResult:
        path = tmp_path / "picture.png"
        path.write_bytes(write_png(pixels))
        report = pipeline.reconstruct(open_picture(path), color=False, quality=100)
        return CurrentResult(Settings(str(path), "tiny"), report.encoding, report.compressed, report.psnr)

    return show


@pytest.fixture
def equal() -> EqualBytesTab:
    with gr.Blocks():
        return EqualBytesTab(gr.State(), gr.State())


def test_exact_copies(equal: EqualBytesTab, shown: Callable[[Pixels], CurrentResult]) -> None:
    """WebP keeps a picture of one color exactly in few bytes."""
    flat = shown(np.full((512, 512), 255, np.uint8))
    first, *rest = equal.refresh("equal", flat, None, VISIT, SILENT)
    assert "WebP</th><td>" in first[equal.figures]
    assert "∞ dB" in first[equal.figures]
    assert "<svg" in rest[-2][equal.chart]
    assert [update[equal.compared] for update in (first, rest[-1])] == [
        None,
        flat,
    ]  # a comparison that ends early starts again


def test_a_picture_that_is_too_long_for_a_codec(equal: EqualBytesTab, shown: Callable[[Pixels], CurrentResult]) -> None:
    first, *_ = equal.refresh("equal", shown(np.zeros((16_384, 1), np.uint8)), None, VISIT, SILENT)
    assert 'WebP</th><td colspan="4">cannot make a file this small' in first[equal.figures]
    assert "AVIF</th><td>" in first[equal.figures]


def test_superseded_work_ends_at_once(
    equal: EqualBytesTab,
    shown: Callable[[Pixels], CurrentResult],
    pipeline: Pipeline,
    smooth: Callable[[int, int, int], Pixels],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture, decode, finished = shown(smooth(40, 60, 0)), pipeline.engine.decode, []

    def stopped(*given: object) -> Pixels:
        supersede(VISIT)
        finished.append(decode(*given))
        return finished[-1]

    monkeypatch.setattr(pipeline.engine, "decode", stopped)
    assert list(equal.refresh("equal", picture, None, VISIT, SILENT)) == [{equal.status: gr.skip()}]
    assert finished == []


def test_the_verdict_is_about_rounded_figures() -> None:
    pixels = np.zeros((8, 8), np.uint8)
    figures = {"Residae": 33.331, "JPEG": 30.0, "WebP": 33.329, "AVIF": math.inf, "JPEG 2000": 33.341}
    results = [CodecResult(name, pixels, 900, psnr) for name, psnr in figures.items()]
    results[1] = CodecResult("JPEG", None)
    assert verdict(Comparison(pixels, tuple(results))) == (
        "<p>At 900 bytes this network has 33.33 dB. WebP has as much. AVIF and JPEG 2000 have more. "
        "JPEG cannot make a file this small.</p>"
    )
