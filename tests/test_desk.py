"""What stops for what, what is opened again, and what goes first."""

import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from PIL import Image
from visitor import SILENT, VISIT

from residae.errors import ImageError
from residae.ui import desk
from residae.ui.components import slider
from residae.ui.controls import first_visit
from residae.ui.desk import (
    EXAMPLES,
    GivenUp,
    Stopped,
    give_up,
    open_fitted,
    stop,
    stop_beside,
    stop_for_rate,
    told,
    warm_up,
)

ANOTHER: Any = SimpleNamespace(session_hash="another")


def test_another_rate_stops_work_on_the_same_picture() -> None:
    tell = told(SILENT, VISIT)
    stop_for_rate(VISIT)
    with pytest.raises(Stopped):
        tell(0.5)


def test_a_new_picture_is_not_given_up_for_another_rate() -> None:
    """Else the rate of the picture before would change, and the new one never be seen."""
    tell = told(SILENT, VISIT, rank=desk.PICTURE)
    stop_for_rate(VISIT)
    tell(0.5)
    stop(VISIT)
    with pytest.raises(Stopped):
        tell(0.6)


def test_only_what_begins_anew_gives_way_to_a_file() -> None:
    for rank in (desk.ASKED, desk.PICTURE):
        tell = told(SILENT, VISIT, rank=rank)
        stop_beside(VISIT)
        tell(0.5)
    tell = told(SILENT, VISIT, rank=desk.BESIDE)
    stop_beside(VISIT)
    with pytest.raises(Stopped):
        tell(0.5)


def test_what_is_given_up_is_told_from_what_gives_way() -> None:
    tell = told(SILENT, VISIT)
    give_up(VISIT)
    stop(VISIT)
    with pytest.raises(GivenUp):
        tell(0.5)


def test_visitors_do_not_stop_each_other() -> None:
    tell = told(SILENT, VISIT)
    for end in (stop, stop_for_rate, stop_beside, give_up):
        end(ANOTHER)
    tell(0.5)


def test_progress_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each layer: the browser would be kept busy by it."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(desk, "time", SimpleNamespace(monotonic=lambda: clock.now))
    shares: list[float] = []
    progress: Any = lambda share, desc: shares.append(share)  # noqa: E731
    tell = told(progress, VISIT)
    for step in range(1, 101):
        clock.now = step / 100
        tell(step / 100)
    assert 3 <= len(shares) <= 5
    assert shares == sorted(shares)


def test_the_time_is_told_once_it_can_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(desk, "time", SimpleNamespace(monotonic=lambda: clock.now))
    said: list[str | None] = []
    progress: Any = lambda share, desc: said.append(desc)  # noqa: E731
    plain, doing = told(progress, VISIT), told(progress, ANOTHER, "Decoding.")
    for tell in (plain, doing):
        for clock.now, share in ((1, 0.01), (10, 0.5), (1000, 0.75)):
            tell(share)
        clock.now = 0
    assert said[:3] == [None, "About 10 s left", "About 6 minutes left"]
    assert said[3:] == ["Decoding.", "Decoding. About 10 s left", "Decoding. About 6 minutes left"]


def test_a_small_picture_is_opened_once(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (60, 40)).save(path)
    small = open_fitted(str(path), 30)
    assert small.pixels.shape == (20, 30, 3)
    open_fitted(str(path), 0)
    path.unlink()
    assert open_fitted(str(path), 30) is small
    with pytest.raises(ImageError):
        open_fitted(str(path), 0)  # it may be large: not kept


def test_visitors_go_before_what_is_got_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processors are few and slow, our own pictures would keep the first visitor waiting twice as long."""
    if sys.platform != "linux":
        pytest.skip("a thread has no priority of its own here")
    before, seen = os.nice(0), []

    def reconstruct(path: str, checkpoint: str, color: bool, side: int, *_: object) -> None:
        open_fitted(path, side)
        seen.append((path, os.nice(0)))

    monkeypatch.setattr(desk, "reconstruct", reconstruct)
    monkeypatch.setattr(desk, "usual_side", lambda checkpoint: desk.CPU_SIDE)
    desk._open_once.cache_clear()
    thread = threading.Thread(target=warm_up)
    thread.start()
    thread.join()
    assert seen == [(path, 19) for path in EXAMPLES]
    assert os.nice(0) == before
    assert desk.DECODER._spare
    assert psutil.Process(desk.DECODER._spare.pid).nice() == before  # it will open a visitor's picture


@pytest.mark.parametrize("on_gpu", [False, True])
def test_what_is_got_ready_is_what_a_visit_begins_with(on_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(desk, "reconstruct", lambda path, checkpoint, color, side, *_: asked.append((path, side)))
    monkeypatch.setattr(desk, "get_pipeline", lambda _: SimpleNamespace(engine=SimpleNamespace(on_gpu=on_gpu)))
    thread = threading.Thread(target=warm_up)
    thread.start()
    thread.join()
    assert asked[0] == first_visit(desk.default_checkpoint())
    assert len({side for _, side in asked}) == 1


@pytest.mark.parametrize(("typed", "counts"), [(150, 100), (-3, 0), (40, 40)])
def test_a_number_beyond_the_ends_of_a_slider_is_the_nearer_end(typed: float, counts: float) -> None:
    assert slider(0, 100).preprocess(typed) == counts
