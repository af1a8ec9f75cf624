"""The tab Overview: another quality, a file that is refused, and work that ends early."""

import base64
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import gradio as gr
import numpy as np
import pytest
from visitor import SILENT, VISIT, visit

from residae import heatmaps
from residae.image import Pixels, fit, open_picture, write_png
from residae.pipeline import Pipeline
from residae.ui import budget, cache, previews, store
from residae.ui.cache import EXAMPLES, Settings
from residae.ui.controls import QUALITY, SIZE, UNQUANTIZED, Controls
from residae.ui.state import CurrentResult
from residae.ui.tabs import overview
from residae.ui.tabs.overview import OverviewTab
from residae.ui.text import share_kept
from residae.ui.turns import POLL_SECONDS
from residae.ui.work import Updates, Work, cancel, is_at_work, supersede


@pytest.fixture
def tab() -> OverviewTab:
    with gr.Blocks():
        return OverviewTab(gr.HTML(), gr.State(), Controls())


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
        settings = Settings(str(path), "tiny", quality=quality)
        return CurrentResult(settings, report.encoding, report.compressed, report.psnr)

    return show


def change_rate(
    tab: OverviewTab, shown: CurrentResult | None, *rate: Any, path: str | None = None
) -> Iterator[Updates]:
    """Choose a scale, a kind of rate, a quality and a size."""
    return tab.change_rate(path, None, shown, "tiny", True, 0, *rate, VISIT, SILENT)


def test_only_another_rate_is_decoded(tab: OverviewTab, show: Callable[..., CurrentResult]) -> None:
    shown = show(50.5)
    assert [*change_rate(tab, shown, 1, QUALITY, 50.5, 10)] == [{tab.status: gr.skip()}]
    first, _ = change_rate(tab, shown, 1, UNQUANTIZED, 50.5, 10)
    assert tab.table in first
    assert first[tab.current].quality is None
    assert [*change_rate(tab, first[tab.current], 1, UNQUANTIZED, 70, 10)] == [{tab.status: gr.skip()}]
    first, _ = change_rate(tab, first[tab.current], 1, QUALITY, 20, 10)
    assert first[tab.current].quality == 20


