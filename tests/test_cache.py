"""What is kept, what is opened again, and who goes first while the page warms up."""

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from residae.errors import ImageError
from residae.pipeline import Pipeline, Reconstruction
from residae.ui import cache, store, viewer
from residae.ui.cache import (
    CPU_SIDE,
    EXAMPLES,
    FULL_SIZE,
    Settings,
    default_side,
    open_at_size,
    reconstruct,
    warm_up,
)
from residae.ui.store import RecentlyUsed


def test_a_small_picture_is_opened_once(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (60, 40)).save(path)
    small = open_at_size(str(path), 30)
    assert small.pixels.shape == (20, 30)
    open_at_size(str(path), FULL_SIZE)
    path.unlink()
    assert open_at_size(str(path), 30) is small
    with pytest.raises(ImageError):
        open_at_size(str(path), FULL_SIZE)  # it may be large, and is not kept


def test_the_log_has_the_traceback_of_a_refusal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "damaged.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    with pytest.raises(ImageError) as caught:
        open_at_size(str(path), FULL_SIZE)
    assert "Traceback" not in str(caught.value)
    assert "in open_picture" in caplog.text


@pytest.fixture
def nothing_kept(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches of the test's own, and the tiny network."""
    monkeypatch.setattr(store, "_open_pipeline", lambda _: pipeline)
    for name, size in (("REPORTS", 10**7), ("ENCODINGS", 10**6), ("SHORTEST", 100)):
        monkeypatch.setattr(cache, name, RecentlyUsed(size))


@pytest.mark.usefixtures("nothing_kept")
def test_a_result_is_computed_once_and_its_encoding_serves_every_rate() -> None:
    def report(**given: Any) -> Reconstruction:
        return reconstruct(Settings(EXAMPLES[0], "tiny", side=48, **given), None)

    first = report(quality=10)
    assert report(quality=10) is first
    assert report(quality=20).encoding is report(quality=None).encoding is report(quality=None, max_bytes=999).encoding
    chosen = report(scale="auto", quality=None, max_bytes=300)
    assert report(scale="auto", quality=None, max_bytes=301).encoding is not chosen.encoding
    assert report(scale=chosen.encoding.scale, quality=50).encoding is not first.encoding


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize(("width", "same"), [(60, True), (CPU_SIDE + 16, False)])
@pytest.mark.parametrize("first", [CPU_SIDE, FULL_SIZE])
def test_a_picture_that_is_small_enough_is_computed_once_for_both_working_sizes(
    width: int, same: bool, first: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (width, 40)).save(path)
    settings = Settings(str(path), "tiny", side=first)
    other = replace(settings, side=FULL_SIZE if first == CPU_SIDE else CPU_SIDE)
    report = reconstruct(settings, None)
    assert (reconstruct(other, None) is report) == same
    assert (reconstruct(replace(other, quality=30), None).encoding is report.encoding) == same


def test_an_original_is_compressed_once_as_long_as_its_file_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "ORIGINALS", RecentlyUsed(10))
    written = []
    write = viewer.write_png
    monkeypatch.setattr(viewer, "write_png", lambda *args, **kwargs: written.append(args) or write(*args, **kwargs))
    gray, other = np.zeros((20, 30), np.uint8), np.zeros((30, 20), np.uint8)
    first, again = (viewer.original_pane(pixels)["picture"] for pixels in (gray, gray.copy()))
    assert len(written) == 1
    assert first == again
    assert viewer.original_pane(other)["picture"] != first
    Path(first["path"]).unlink()
    assert viewer.original_pane(gray)["picture"] == first
    assert Path(first["path"]).exists()
    assert len(written) == 3


def test_what_was_not_used_for_longest_is_dropped() -> None:
    kept: RecentlyUsed[str, str] = RecentlyUsed(10)
    a, b, c = "abc"
    kept.keep(a, "a", 4)
    kept.keep(b, "b", 4)
    assert kept.get(a) == "a"
    kept.keep(c, "c", 6)
    assert [kept.get(key) for key in (a, b, c)] == ["a", None, "c"]
    kept.keep(c, "again", 3)  # takes the place of the one before
    kept.keep(b, "b", 3)
    assert [kept.get(key) for key in (a, b, c)] == ["a", "b", "again"]
    kept.keep("large", "large", 11)
    assert [kept.get(key) for key in (a, b, c)] == ["a", "b", "again"]


