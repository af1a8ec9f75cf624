"""The tab Equal bytes: pictures that codecs keep exactly or cannot compress, and work that ends early."""

import math
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from visitor import SILENT, VISIT, add_refined, turns_between, visit

from residae import compare
from residae.baselines import CODECS
from residae.compare import CURVE_QUALITIES, OURS, REFINED, CodecResult, Comparison, RatePoint, measures_ssimulacra2
from residae.engine import Engine
from residae.errors import ResidaeError
from residae.image import Pixels, open_picture, write_png
from residae.pipeline import Pipeline
from residae.progress import Progress
from residae.ui import store, work
from residae.ui.budget import Account, ShareError, Shares
from residae.ui.cache import Settings
from residae.ui.state import CurrentResult
from residae.ui.tabs import equal_bytes
from residae.ui.tabs.equal_bytes import Curves, EqualBytesTab
from residae.ui.text import verdict
from residae.ui.work import Work, cancel, supersede


@pytest.fixture
def shown(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Pixels], CurrentResult]:
    """Makes the current result of a picture with these pixels."""
    monkeypatch.setattr(store, "_open_pipeline", lambda _: pipeline)
    monkeypatch.setattr(compare, "LARGER_SCALES", (1.5, 2.0))

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
    flat = shown(np.full((192, 192), 255, np.uint8))
    _, first, *rest = equal.refresh("equal", flat, None, VISIT, SILENT)
    assert "WebP <small>method 6</small></th><td>" in first[equal.figures]
    assert "∞ dB" in first[equal.figures]
    assert "<svg" in rest[-3][equal.chart]
    assert [update[equal.compared] for update in (first, rest[-1])] == [
        None,
        flat,
    ]  # a comparison that ends early starts again


@pytest.mark.skipif(not measures_ssimulacra2(), reason="SSIMULACRA 2 cannot be measured here")
@pytest.mark.parametrize("stopped", [False, True])
def test_what_is_still_being_measured_differs_from_what_is_not(
    stopped: bool,
    equal: EqualBytesTab,
    shown: Callable[[Pixels], CurrentResult],
    smooth: Callable[[int, int, int], Pixels],
) -> None:
    updates = equal.refresh("equal", shown(smooth(40, 60, 0)[..., 0]), None, VISIT, SILENT)
    with closing(updates):
        next(updates)
        first = next(updates)[equal.figures]
        if stopped:
            cancel(VISIT)
        then = next(updates)[equal.figures]
    pending, unknown = "<td>…</td></tr>", "<td>–</td></tr>"
    assert (pending in first, unknown in first) == (True, False)
    assert (pending in then, unknown in then) == (False, stopped)


def test_the_curve_of_refined_files_is_added_where_asked(
    equal: EqualBytesTab, shown: Callable[[Pixels], CurrentResult], smooth: Callable[[int, int, int], Pixels]
) -> None:
    picture = shown(smooth(40, 60, 0)[..., 0])
    *_, chart, _, last = equal.refresh("equal", picture, None, VISIT, SILENT)
    assert REFINED not in chart[equal.chart]
    assert ", about" in last[equal.refined].value
    *points, done = equal.add_refined(picture, last[equal.curves], VISIT, SILENT)
    assert len(points) == len(CURVE_QUALITIES)
    assert all(REFINED in point[equal.chart] for point in points)
    assert not done[equal.refined].interactive
    other = replace(picture)  # a comparison of another result
    assert [*equal.add_refined(other, last[equal.curves], VISIT, SILENT)] == [{equal.status: gr.skip()}]
    again, kept = equal.refresh("equal", other, picture, VISIT, SILENT)
    assert again[equal.chart] == points[-1][equal.chart]
    assert not kept[equal.refined].interactive