@pytest.mark.parametrize("end", [cancel, supersede])
def test_a_result_is_shown_in_one_update_and_what_comes_later_is_marked(
    tab: OverviewTab, show: Callable[..., CurrentResult], end: Callable[[Any], None]
) -> None:
    updates = change_rate(tab, show(50), 1, QUALITY, 20, 10)
    first = next(updates)
    end(VISIT)
    (rest,) = updates
    assert first[tab.current].quality == 20  # what comes next starts from it
    assert {tab.table, tab.journey, tab.figures, tab.status, tab.mosaic, tab.error} <= first.keys()
    assert {*rest} == {tab.table, tab.figures}
    before, after = (re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", update[tab.figures]) for update in (first, rest))
    assert [name for (name, early), (_, late) in zip(before, after, strict=True) if early != late] == ["SSIM"]
    assert dict(before)["SSIM"] == "…"  # not that of the result before
    assert "facts" in rest[tab.table]["panes"][1]
    assert "facts" not in first[tab.table]["panes"][1]


def test_a_quality_that_is_being_chosen_is_previewed(
    tab: OverviewTab, show: Callable[..., CurrentResult], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a part of how a smaller picture's luma changes; only what is not shown already, where a quality is chosen."""
    for limit in ("MIN_SIDE", "MAX_SIDE"):
        monkeypatch.setattr(previews, limit, 32)
    shown = show(80)
    preview = tab.show_preview(shown, 1, QUALITY, 100, 10, VISIT)[tab.preview]
    change = open_picture(base64.b64decode(preview["change"].partition(",")[2])).pixels
    small = fit(shown.picture(), 32)
    before, after = (pipeline.reconstruct(small, False, quality).decoding.pixels for quality in (80, 100))
    assert (before != after).any()
    np.testing.assert_allclose(2 * (change - 128.0), previews.QUALITY_SHARE * (after - before.astype(float)), atol=2)
    assert preview["text"] == f"Preview, {len(pipeline.write(shown.encoding, 100).data):,} bytes"
    assert tab.show_preview(shown, 1, QUALITY, 80, 10, VISIT) == {tab.preview: None}
    for current, rate in ((None, QUALITY), (shown, SIZE), (shown, UNQUANTIZED)):
        assert tab.show_preview(current, 1, rate, 30, 10, VISIT) == {tab.preview: gr.skip()}
    monkeypatch.setattr("residae.ui.tabs.overview.ON_ZERO_GPU", True)  # where a GPU would be borrowed for each
    assert tab.show_preview(shown, 1, QUALITY, 30, 10, VISIT) == {tab.preview: gr.skip()}


@pytest.mark.parametrize(("seconds", "side"), [(0.0, 384), (0.05, 384), (1.0, 121), (4.0, 96), (60, 96)])
def test_a_preview_is_as_large_as_time_allows(seconds: float, side: int) -> None:
    assert previews.preview_side(768, seconds) == pytest.approx(side, rel=0.25)
    assert previews.preview_side(60, seconds) == 60


def test_a_rate_encodes_once_for_each_scale(
    tab: OverviewTab, show: Callable[..., CurrentResult], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    scales: list[float] = []
    encode, shown = pipeline.encode, show(50)
    monkeypatch.setattr(pipeline, "encode", lambda *given: scales.append(given[3]) or encode(*given))
    for scale, rate, quality, size in (
        *((1, QUALITY, 60, 10), (2, QUALITY, 60, 10), (2, QUALITY, 30, 10), (1, SIZE, 30, 0.5)),
        *((2, SIZE, 30, 0.6), (1.5, UNQUANTIZED, 30, 10), (1.5, QUALITY, 10, 10), (1, QUALITY, 60, 10)),
    ):
        first, _ = change_rate(tab, shown, scale, rate, quality, size)
        shown = first[tab.current]
        assert shown.encoding.scale == scale
        assert rate != QUALITY or shown.quality == quality
        assert rate != SIZE or len(shown.compressed.data) <= 1000 * size
        numbers = sum(latent.size for latent in shown.encoding.latents)
        assert f"{numbers:,}" in first[tab.journey]
    assert scales == [1, 2, 1.5]


def test_a_size_of_the_file_chooses_the_scale_and_the_controls_follow(
    tab: OverviewTab, show: Callable[..., CurrentResult], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    controls, shown = tab.controls, show(50)
    assert shown.compressed
    size = controls.follow_rate(SIZE, 1, shown)[controls.size]
    assert 1000 * size - 100 < len(shown.compressed.data) <= 1000 * size
    assert controls.follow_rate(SIZE, 1, shown)[controls.scale] == "auto"
    assert controls.follow_rate(QUALITY, "auto", shown)[controls.scale] == 1
    assert controls.follow_scale(QUALITY, "auto", shown) == {controls.rate: SIZE, controls.size: size}
    assert controls.follow_scale(QUALITY, 2, shown) == {controls.rate: gr.skip()}
    first, _ = change_rate(tab, shown, "auto", SIZE, 80, 0.5)
    fitting = first[tab.current]
    assert len(fitting.compressed.data) <= 500
    assert controls.restored(fitting) == {
        **{controls.color: True, controls.side: 0, controls.scale: "auto"},
        **{controls.rate: SIZE, controls.size: 0.5},
    }
    kept = share_kept(64, fitting.encoding.scale)  # of the tiny network, which keeps 1/64 at scale 1
    assert f"{kept} of the numbers" in first[tab.status]
    assert f"{kept.removeprefix('1/')}× fewer" in first[tab.journey]
    (last,) = change_rate(tab, fitting, "auto", SIZE, 80, 0)
    assert "takes at least" in last.pop(controls.size_alert)  # below the field
    assert not last  # which keeps what was typed
    monkeypatch.setattr(pipeline, "encode", None)
    assert controls.size_alert in next(change_rate(tab, fitting, "auto", SIZE, 80, 0))  # on leaving the field


def test_a_refinement_shows_its_steps_and_stop_keeps_the_best_file(
    tab: OverviewTab, show: Callable[..., CurrentResult], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "PROGRESS_INTERVAL", -1)  # show every step
    card, shown, pause = tab.controls.refine, show(80), 0.3
    assert shown.compressed
    measure = pipeline.decode
    monkeypatch.setattr(pipeline, "decode", lambda *given: time.sleep(pause) or measure(*given))
    scaled: list[Pixels] = []
    monkeypatch.setattr(heatmaps, "error_scale", lambda _, pixels: scaled.append(pixels) or 64.0)
    *steps, picture, last = tab.refine(shown, 1, QUALITY, 80, 10, 5, VISIT, SILENT)
    first, later = ([*map(float, re.findall(r"([\d.]+) s\b", update[tab.figures]))] for update in (picture, last))
    assert first == later
    assert first[0] >= round(shown.encoding.seconds + pause, 1)  # encoding, of which refinement is a part
    (unrefined,) = scaled  # so that the error maps before and after can be compared
    stored = pipeline.stored(shown.encoding, shown.compressed)
    np.testing.assert_array_equal(unrefined, pipeline.decode(stored).pixels)
    said = [re.findall(r"(\d) of 5 steps done(, about .+ left)?\.", update[card.status])[0] for update in steps]
    assert [(int(done), bool(left)) for done, left in said] == [(step, step < 5) for step in range(6)]
    drawn = [re.findall(r"after (\d) of 5 steps", update[card.curve]) for update in steps]
    assert drawn == [[], [], ["2"], ["2"], ["4"], ["5"]]  # only what is measured
    assert tab.table in picture
    refined = picture[tab.current]
    assert refined.settings == shown.settings
    assert refined.psnr > shown.psnr
    assert refined.compressed.data != shown.compressed.data
    assert "after 5\N{NO-BREAK SPACE}steps" in picture[card.status]
    assert [*change_rate(tab, refined, 1, QUALITY, 80, 10)] == [{tab.status: gr.skip()}]  # it stays

    running = tab.refine(shown, 1, QUALITY, 80, 10, 100, VISIT, SILENT)
    next(running)
    cancel(VISIT)
    *_, picture, _ = running
    done = int(re.findall(r"after (\d+)\sstep", picture[card.status])[0])
    assert done < 20
    assert picture[tab.current].psnr >= shown.psnr

    running = tab.refine(shown, 1, QUALITY, 80, 10, 100, VISIT, SILENT)
    next(running)
    supersede(VISIT)
    *_, last = running
    assert tab.table not in last
    assert "steps take about" in last[card.status]  # in place of Starting
    assert [*tab.refine(show(None), 1, UNQUANTIZED, 80, 10, 5, VISIT, SILENT)] == [{card.status: gr.skip()}]


@pytest.mark.parametrize(
    ("scale", "rate", "quality", "size"), [(1, QUALITY, 30, 10), (1.5, QUALITY, 80, 10), (1, SIZE, 80, 0.5)]
)
def test_a_refinement_applies_to_the_rate_that_the_controls_show(
    scale: float, rate: str, quality: float, size: float, tab: OverviewTab, show: Callable[..., CurrentResult]
) -> None:
    """Also where that rate was chosen just before, and waits for `change_rate`, which then changes nothing."""
    *_, picture, _ = tab.refine(show(80), scale, rate, quality, size, 2, VISIT, SILENT)
    refined = picture[tab.current]
    settings = refined.settings
    assert (settings.scale, settings.quality, settings.max_bytes) == (
        *(scale, quality if rate == QUALITY else None),
        500 if rate == SIZE else None,
    )
    assert refined.encoding.scale == scale
    assert refined.steps == 2
    assert [*change_rate(tab, refined, scale, rate, quality, size)] == [{tab.status: gr.skip()}]


def test_an_unquantized_latent_that_was_just_chosen_is_shown_and_not_refined(
    tab: OverviewTab, show: Callable[..., CurrentResult]
) -> None:
    picture, _ = tab.refine(show(80), 1, UNQUANTIZED, 80, 10, 2, VISIT, SILENT)
    assert picture[tab.current].quality is None
    assert "There is no file to refine" in picture[tab.controls.refine.status]


def test_a_refinement_goes_on_where_the_rate_stays(tab: OverviewTab, show: Callable[..., CurrentResult]) -> None:
    """Leaving the number beside the slider, or the field of the size, counts as a release."""
    shown = show(80)
    for quality, steps in ((80, 5), (60, 0)):
        running = tab.refine(shown, 1, QUALITY, 80, 10, 5, VISIT, SILENT)
        next(running)
        tab.supersede_at_other_rate(shown, 1, QUALITY, quality, 10, VISIT)
        results = [update[tab.current] for update in running if tab.current in update]
        assert [result.steps for result in results] == [steps] * bool(steps)


def test_a_refinement_that_takes_too_long_is_refused_with_what_to_do(
    tab: OverviewTab, show: Callable[..., CurrentResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = show(50)
    monkeypatch.setenv(budget.VARIABLE, "0.001")
    (refused,) = tab.refine(shown, 1, QUALITY, 50, 10, 200, VISIT, SILENT)
    assert "choose fewer steps" in refused[tab.controls.refine.status]


def test_a_refinement_stays_within_the_size_of_the_file(tab: OverviewTab, show: Callable[..., CurrentResult]) -> None:
    first, _ = change_rate(tab, show(50), 1.5, SIZE, 80, 0.6)
    limited = first[tab.current]
    *_, picture, _ = tab.refine(limited, 1.5, SIZE, 80, 0.6, 5, VISIT, SILENT)
    assert len(picture[tab.current].compressed.data) <= 600
    assert picture[tab.current].psnr >= limited.psnr


@contextmanager
def others_at_work() -> Iterator[None]:
    """Another visitor's work has its turn in front of the model."""
    with Work(visit("another")):
        yield


@pytest.mark.parametrize("quality", [80, 60])
def test_a_rate_that_is_shown_already_waits_in_silence(
    quality: float, tab: OverviewTab, show: Callable[..., CurrentResult]
) -> None:
    """Pressing Start leaves the number beside the slider, which counts as a release and waits for the refinement."""
    shown, said = show(80), list[str]()

    def progress(share: float, desc: str) -> None:
        said.append(desc)

    def change() -> list[Updates]:
        rate = 1, QUALITY, quality, 10
        return [*tab.change_rate(None, None, shown, "tiny", True, 0, *rate, VISIT, cast(Any, progress))]

    with ThreadPoolExecutor() as pool:
        with others_at_work():
            updates = pool.submit(change)
            while not is_at_work(VISIT):
                time.sleep(0.01)
            time.sleep(3 * POLL_SECONDS)  # in each of which it could say that it waits
        assert (tab.table in updates.result()[0]) == (quality == 60)
    assert ("Waiting: 1 request comes first." in said) == (quality == 60)


def test_a_visit_opens_with_a_result_that_is_kept_while_others_compute(
    tab: OverviewTab, show: Callable[..., CurrentResult], pipeline: Pipeline
) -> None:
    settings = Settings(EXAMPLES[0], "tiny", side=64)
    report = cache.reconstruct(settings, None)
    opening = (EXAMPLES[0], None, None, None, "tiny", True, 64, 1, QUALITY, 80, 10, VISIT, SILENT)
    with others_at_work():
        (shown,) = tab.reconstruct(*opening)
    assert (shown[tab.current].settings, shown[tab.current].psnr) == (settings, report.psnr)
    assert {tab.figures, tab.mosaic, tab.status, tab.journey} <= shown.keys()
    with Work(VISIT):  # whose figures are yet to come, and would be shown last
        assert tab.current not in next(tab.reconstruct(*opening))


def test_a_visit_opens_with_the_original_where_its_result_takes_time(
    tab: OverviewTab, show: Callable[..., CurrentResult]
) -> None:
    shown = show(80)
    with others_at_work():
        updates = tab.reconstruct(EXAMPLES[0], None, None, None, "tiny", True, 64, 1, QUALITY, 33, 10, VISIT, SILENT)
        first = next(updates)
    assert [pane["name"] for pane in first[tab.table]["panes"]] == ["Original"]
    assert tab.current not in first
    picture, _ = updates
    assert picture[tab.current].quality == 33
    updates = tab.reconstruct(EXAMPLES[0], None, None, shown, "tiny", True, 64, 1, QUALITY, 34, 10, VISIT, SILENT)
    assert next(updates)[tab.current].quality == 34  # the result before it stays until then


def test_a_refused_picture_is_reported_and_settings_stay_those_of_the_result(
    tab: OverviewTab, show: Callable[..., CurrentResult], tmp_path: Path
) -> None:
    shown, bad = show(50), tmp_path / "bad.png"
    bad.write_text("no picture")
    for before in (shown, None):
        *_, last = tab.reconstruct(str(bad), None, None, before, "tiny", True, 0, 1, QUALITY, 80, 10, VISIT, SILENT)
        assert "not a picture" in last.pop(tab.controls.alert)
        assert before or "Drop a picture" in last.pop(tab.table)["invitation"]
        assert last == {tab.discarded: str(bad), **(tab.controls.restored(shown) if before else {})}
    first, _ = tab.reconstruct(str(bad), None, str(bad), shown, "tiny", False, 0, 1, QUALITY, 80, 10, VISIT, SILENT)
    assert tab.controls.alert not in first
    assert (first[tab.current].settings.path, first[tab.current].color) == (shown.settings.path, False)
    *_, last = tab.reconstruct(str(bad), None, str(bad), None, "tiny", False, 0, 1, QUALITY, 80, 10, VISIT, SILENT)
    assert "not a picture" in last[tab.controls.alert]


def test_another_rate_is_tried_where_the_first_picture_failed(
    tab: OverviewTab, show: Callable[..., CurrentResult]
) -> None:
    """Also where it was stopped: there is no result whose rate could be changed."""
    path = show(50).settings.path
    (failed,) = tab.reconstruct(path, None, None, None, "tiny", True, 0, 1, SIZE, 80, 0, VISIT, SILENT)
    assert tab.current not in failed
    first, _ = change_rate(tab, None, 1, QUALITY, 30, 0, path=path)
    assert (first[tab.current].settings.path, first[tab.current].quality) == (path, 30)


def test_a_session_that_the_server_has_forgotten_is_told_to_reload(tab: OverviewTab) -> None:
    """All of its states are empty, while the browser still shows a result."""
    settings = ("tiny", True, 0, 1, QUALITY, 80, 10)
    for updates in (
        change_rate(tab, None, 1, QUALITY, 30, 10),
        tab.reconstruct(None, None, None, None, *settings, VISIT, SILENT),
        tab.refine(None, 1, QUALITY, 80, 10, 5, VISIT, SILENT),
    ):
        (update,) = updates
        assert any("reload the page" in str(value) for value in update.values())


def test_cancelled_work_restores_the_controls(
    tab: OverviewTab, show: Callable[..., CurrentResult], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    controls, shown = tab.controls, show(50)
    end, encode = cancel, pipeline.engine.encode

    def ended(*given: Any) -> Any:
        end(VISIT)
        return encode(*given)

    monkeypatch.setattr(pipeline.engine, "encode", ended)
    *_, last = tab.reconstruct(EXAMPLES[1], None, None, shown, "tiny", False, 64, 1, UNQUANTIZED, 80, 10, VISIT, SILENT)
    settings = controls.restored(shown)
    assert settings == {
        **{controls.color: True, controls.side: 0, controls.scale: 1.0},
        **{controls.rate: QUALITY, controls.quality: 50},
    }
    assert last == {tab.status: gr.skip(), tab.discarded: EXAMPLES[1], **settings}
    *_, last = tab.reconstruct(EXAMPLES[1], None, None, None, "tiny", False, 64, 1, UNQUANTIZED, 80, 10, VISIT, SILENT)
    assert "Drop a picture" in last.pop(tab.table)["invitation"]
    assert last == {tab.discarded: EXAMPLES[1], tab.status: gr.skip()}
    end = supersede  # for another picture, which has set the controls
    *_, last = tab.reconstruct(EXAMPLES[1], None, None, shown, "tiny", False, 64, 1, UNQUANTIZED, 80, 10, VISIT, SILENT)
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
    assert list(change_rate(tab, shown, 1, QUALITY, 60, 10)) == [
        {tab.status: gr.skip(), **tab.controls.restored(shown)}
    ]


def test_a_picture_that_is_too_large_may_be_tried_at_another_size(
    tab: OverviewTab, show: Callable[..., CurrentResult], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    shown = show(50)
    monkeypatch.setattr(pipeline.engine, "encode", fail)
    *_, last = tab.reconstruct(EXAMPLES[1], None, None, shown, "tiny", True, 0, 1, QUALITY, 80, 10, VISIT, SILENT)
    assert last.keys() == {tab.controls.alert}
