"""The Latent lab decodes a preview of an edit, then the whole; a newer edit supersedes it."""

import base64
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from visitor import SILENT, VISIT, turns_between, use_up

from residae import charts, heatmaps
from residae.edit import Edits, decode_edited, reconstruct_edited
from residae.image import Pixels, open_picture, write_png
from residae.pipeline import Pipeline
from residae.ui import previews, store, tabs
from residae.ui.cache import EXAMPLES, Settings
from residae.ui.state import CurrentResult
from residae.ui.tabs.lab import (
    MAX_GAIN,
    MEASURE,
    MEASURE_AGAIN,
    PLANES,
    THUMBNAIL_SIDE,
    UNMEASURED,
    LabState,
    LabTab,
    draw_channels,
    prepare,
)
from residae.ui.text import decibels
from residae.ui.viewer import png_file
from residae.ui.work import Updates, Work, supersede, supersede_background

GAINS = (0.0, 1.0, 2.0, 1.0)
PREVIEW_SIDE = 128


@pytest.fixture
def state(
    pipeline: Pipeline, smooth: Callable[[int, int, int], Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> LabState:
    """The state for a picture that is more than twice as wide as a preview."""
    monkeypatch.setattr(store, "_open_pipeline", lambda _: pipeline)
    for limit in ("MIN_SIDE", "MAX_SIDE"):
        monkeypatch.setattr(previews, limit, PREVIEW_SIDE)
    path = tmp_path / "picture.png"
    path.write_bytes(write_png(smooth(160, 2 * PREVIEW_SIDE + 1, 0)))
    report = pipeline.reconstruct(open_picture(path), color=True, quality=80)
    return prepare(CurrentResult(Settings(str(path), "tiny"), report.encoding, report.compressed, report.psnr), None)


@pytest.fixture
def lab() -> LabTab:
    with gr.Blocks():
        return LabTab(gr.State(), gr.State())


def test_an_edit_shows_a_preview_then_the_whole(lab: LabTab, state: LabState, pipeline: Pipeline) -> None:
    asked = list(GAINS)
    assert lab.read_gains(state, 0, 0, 0, EXAMPLES[1], asked, VISIT)[lab.preview] is None  # there is no picture yet
    before = (0.5,) * len(GAINS)
    *_, first, _ = lab.refresh("lab", state.current, state, PLANES[0], 0, before, 0, 0, 0, EXAMPLES[1], VISIT, SILENT)
    small = lab.read_gains(first[lab.state], 0, 0, 0, EXAMPLES[1], asked, VISIT)
    assert small[lab.gains] == GAINS
    change = open_picture(base64.b64decode(small[lab.preview]["change"].partition(",")[2])).pixels
    assert state.preview
    was, now = (decode_edited(pipeline, state.preview, Edits(gains))[1].pixels for gains in (before, GAINS))
    assert (was != now).any()
    np.testing.assert_allclose(was + 2 * (change - 128.0), now, atol=1)  # from the edits that are shown
    _, whole, measured = lab.refresh(
        "lab", state.current, state, PLANES[0], 0, GAINS, 0, 0, 0, EXAMPLES[1], VISIT, SILENT
    )
    assert whole[lab.table]["size"] == [2 * PREVIEW_SIDE + 1, 160]
    exact = open_picture(Path(whole[lab.table]["panes"][1]["picture"]["path"])).pixels
    report = reconstruct_edited(pipeline, state.current.picture(), state.whole, Edits(GAINS))
    np.testing.assert_array_equal(exact, report.decoding.pixels)
    assert lab.status not in small  # the figures are those of the whole
    assert f"{report.psnr:.2f} dB" in whole[lab.status]
    assert "facts" not in whole[lab.table]["panes"][1]
    assert measured[lab.table]["panes"][1]["facts"]["SSIM"] == f"{report.ssim:.4f}"  # it takes longer than the others


def test_an_edit_is_shown_beside_the_result_without_edits(lab: LabTab, state: LabState, pipeline: Pipeline) -> None:
    pixels = pipeline.decode(state.whole).pixels
    current = replace(state.current, reconstruction=png_file(pixels, "reconstruction.png"))
    path = Path(current.reconstruction["path"])
    os.utime(path, (0, 0))
    for shown in (replace(state, current=current), None):
        updates = lab.refresh("lab", current, shown, PLANES[0], 0, GAINS, 0, 0, 0, EXAMPLES[1], VISIT, SILENT)
        *_, whole, measured = updates
        table = whole[lab.table]
        divided = [table["panes"][index] for index in table["views"][0]["panes"]]
        assert [pane["name"] for pane in divided] == ["Unedited", "Edited"]
        assert divided[0]["caption"] == decibels(current.psnr)
        for pane in table["panes"][2:]:  # also where the status is scrolled out of the window
            assert f"<b>{pane['caption']}</b>" in whole[lab.status]
        np.testing.assert_array_equal(open_picture(divided[0]["picture"]["path"]).pixels, pixels)
        assert table["panes"][table["original"]]["name"] == "Original"
        facts = measured[lab.table]["panes"][table["result"]]["facts"]
        assert "Channels muted 1" in facts["Edits"]
        assert path.stat().st_mtime > 0  # it is served as long as the picture beside it

    path.unlink()  # an hour later
    *_, whole, _ = lab.refresh("lab", current, None, PLANES[0], 0, GAINS, 0, 0, 0, EXAMPLES[1], VISIT, SILENT)
    assert [pane["name"] for pane in whole[lab.table]["panes"]] == ["Original", "Edited", "Error"]


def test_the_mixer_scales_by_as_much_as_the_server_takes(lab: LabTab) -> None:
    script = lab.mixer.js_on_load
    assert f"const MAX_GAIN = {MAX_GAIN};" in script
    assert re.findall(r"\bmax: (\w+)", script) == ["MAX_GAIN"]


def test_what_is_not_measured_has_a_sentence_in_place_of_an_axis(lab: LabTab, state: LabState) -> None:
    before, after = draw_channels(state), draw_channels(state, [0.5] * len(GAINS))
    assert UNMEASURED in before
    assert "lost when muted, dB" not in before
    assert UNMEASURED not in after
    assert "lost when muted, dB" in after


def test_the_button_says_whether_the_channels_of_this_result_were_measured(lab: LabTab, state: LabState) -> None:
    *_, measured = lab.measure_channels(state, VISIT, SILENT)
    assert measured[lab.measure] == MEASURE_AGAIN
    another, *_ = lab.refresh("lab", state.current, None, PLANES[0], 0, (), 0, 0, 0, EXAMPLES[1], VISIT, SILENT)
    assert another[lab.measure] == MEASURE


def test_the_lab_shows_the_picture_without_edits_until_there_is_one_from_the_latent(
    lab: LabTab, state: LabState, pipeline: Pipeline
) -> None:
    picture = png_file(pipeline.decode(state.whole).pixels, "reconstruction.png")
    current = replace(state.current, reconstruction=picture)
    first, *_ = lab.refresh("lab", current, None, PLANES[0], 0, (), 0, 0, 0, EXAMPLES[1], VISIT, SILENT)
    assert [pane["picture"] for pane in first[lab.table]["panes"]] == [picture]
    assert first[lab.channel]["panes"][0]["caption"].startswith("Quantized values, without a unit: mean")


def test_a_newer_edit_supersedes_an_older_one(lab: LabTab, state: LabState) -> None:
    older = lab.refresh("lab", state.current, state, PLANES[0], 0, GAINS, 0, 0, 0, EXAMPLES[1], VISIT, SILENT)
    next(older)
    supersede_background(VISIT)  # as `show_preview` does before it waits for its turn
    assert list(older) == [{lab.status: gr.skip()}]


@pytest.mark.parametrize("work", ["prepare", "decode_edited"])
def test_a_plane_that_is_chosen_while_the_lab_loads_is_shown(
    work: str, lab: LabTab, state: LabState, monkeypatch: pytest.MonkeyPatch
) -> None:
    session: Updates = {}
    working = getattr(tabs.lab, work)

    def choose_meanwhile(*arguments: Any) -> Any:
        session.update(lab.show_plane(None, PLANES[1], 0))  # as the browser asks before it has the state
        return working(*arguments)

    monkeypatch.setattr(tabs.lab, "newest", lambda _, component, value: session.get(component, value))
    monkeypatch.setattr(tabs.lab, work, choose_meanwhile)
    shown: Updates = {}
    for update in lab.refresh("lab", state.current, None, PLANES[0], 0, (), 0, 0, 0, EXAMPLES[1], VISIT, SILENT):
        shown |= update
    assert getattr(shown[lab.plane], "value", shown[lab.plane]) == PLANES[1]
    assert "blue chroma" in shown[lab.channel]["panes"][0]["name"]


def test_without_edits_the_picture_is_the_unedited_one(lab: LabTab, state: LabState) -> None:
    _, whole, _ = lab.refresh("lab", state.current, state, PLANES[0], 0, (), 0, 0, 0, EXAMPLES[1], VISIT, SILENT)
    assert "the same as unedited" in whole[lab.status]


def test_edits_that_are_shown_or_lack_a_picture_have_no_preview(lab: LabTab, state: LabState) -> None:
    shown = replace(state, edits=Edits(GAINS))
    assert lab.show_preview(shown, GAINS, 0, 0, 0, EXAMPLES[1], VISIT) == {lab.preview: None}
    for waiting in (None, state):
        assert lab.show_preview(waiting, GAINS, 0, 0, 0.5, EXAMPLES[1], VISIT) == {lab.preview: gr.skip()}


def test_nothing_is_borrowed_for_a_preview(lab: LabTab, state: LabState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("residae.ui.tabs.lab.ON_ZERO_GPU", True)
    without = prepare(state.current, None)
    assert without.preview is None
    assert lab.show_preview(without, GAINS, 0, 0, 0, EXAMPLES[1], VISIT) == {lab.preview: None}


def test_edits_that_are_shown_are_not_decoded_again(lab: LabTab, state: LabState) -> None:
    def edit(gains: tuple[float, ...], blend: float = 0, other: str = EXAMPLES[1]) -> list[Updates]:
        nonlocal state
        updates = list(lab.refresh("lab", state.current, state, PLANES[0], 0, gains, 0, 0, blend, other, VISIT, SILENT))
        for update in updates:
            state = update.get(lab.state, state)
        return updates

    nothing = [{lab.preview: None}]  # one that was shown of an edit that was undone
    assert len(edit(GAINS)) == 3
    assert edit(GAINS) == nothing
    assert edit(GAINS, other=EXAMPLES[0]) == nothing  # not blended in
    assert len(edit(GAINS, 0.5)) == 4  # with a preview, for which the other picture had to be encoded
    assert edit(GAINS, 0.5) == nothing
    assert len(edit(GAINS, 0.7)) == 3
    assert len(edit(GAINS, 0.5, EXAMPLES[0])) == 4
    assert len(edit(())) == 3


@pytest.mark.parametrize(("blend", "encodes"), [(0, 0), (0.5, 1)])
def test_a_picture_to_blend_in_is_charged_also_where_the_current_result_is_new(
    blend: float, encodes: int, lab: LabTab, state: LabState, monkeypatch: pytest.MonkeyPatch
) -> None:
    charged: list[float] = []
    monkeypatch.setattr(Work, "charge", lambda self, pixels, on_gpu: charged.append(pixels))
    *_, last, _ = lab.refresh("lab", state.current, None, PLANES[0], 0, (), 0, 0, blend, EXAMPLES[1], VISIT, SILENT)
    assert charged == [state.current.encoding.work(encodes=encodes, decodes=1)]
    assert (last[lab.state].blend is not None) == bool(blend)


def test_others_have_their_turns_between_two_channels(lab: LabTab, state: LabState) -> None:
    assert turns_between(lab.measure_channels(state, VISIT, SILENT)) == [True] * 4


def test_channels_are_not_measured_beyond_the_visitor_s_share(
    lab: LabTab, state: LabState, monkeypatch: pytest.MonkeyPatch
) -> None:
    *charts, last = lab.measure_channels(state, VISIT, SILENT)
    assert len(charts) == 4
    assert [update[lab.chart].count(" dB</title>") for update in charts] == [1, 2, 3, 4]  # none before it is measured
    assert [*last] == [lab.measure, lab.measured]  # what an edit costs stays
    assert "Measured on luma" in last[lab.measured]
    use_up(VISIT, monkeypatch)
    (refused,) = lab.measure_channels(state, VISIT, SILENT)
    assert "allows a visitor in an hour" in refused[lab.measured]


@pytest.mark.parametrize("trouble", ["stopped", "refused"])
def test_work_that_failed_is_done_again(trouble: str, lab: LabTab, state: LabState, tmp_path: Path) -> None:
    """Otherwise the preview or the error message would stay."""
    (*_, first, _) = lab.refresh("lab", state.current, state, PLANES[0], 0, (), 0, 0, 0, EXAMPLES[1], VISIT, SILENT)
    other = str(tmp_path / "missing.png") if trouble == "refused" else EXAMPLES[1]
    updates = lab.refresh("lab", state.current, first[lab.state], PLANES[0], 0, (), 0, 0, 0.5, other, VISIT, SILENT)
    begun = next(updates)
    if trouble == "stopped":
        assert lab.preview in next(updates)
        supersede(VISIT)
    assert lab.table not in list(updates)[-1]
    updates = lab.refresh("lab", state.current, begun[lab.state], PLANES[0], 0, (), 0, 0, 0, EXAMPLES[1], VISIT, SILENT)
    (*_, again, _) = updates
    assert "the same as unedited" in again[lab.status]


def test_a_file_that_is_no_picture_is_not_taken_to_blend_in(lab: LabTab, state: LabState, tmp_path: Path) -> None:
    """Also where nothing is blended in, and nothing would be opened until something is."""
    path = tmp_path / "holiday.png"
    path.write_text("not a picture\n")
    for given in (None, state):
        refused = lab.take_blend(str(path), given, VISIT)
        assert refused.keys() == {lab.blend_upload, lab.blend_alert}
        assert "The file is not a picture" in refused[lab.blend_alert]
        assert refused[lab.blend_upload].value is None
        taken = lab.take_blend(EXAMPLES[0], given, VISIT)
        assert taken[lab.blend_path] == EXAMPLES[0]
        assert taken[lab.blend_alert] == ""
        assert 256 < max(pixels(taken[lab.blend_thumbnail]).shape) <= THUMBNAIL_SIDE  # in a format of any browser


def test_a_closed_tab_is_left_unchanged(lab: LabTab, state: LabState) -> None:
    """Gradio empties the outputs of a handler that yields nothing."""
    updates = lab.refresh("files", state.current, state, PLANES[0], 0, (), 0, 0, 0, EXAMPLES[1], VISIT, SILENT)
    assert list(updates) == [{lab.status: gr.skip()}]


def pixels(file: dict[str, Any]) -> Pixels:
    """The pixels of a PNG that the page can fetch."""
    with Image.open(file["path"]) as image:
        return np.asarray(image)


def test_channels_are_of_the_plane_that_is_shown(lab: LabTab, state: LabState) -> None:
    updates = lab.show_plane(state, "Red chroma", 0)
    (pane,) = updates[lab.channel]["panes"]
    assert pane["name"] == "Channel 1 of red chroma"
    enlarged = pixels(pane["picture"])
    latent = state.whole.latents[2]
    np.testing.assert_array_equal(enlarged, heatmaps.latent_channel(latent[0]))
    assert updates[lab.channel]["views"][0]["key"] == charts.channel_bar(*heatmaps.channel_scale(latent[0]))
    for channel, tile, strip in zip(latent, heatmaps.latent_tiles(latent), updates[lab.mixer]["strips"], strict=True):
        own, common = (pixels(strip[name]) for name in ("own", "common"))
        np.testing.assert_array_equal(own, heatmaps.latent_tiles(channel[None])[0])
        np.testing.assert_array_equal(common, tile)


def test_the_plane_stays_where_a_new_result_has_it(lab: LabTab, state: LabState, pipeline: Pipeline) -> None:
    path = state.current.settings.path
    gray = pipeline.reconstruct(open_picture(path), color=False, quality=80)
    in_gray = CurrentResult(Settings(path, "tiny", color=False), gray.encoding, gray.compressed, gray.psnr)
    for current, name, shown in (
        (state.current, "Channel 1 of red chroma", "Red chroma"),
        (in_gray, "Channel 1", "Luma"),
    ):
        updates = lab.refresh("lab", current, None, "Red chroma", 0, (), 0, 0, 0, EXAMPLES[1], VISIT, SILENT)
        first = next(updates)
        assert first[lab.channel]["panes"][0]["name"] == name
        assert first[lab.plane].value == shown


def test_a_tab_that_was_left_at_work_starts_again(lab: LabTab, state: LabState) -> None:
    def refresh(state: LabState | None) -> Iterator[Updates]:
        return lab.refresh("lab", shown, state, PLANES[0], 0, (), 0, 0, 0, EXAMPLES[1], VISIT, SILENT)

    shown = state.current
    halfway = next(refresh(None))[lab.state]
    supersede(VISIT)
    *_, last, _ = refresh(halfway)
    assert lab.table in last
    assert list(refresh(last[lab.state])) == [{lab.preview: None}]  # the whole is shown already


def test_an_edit_takes_up_the_current_result(lab: LabTab, state: LabState) -> None:
    """It may have superseded the work that was to do so; and the gains may be those of another checkpoint."""
    for gains, fitting in ((GAINS, GAINS), ((0.0,) * 3, ())):
        *_, last, _ = lab.refresh("lab", state.current, None, PLANES[0], 0, gains, 0, 0, 0, EXAMPLES[1], VISIT, SILENT)
        assert last[lab.state].current == state.current
        assert last[lab.state].edits == Edits(fitting)
