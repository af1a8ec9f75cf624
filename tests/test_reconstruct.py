"""The tab Reconstruct: what it does at another rate, and after a refusal or a stop."""

from collections.abc import Callable
from pathlib import Path

import gradio as gr
import pytest
from visitor import SILENT, VISIT

from residae.image import Pixels, open_picture, write_png
from residae.session import Laboratory
from residae.ui import desk
from residae.ui.controls import Controls
from residae.ui.reconstruct import Reconstruct

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def tab() -> Reconstruct:
    with gr.Blocks():
        tab = Reconstruct(gr.HTML(), gr.State(), gr.State(), Controls())
        tab.statuses.append(gr.HTML())
    return tab


@pytest.fixture
def show(
    laboratory: Laboratory, smooth: Callable[[int, int, int], Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float | None], desk.Shown]:
    """A picture as the page shows it, at a quality."""
    monkeypatch.setattr(desk, "laboratory", lambda checkpoint: laboratory)
    path = tmp_path / "picture.png"
    path.write_bytes(write_png(smooth(40, 60, 0)))

    def show(quality: float | None) -> desk.Shown:
        report = laboratory.examine(open_picture(path), color=True, quality=quality)
        return desk.Shown(str(path), 0, "tiny", report.encoding, report.compressed, report.psnr)

    return show


@pytest.mark.parametrize("exact", [False, True])
def test_only_another_rate_is_decoded(exact: bool, tab: Reconstruct, show: Callable[..., desk.Shown]) -> None:
    shown = show(None if exact else 50.5)
    assert [*tab.show_rate(shown, 50.5, exact, VISIT, SILENT)] == [{tab.status: gr.skip()}]
    picture, rest = tab.show_rate(shown, 50.5, not exact, VISIT, SILENT)
    assert tab.table in picture
    assert rest[tab.shown].quality == (50.5 if exact else None)
    _, rest = tab.show_rate(shown, 20, False, VISIT, SILENT)
    assert rest[tab.shown].quality == 20


def test_a_refused_picture_is_told_on_each_tab_and_leaves_settings_to_the_one_that_is_shown(
    tab: Reconstruct, show: Callable[..., desk.Shown], tmp_path: Path
) -> None:
    shown, bad = show(50), tmp_path / "bad.png"
    bad.write_text("no picture")
    *_, last = tab.show(str(bad), shown, "tiny", True, 0, 80, False, VISIT, SILENT)
    assert last.pop(tab.source) == shown.path
    assert last.keys() == {*tab.statuses}
    assert all("not a picture" in words for words in last.values())
    *_, last = tab.show(str(bad), None, "tiny", True, 0, 80, False, VISIT, SILENT)
    assert last.keys() == {*tab.statuses}


def test_a_stop_takes_the_controls_back_to_what_is_shown(tab: Reconstruct, show: Callable[..., desk.Shown]) -> None:
    controls, shown = tab.controls, show(50)
    settings = {tab.source: shown.path, controls.color: True, controls.side: 0}
    assert tab.go_back(shown) == settings | {controls.exact: False, controls.quality: 50}
    assert tab.go_back(show(None)) == settings | {controls.exact: True}
    assert tab.go_back(None) == {tab.source: gr.skip()}
