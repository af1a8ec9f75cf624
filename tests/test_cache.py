"""What is kept, what is opened again, and who goes first while the page warms up."""

import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from PIL import Image

from residae.errors import ImageError
from residae.pipeline import Pipeline
from residae.ui import cache, store
from residae.ui.cache import CPU_SIDE, EXAMPLES, FULL_SIZE, default_side, open_at_size, reconstruct, warm_up

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_reports_on_examples_are_kept_the_last_used_ones(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_open_pipeline", lambda _: pipeline)
    monkeypatch.setattr(cache, "MAX_EXAMPLE_REPORTS", 2)
    monkeypatch.setattr(cache, "EXAMPLE_REPORTS", {})

    def report(quality: float) -> object:
        return reconstruct(EXAMPLES[0], "tiny", False, 32, quality, None)

    first, second = report(10), report(20)
    assert report(10) is first
    report(30)
    assert report(10) is first
    assert report(20) is not second


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
    monkeypatch.setattr(cache, "reconstruct", lambda path, *_: seen.append((path, os.nice(0))))
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
    monkeypatch.setattr(cache, "reconstruct", lambda path, checkpoint, color, side, *_: asked.append((path, side)))
    pipeline = SimpleNamespace(engine=SimpleNamespace(on_gpu=on_gpu))
    monkeypatch.setattr(store, "_open_pipeline", lambda _: pipeline)
    run_in_a_thread()
    name = store.default_checkpoint()
    assert asked[0] == (EXAMPLES[0], default_side(name))
    assert {side for _, side in asked} == {FULL_SIZE if on_gpu else CPU_SIDE}