def run_in_a_thread() -> None:
    thread = threading.Thread(target=warm_up)
    thread.start()
    thread.join()


@pytest.mark.usefixtures("nothing_kept")
def test_a_result_is_shown_with_the_shortest_time_of_the_same_work(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While other work goes on, it takes many times as long, which is no property of the network."""
    seconds = {"encode": 100.0, "decode": 200.0}

    def timed(name: str) -> Any:
        operation = getattr(pipeline, name)
        return lambda *given, **named: replace(operation(*given, **named), seconds=seconds[name])

    for name in seconds:
        monkeypatch.setattr(pipeline, name, timed(name))

    def times(path: str, **given: Any) -> tuple[float, float]:
        report = reconstruct(Settings(path, "tiny", side=48, **given), None)
        return report.encoding.seconds, report.decoding.seconds

    assert times(EXAMPLES[1]) == (100, 200)
    seconds["decode"] = 2.0
    assert times(EXAMPLES[1], quality=10) == (100, 2)
    assert times(EXAMPLES[1]) == (100, 2)  # of the result that is kept
    seconds["encode"], seconds["decode"] = 1.0, 300.0
    assert times(EXAMPLES[2]) == (1, 2)
    assert times(EXAMPLES[1], quality=20) == (1, 2)
    assert times(EXAMPLES[1], color=False) == (1, 300)  # another amount of work


@pytest.mark.usefixtures("nothing_kept")
def test_a_visitor_waits_for_the_result_that_the_warm_up_makes(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would take twice as long beside each other."""
    monkeypatch.setattr(cache, "EXAMPLES", EXAMPLES[:1])
    monkeypatch.setattr(cache, "default_side", lambda _: 48)
    begun, go_on, encodings = threading.Event(), threading.Event(), []
    encode = pipeline.encode

    def slow(*given: Any) -> Any:
        encodings.append(begun.set())
        go_on.wait(60)
        return encode(*given)

    monkeypatch.setattr(pipeline, "encode", slow)
    settings = Settings(EXAMPLES[0], store.default_checkpoint(), side=48)
    warming, results = threading.Thread(target=warm_up), []
    visiting = threading.Thread(target=lambda: results.append(reconstruct(settings, None)))
    warming.start()
    assert begun.wait(60)
    visiting.start()
    visiting.join(2 * cache.POLL_SECONDS)
    assert not results
    go_on.set()
    for thread in (warming, visiting):
        thread.join(60)
    assert results == [cache.kept_report(settings)]
    assert len(encodings) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has no priority of its own here")
def test_visitors_go_before_the_warm_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processors are few and slow, the example reports would keep the first visitor waiting twice as long.

    The first one is what that visitor waits for. At the lowest priority, its time would be that of all else.
    """
    before, seen = os.nice(0), []
    examples = tuple(str(tmp_path / f"{number}.png") for number in range(3))  # that nobody has opened before
    for path in examples:
        Image.new("RGB", (60, 40)).save(path)
    monkeypatch.setattr(cache, "EXAMPLES", examples)
    monkeypatch.setattr(cache, "_reconstruct", lambda settings, _: seen.append((settings.path, os.nice(0))))
    monkeypatch.setattr(cache, "_keep_report", lambda *_: None)
    monkeypatch.setattr(cache, "default_side", lambda _: CPU_SIDE)
    run_in_a_thread()
    assert seen == [*zip(examples, (before, 19, 19), strict=True)]
    assert os.nice(0) == before
    decoders = psutil.Process().children()
    assert decoders
    assert {process.nice() for process in decoders} == {before}  # one will open a visitor's picture


@pytest.mark.parametrize("on_gpu", [False, True])
def test_the_warm_up_prepares_what_a_visit_starts_with(on_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(cache, "_reconstruct", lambda wanted, _: asked.append((wanted.path, wanted.side)))
    monkeypatch.setattr(cache, "_keep_report", lambda *_: None)
    pipeline = SimpleNamespace(engine=SimpleNamespace(on_gpu=on_gpu))
    monkeypatch.setattr(store, "_open_pipeline", lambda _: pipeline)
    run_in_a_thread()
    name = store.default_checkpoint()
    assert asked[0] == (EXAMPLES[0], default_side(name))
    assert {side for _, side in asked} == {FULL_SIZE if on_gpu else CPU_SIDE}
