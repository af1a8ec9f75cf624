"""The tab Overview: another quality, a file that is refused, and work that ends early."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from visitor import SILENT, VISIT

from residae.image import Pixels, open_picture, write_png
from residae.pipeline import Pipeline
from residae.ui import store
from residae.ui.cache import EXAMPLES
from residae.ui.controls import Controls
from residae.ui.state import CurrentResult
from residae.ui.tabs.overview import OverviewTab
from residae.ui.work import cancel, supersede

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def tab() -> OverviewTab:
    with gr.Blocks():
        tab = OverviewTab(gr.HTML(), gr.State(), Controls())
        tab.statuses.append(gr.HTML())
    return tab


@pytest.fixture
def show(
    pipeline: Pipeline, smooth: Callable[[int, int, int], Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float | None], CurrentResult]:
    """Makes the current result of a picture at a quality."""
    monkeypatch.setattr(store, "_open_pipeline", lambda _: pipeline)
    path = tmp_path / "picture.png"
    path.write_bytes(write_png(smooth(40, 60, 0)))

    def show(quality: float | None) -> CurrentResult:
        report = pipeline.reconstruct(open_picture(path), color=True, quality=quality)
        return CurrentResult(str(path), 0, "tiny", report.encoding, report.compressed, report.psnr)

    return show


@pytest.mark.parametrize("exact", [False, True])
def test_only_another_quality_is_decoded(exact: bool, tab: OverviewTab, show: Callable[..., CurrentResult]) -> None:
    shown = show(None if exact else 50.5)
    assert [*tab.requantize(shown, 50.5, exact, VISIT, SILENT)] == [{tab.status: gr.skip()}]
    picture, rest = tab.requantize(shown, 50.5, not exact, VISIT, SILENT)
    assert tab.table in picture
    assert rest[tab.current].quality == (50.5 if exact else None)
    _, rest = tab.requantize(shown, 20, False, VISIT, SILENT)
    assert rest[tab.current].quality == 20


def test_a_refused_picture_is_reported_on_each_tab_and_settings_stay_those_of_the_result(
    tab: OverviewTab, show: Callable[..., CurrentResult], tmp_path: Path
) -> None:
    shown, bad = show(50), tmp_path / "bad.png"
    bad.write_text("no picture")
    for before in (shown, None):
        *_, last = tab.reconstruct(str(bad), None, None, before, "tiny", True, 0, 80, False, VISIT, SILENT)
        alerts = [last.pop(status) for status in tab.statuses]
        assert all("not a picture" in alert for alert in alerts)
        assert last == {tab.discarded: str(bad), **(tab.controls.restored(shown) if before else {})}
    *_, last = tab.reconstruct(str(bad), None, str(bad), shown, "tiny", False, 0, 80, False, VISIT, SILENT)
    assert (last[tab.current].path, last[tab.current].color) == (shown.path, False)
    *_, last = tab.reconstruct(str(bad), None, str(bad), None, "tiny", False, 0, 80, False, VISIT, SILENT)
    assert "not a picture" in last[tab.status]


def test_cancelled_work_restores_the_controls(
    tab: OverviewTab, show: Callable[..., CurrentResult], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    controls, shown = tab.controls, show(50)
    end, encode = cancel, pipeline.engine.encode

    def ended(*given: Any) -> Any:
        end(VISIT)
        return encode(*given)

    monkeypatch.setattr(pipeline.engine, "encode", ended)
    *_, last = tab.reconstruct(EXAMPLES[1], None, None, shown, "tiny", False, 64, 80, True, VISIT, SILENT)
    settings = {controls.color: True, controls.side: 0, controls.exact: False, controls.quality: 50}
    assert last == {tab.status: gr.skip(), tab.discarded: EXAMPLES[1], **settings}
    *_, last = tab.reconstruct(EXAMPLES[1], None, None, None, "tiny", False, 64, 80, True, VISIT, SILENT)
    assert last == {tab.discarded: EXAMPLES[1], tab.status: gr.skip()}
    end = supersede  # for another picture, which has set the controls
    *_, last = tab.reconstruct(EXAMPLES[1], None, None, shown, "tiny", False, 64, 80, True, VISIT, SILENT)
    assert last == {tab.status: gr.skip()}


def test_a_cancelled_quality_discards_no_picture(
    tab: OverviewTab, show: Callable[..., CurrentResult], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = pipeline.engine.decode

    def ended(*given: Any) -> Any:
        cancel(VISIT)
        return decode(*given)

    shown = show(50)
    monkeypatch.setattr(pipeline.engine, "decode", ended)
    assert list(tab.requantize(shown, 60, False, VISIT, SILENT)) == [
        {tab.status: gr.skip(), **tab.controls.restored(shown)}
    ]


def test_a_picture_that_is_too_large_may_be_tried_at_another_size(
    tab: OverviewTab, show: Callable[..., CurrentResult], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    shown = show(50)
    monkeypatch.setattr(pipeline.engine, "encode", fail)
    *_, last = tab.reconstruct(EXAMPLES[1], None, None, shown, "tiny", True, 0, 80, False, VISIT, SILENT)
    assert last.keys() == {*tab.statuses}
