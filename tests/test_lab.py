"""The Latent lab decodes an edit small at once, then whole, and a newer edit overtakes."""

from collections.abc import Callable
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from visitor import SILENT, VISIT

from residae.image import Pixels, open_picture, write_png
from residae.session import Edits, Laboratory
from residae.ui import desk
from residae.ui.lab import PREVIEW, Lab, Material, prepared

pytestmark = pytest.mark.usefixtures("one_thread")

GAINS = (0.0, 1.0, 2.0, 1.0)


@pytest.fixture
def material(
    laboratory: Laboratory, smooth: Callable[[int, int, int], Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Material:
    """Of a picture that is more than twice as wide as a preview."""
    monkeypatch.setattr(desk, "laboratory", lambda checkpoint: laboratory)
    path = tmp_path / "picture.png"
    path.write_bytes(write_png(smooth(300, 2 * PREVIEW + 1, 0)))
    report = laboratory.examine(open_picture(path), color=True, quality=80)
    return prepared(desk.Shown(str(path), 0, "tiny", report.encoding, report.compressed, report.psnr), None)


@pytest.fixture
def lab() -> Lab:
    with gr.Blocks():
        return Lab(gr.State(), gr.State())


def test_an_edit_is_shown_small_then_whole(lab: Lab, material: Material, laboratory: Laboratory) -> None:
    small, whole = lab.edit(material, GAINS, 0, 0, 0, None, VISIT, SILENT)
    tables = small[lab.table], whole[lab.table]
    assert [table["size"] for table in tables] == [[2 * PREVIEW + 1, 300]] * 2  # one size on the page
    preview, exact = (open_picture(Path(table["panes"][1]["picture"]["path"])).pixels for table in tables)
    assert preview.shape == (150, PREVIEW, 3)
    report = laboratory.judge_edited(material.shown.picture(), material.whole, Edits(GAINS))
    np.testing.assert_array_equal(exact, report.decoding.pixels)
    assert "dB" not in small[lab.status]  # figures are those of the whole
    assert f"{report.psnr:.2f} dB" in whole[lab.status]


def test_a_newer_edit_overtakes(lab: Lab, material: Material) -> None:
    older = lab.edit(material, GAINS, 0, 0, 0, None, VISIT, SILENT)
    assert lab.table in next(older)
    desk.stop(VISIT)
    assert list(older) == [{lab.status: gr.skip()}]


def test_without_edits_there_is_nothing_to_preview(lab: Lab, material: Material) -> None:
    (whole,) = lab.edit(material, (), 0, 0, 0, None, VISIT, SILENT)
    assert "as it was" in whole[lab.status]


def test_another_tab_leaves_it_as_it_is(lab: Lab, material: Material) -> None:
    """Gradio empties the outputs of what ends without a word."""
    nothing = (lab.refresh(tab, material.shown, material, (), 0, 0, 0, None, VISIT, SILENT) for tab in ("lab", "files"))
    assert [list(updates) for updates in nothing] == [[{lab.status: gr.skip()}]] * 2
