"""What ends a piece of work early, and what the page is told about its progress."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from visitor import SILENT, VISIT

from residae.errors import ResidaeError
from residae.ui import work
from residae.ui.work import (
    Cancelled,
    Priority,
    Superseded,
    Updates,
    cancel,
    progress_reporter,
    report_errors,
    supersede,
    supersede_background,
    supersede_requested,
)

ANOTHER: Any = SimpleNamespace(session_hash="another")


def test_another_quality_ends_work_on_the_same_picture() -> None:
    report = progress_reporter(SILENT, VISIT)
    supersede_requested(VISIT)
    with pytest.raises(Superseded):
        report(0.5)


def test_another_quality_does_not_end_work_on_a_new_picture() -> None:
    """Otherwise the picture before would be shown at that quality, and the new one never."""
    report = progress_reporter(SILENT, VISIT, priority=Priority.NEW_PICTURE)
    supersede_requested(VISIT)
    report(0.5)
    supersede(VISIT)
    with pytest.raises(Superseded):
        report(0.6)


@pytest.mark.parametrize("priority", Priority)
def test_only_background_work_ends_for_a_file(priority: Priority) -> None:
    report = progress_reporter(SILENT, VISIT, priority=priority)
    supersede_background(VISIT)
    if priority == Priority.BACKGROUND:
        with pytest.raises(Superseded):
            report(0.5)
    else:
        report(0.5)


def test_cancelled_work_is_not_taken_for_superseded_work() -> None:
    for ends in ((cancel, supersede), (supersede, cancel)):
        report = progress_reporter(SILENT, VISIT)
        for end in ends:
            end(VISIT)
        with pytest.raises(Cancelled):
            report(0.5)


def test_visitors_do_not_end_each_others_work() -> None:
    report = progress_reporter(SILENT, VISIT)
    for end in (supersede, supersede_requested, supersede_background, cancel):
        end(ANOTHER)
    report(0.5)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Its attribute `now` is the time in seconds."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(work, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_progress_is_reported_a_few_times_a_second(clock: SimpleNamespace) -> None:
    """Not for each layer, which would keep the browser busy."""
    shares: list[float] = []
    progress: Any = lambda share, desc: shares.append(share)  # noqa: E731
    report = progress_reporter(progress, VISIT)
    for step in range(1, 101):
        clock.now = step / 100
        report(step / 100)
    assert 3 <= len(shares) <= 5
    assert shares == sorted(shares)


def test_the_remaining_time_is_estimated_after_a_while(clock: SimpleNamespace) -> None:
    messages: list[str | None] = []
    progress: Any = lambda share, desc: messages.append(desc)  # noqa: E731
    plain, doing = progress_reporter(progress, VISIT), progress_reporter(progress, ANOTHER, "Decoding.")
    for report in (plain, doing):
        for clock.now, share in ((1, 0.01), (10, 0.5), (1000, 0.75)):
            report(share)
        clock.now = 0
    assert messages[:3] == [None, "About 10 s left", "About 6 minutes left"]
    assert messages[3:] == ["Decoding.", "Decoding. About 10 s left", "Decoding. About 6 minutes left"]


@pytest.mark.parametrize("end", [Superseded(), Cancelled(), None, ResidaeError("1 < 2")])
@pytest.mark.parametrize("before", [0, 1])
def test_errors_are_shown_and_all_else_leaves_the_page_as_it_is(end: Exception | None, before: int) -> None:
    with gr.Blocks():
        place, other = gr.HTML(), gr.HTML()

    def updates() -> Iterator[Updates]:
        yield from [{other: "done"}] * before
        if end:
            raise end

    *first, last = report_errors(place, updates())
    if isinstance(end, ResidaeError):
        assert last == {place: '<p class="alert" role="alert">1 &lt; 2</p>'}
    elif end or not before:
        assert last == {place: gr.skip()}  # Gradio empties the outputs of a handler that yields nothing
    else:
        first = [last]
    assert first == [{other: "done"}] * before
