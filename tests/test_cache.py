"""What is kept, what is opened again, and who goes first while the page warms up."""

import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from PIL import Image

from residae.errors import ImageError
from residae.pipeline import Pipeline, Reconstruction
from residae.ui import cache, store
from residae.ui.cache import (
    CPU_SIDE,
    EXAMPLES,
    FULL_SIZE,
    RecentlyUsed,
    Settings,
    default_side,
    open_at_size,
    reconstruct,
    warm_up,
)


def test_a_small_picture_is_opened_once(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (60, 40)).save(path)
    small = open_at_size(str(path), 30)
    assert small.pixels.shape == (20, 30, 3)
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


def test_a_result_is_computed_once_and_its_encoding_serves_every_rate(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_open_pipeline", lambda _: pipeline)
    monkeypatch.setattr(cache, "REPORTS", RecentlyUsed(10**7))
    monkeypatch.setattr(cache, "ENCODINGS", RecentlyUsed(10**6))

    def report(**given: Any) -> Reconstruction:
        return reconstruct(Settings(EXAMPLES[0], "tiny", side=48, **given), None)

    first = report(quality=10)
    assert report(quality=10) is first
    assert report(quality=20).encoding is report(quality=None).encoding is report(quality=None, max_bytes=999).encoding
    chosen = report(scale="auto", quality=None, max_bytes=300)
    assert report(scale="auto", quality=None, max_bytes=301).encoding is not chosen.encoding
    assert report(scale=chosen.encoding.scale, quality=50).encoding is not first.encoding


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


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has no priority of its own here")
def test_visitors_go_before_the_warm_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processors are few and slow, the example reports would keep the first visitor waiting twice as long."""
    before, seen = os.nice(0), []
    examples = tuple(str(tmp_path / f"{number}.png") for number in range(2))  # that nobody has opened before
    for path in examples:
        Image.new("RGB", (60, 40)).save(path)
    monkeypatch.setattr(cache, "EXAMPLES", examples)
    monkeypatch.setattr(cache, "reconstruct", lambda settings, _: seen.append((settings.path, os.nice(0))))
    monkeypatch.setattr(cache, "default_side", lambda _: CPU_SIDE)
    run_in_a_thread()
    assert seen == [(path, 19) for path in examples]
    assert os.nice(0) == before
    decoders = psutil.Process().children()
    assert decoders
    assert {process.nice() for process in decoders} == {before}  # one will open a visitor's picture


@pytest.mark.parametrize("on_gpu", [False, True])
def test_the_warm_up_prepares_what_a_visit_starts_with(on_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(cache, "reconstruct", lambda wanted, _: asked.append((wanted.path, wanted.side)))
    pipeline = SimpleNamespace(engine=SimpleNamespace(on_gpu=on_gpu))
    monkeypatch.setattr(store, "_open_pipeline", lambda _: pipeline)
    run_in_a_thread()
    name = store.default_checkpoint()
    assert asked[0] == (EXAMPLES[0], default_side(name))
    assert {side for _, side in asked} == {FULL_SIZE if on_gpu else CPU_SIDE}
