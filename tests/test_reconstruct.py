"""The tab Reconstruct, of what it does at another rate."""

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


@pytest.mark.parametrize("exact", [False, True])
def test_only_another_rate_is_decoded(
    exact: bool,
    laboratory: Laboratory,
    smooth: Callable[[int, int, int], Pixels],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(desk, "laboratory", lambda checkpoint: laboratory)
    path = tmp_path / "picture.png"
    path.write_bytes(write_png(smooth(40, 60, 0)))
    report = laboratory.examine(open_picture(path), color=True, quality=None if exact else 50.5)
    shown = desk.Shown(str(path), 0, "tiny", report.encoding, report.compressed, report.psnr)
    with gr.Blocks():
        tab = Reconstruct(gr.HTML(), gr.State(), Controls())
    assert [*tab.show_rate(shown, 50.5, exact, VISIT, SILENT)] == [{tab.status: gr.skip()}]
    picture, rest = tab.show_rate(shown, 50.5, not exact, VISIT, SILENT)
    assert tab.table in picture
    assert rest[tab.shown].quality == (50.5 if exact else None)
    _, rest = tab.show_rate(shown, 20, False, VISIT, SILENT)
    assert rest[tab.shown].quality == 20