def test_the_curve_of_refined_files_comes_by_itself_on_a_gpu(
    equal: EqualBytesTab,
    shown: Callable[[Pixels], CurrentResult],
    pipeline: Pipeline,
    smooth: Callable[[int, int, int], Pixels],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture = shown(smooth(40, 60, 0)[..., 0])
    monkeypatch.setattr(Engine, "on_gpu", True)
    monkeypatch.setattr(pipeline.engine, "_most_cells", lambda: 10**6)  # it would ask the GPU
    monkeypatch.setattr(equal_bytes, "GPU_STEPS", 2)
    *updates, last = equal.refresh("equal", picture, None, VISIT, SILENT)
    refined = [update for update in updates if REFINED in str(update.get(equal.chart))]
    assert updates[-len(CURVE_QUALITIES) - 1 : -1] == refined
    assert not last[equal.refined].interactive
    assert last[equal.compared] == picture


def test_a_curve_rises(shown: Callable[[Pixels], CurrentResult]) -> None:
    """At a larger scale, more bytes can have less PSNR."""
    points = tuple(RatePoint(*point) for point in ((0.2, 33.0), (0.3, 32.5), (0.4, 34.0)))
    chart = Curves(shown(np.zeros((40, 60), np.uint8)), {OURS: points}).draw()
    assert re.findall(r"\d+\.\d+ dB at", chart) == ["33.00 dB at", "34.00 dB at"]


def test_going_back_to_a_result_measures_nothing_again(
    equal: EqualBytesTab,
    shown: Callable[[Pixels], CurrentResult],
    smooth: Callable[[int, int, int], Pixels],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise ResidaeError("It is measured again.")

    picture = shown(smooth(40, 60, 0)[..., 0])
    *_, shown_before, before = equal.refresh("equal", picture, None, VISIT, SILENT)
    monkeypatch.setattr(equal_bytes, "compare", fail)
    unquantized = replace(picture, settings=replace(picture.settings, quality=None), compressed=None)
    (empty,) = equal.refresh("equal", unquantized, picture, VISIT, SILENT)
    assert "choose a quality or a file size" in empty[equal.status]
    assert [pane["name"] for pane in empty[equal.table]["panes"]] == ["Original", OURS]
    assert empty[equal.figures].count("dB") == 1
    assert "svg" not in empty[equal.chart]
    assert not any(empty[place] for place in (equal.compared, equal.curves))
    assert not any(empty[button].interactive for button in (equal.refined, equal.again))
    back = replace(picture)  # the same result, made again
    kept, after = equal.refresh("equal", back, None, VISIT, SILENT)
    assert kept[equal.compared] is None  # until all is there
    assert [kept[place] for place in (equal.status, equal.figures)] == [
        shown_before[place] for place in (equal.status, equal.figures)
    ]
    assert kept[equal.chart] == before[equal.curves].draw()
    assert after[equal.compared] == back
    assert all(after[button].interactive for button in (equal.refined, equal.again))
    *_, again = equal.measure_again(back, VISIT, SILENT)
    assert "It is measured again." in again[equal.status]


def test_a_curve_is_as_long_as_a_public_page_allows(
    equal: EqualBytesTab,
    shown: Callable[[Pixels], CurrentResult],
    smooth: Callable[[int, int, int], Pixels],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture = shown(smooth(40, 60, 0)[..., 0])
    monkeypatch.setattr(work, "PIXELS_USED", Account())
    enough = 40 * 60 * (6 + 3)  # pixels, for one larger scale
    monkeypatch.setattr(work, "shares", lambda: Shares(1e9, enough))
    updates = [*equal.refresh("equal", picture, None, VISIT, SILENT)]
    assert len([update for update in updates if equal.chart in update]) == 1 + 1 + len(CURVE_QUALITIES) + 1
    assert equal.compared in updates[-1]
    assert len([*equal.refresh("equal", picture, None, VISIT, SILENT)]) > 3, "a shorter curve is not kept for others"
    monkeypatch.setattr(work, "PIXELS_USED", Account())
    monkeypatch.setattr(compare, "CURVE_RATE", 0.0)
    assert len([*equal.refresh("equal", picture, None, VISIT, SILENT)]) > 3
    decoded = picture.encoding.work(decodes=1 + len(CURVE_QUALITIES))
    assert work.PIXELS_USED.used(VISIT.request.scope["visitor"]) == pytest.approx(decoded), (
        "scales that are not needed are free"
    )


def test_a_picture_that_is_too_long_for_a_codec(equal: EqualBytesTab, shown: Callable[[Pixels], CurrentResult]) -> None:
    with closing(equal.refresh("equal", shown(np.zeros((16_384, 1), np.uint8)), None, VISIT, SILENT)) as updates:
        _, first = next(updates), next(updates)
    assert 'WebP <small>method 6</small></th><td colspan="5">cannot make a file this small' in first[equal.figures]
    assert "AVIF <small>speed 6</small></th><td>" in first[equal.figures]


def test_ssimulacra2_follows_the_other_figures(
    equal: EqualBytesTab, shown: Callable[[Pixels], CurrentResult], smooth: Callable[[int, int, int], Pixels]
) -> None:
    pixels = smooth(40, 60, 0)[..., 0]
    _, first, second, *_ = equal.refresh("equal", shown(pixels), None, VISIT, SILENT)
    for table, measured in ((first[equal.figures], False), (second[equal.figures], True)):
        cells = re.findall(r"<td>([^<]*)</td></tr>", table)
        assert len(cells) == table.count("<tr><th scope") - 1 - table.count("colspan")
        assert [cell not in "–…" for cell in cells] == [measured] * len(cells)
    assert "JPEG XL <small>effort 7</small></th>" in first[equal.figures]


def test_avif_at_its_best_comes_last_and_goes_without_a_share(
    equal: EqualBytesTab,
    shown: Callable[[Pixels], CurrentResult],
    smooth: Callable[[int, int, int], Pixels],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def at_its_best(comparison: Comparison, progress: Progress) -> Comparison:
        assert all(math.isfinite(one.ssimulacra2) for one in comparison.results if one.pixels is not None)
        ours, *others = comparison.results
        return replace(comparison, results=(ours, *(replace(one, name=f"{one.name} at its best") for one in others)))

    def refuse(comparison: Comparison, progress: Progress) -> Comparison:
        raise ShareError("It takes too long.")

    picture = shown(smooth(60, 90, 0)[..., 0])
    monkeypatch.setattr(equal_bytes, "with_best_speed", at_its_best)
    _, first, *_, best, _ = equal.refresh("equal", picture, None, VISIT, SILENT)
    assert "AVIF <small>" in first[equal.figures]
    for place in (equal.figures, equal.status):
        assert "AVIF at its best" in best[place]
    monkeypatch.setattr(equal_bytes, "with_best_speed", refuse)
    *_, last = equal.measure_again(picture, VISIT, SILENT)
    assert last[equal.compared] == picture


def test_others_have_their_turns_between_two_measurements(
    equal: EqualBytesTab, shown: Callable[[Pixels], CurrentResult], smooth: Callable[[int, int, int], Pixels]
) -> None:
    picture = shown(smooth(60, 90, 0)[..., 0])
    *parts, _, _ = turns_between(equal.measure_again(picture, VISIT, SILENT))  # AVIF at its best follows at once
    assert len(parts) > len(CURVE_QUALITIES)
    assert all(parts)
    assert all(turns_between(add_refined(picture)))


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
    begun, *rest = equal.refresh("equal", picture, None, VISIT, SILENT)
    assert begun[equal.compared] is None
    assert rest == [{equal.status: gr.skip()}]
    assert finished == []


def test_the_two_pictures_that_are_there_are_shown_before_the_others(
    equal: EqualBytesTab, shown: Callable[[Pixels], CurrentResult], smooth: Callable[[int, int, int], Pixels]
) -> None:
    """Even before it is the turn of the comparison."""
    served = {"path": "original.png"}, {"path": "reconstruction.png"}
    picture = replace(shown(smooth(40, 60, 0)[..., 0]), original=served[0], reconstruction=served[1])
    with Work(visit("another")), closing(equal.refresh("equal", picture, None, VISIT, SILENT)) as updates:
        begun = next(updates)
    original, ours, *others, _ = begun[equal.table]["panes"]
    assert (original["name"], ours["name"]) == ("Original", OURS)
    assert (original["picture"], ours["picture"]) == served
    assert begun[equal.table]["size"] == [60, 40]
    assert [(pane["name"], pane["picture"]) for pane in others] == [(name, None) for name in CODECS]
    views = {view["name"]: view["panes"] for view in begun[equal.table]["views"]}
    assert views["In place"] == [0, 1], "the view that was chosen stays"
    assert {*views} == {"Pictures", "In place", "Errors"}


def test_a_comparison_that_ends_while_another_event_waits_is_shown_by_that_again(
    equal: EqualBytesTab,
    shown: Callable[[Pixels], CurrentResult],
    smooth: Callable[[int, int, int], Pixels],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which has taken the pictures of the codecs away before its turn."""
    picture, compared = shown(smooth(40, 60, 0)[..., 0]), dict[gr.State, CurrentResult]()
    monkeypatch.setattr(equal_bytes, "newest", lambda _, component, value: compared.get(component, value))
    waiting = equal.refresh("equal", picture, None, VISIT, SILENT)
    begun = next(waiting)
    *_, last = equal.refresh("equal", picture, None, VISIT, SILENT)
    compared[equal.compared] = last[equal.compared]
    again, *_ = waiting
    assert begun[equal.figures].count("<td>–") > again[equal.figures].count("<td>–")
    assert [pane["name"] for pane in again[equal.table]["panes"]][:7] == ["Original", OURS, *CODECS]
    assert all(pane["picture"] for pane in again[equal.table]["panes"][:2])


def test_no_list_of_a_light_table_gets_shorter_within_an_event(
    equal: EqualBytesTab, shown: Callable[[Pixels], CurrentResult], smooth: Callable[[int, int, int], Pixels]
) -> None:
    """Gradio would delete the wrong elements from those within other lists."""
    updates = equal.refresh("equal", shown(smooth(40, 60, 0)), None, VISIT, SILENT)
    with closing(updates):
        begun, first = next(updates)[equal.table], next(updates)[equal.table]
    missing = sum(pane["picture"] is None for pane in first["panes"])
    assert missing > 1, "choose a harder case"
    assert len(first["panes"]) >= len(begun["panes"])
    for before, after in zip(begun["views"], first["views"], strict=True):
        assert len(after["panes"]) >= len(before["panes"]), after["name"]


def test_the_verdict_is_about_rounded_figures() -> None:
    pixels = np.zeros((8, 8), np.uint8)
    figures = {"Residae": 33.331, "JPEG": 30.0, "WebP": 33.329, "AVIF": math.inf, "JPEG 2000": 33.341}
    results = [CodecResult(name, pixels, 900, psnr) for name, psnr in figures.items()]
    results[1] = CodecResult("JPEG", None)
    assert verdict(Comparison(pixels, tuple(results))) == (
        "<p>At 900 bytes, this network reaches 33.33 dB. WebP scores the same. AVIF and JPEG 2000 score higher. "
        "JPEG cannot make a file this small.</p>"
    )
