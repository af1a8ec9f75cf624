"""What ends a piece of work early, and what the page is told about its progress."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from visitor import SILENT, VISIT, visit

from residae.errors import ResidaeError
from residae.ui import work
from residae.ui.turns import Turns
from residae.ui.work import (
    Cancelled,
    Priority,
    Superseded,
    Updates,
    Work,
    cancel,
    report_errors,
    supersede,
    supersede_background,
    supersede_requested,
)

ANOTHER = visit("another")


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Work]]:
    """Begins a piece of work, in front of a model of its own, and ends it after the test."""
    with ExitStack() as works:

        def begin(request: Any = VISIT, progress: Any = SILENT, **options: Any) -> Work:
            monkeypatch.setattr(work, "TURNS", Turns())
            return works.enter_context(Work(request, progress, **options))

        yield begin


Begin = Callable[..., Work]


def test_another_quality_ends_work_on_the_same_picture(begin: Begin) -> None:
    report = begin()
    supersede_requested(VISIT)
    with pytest.raises(Superseded):
        report(0.5)


def test_another_quality_does_not_end_work_on_a_new_picture(begin: Begin) -> None:
    """Otherwise the picture before would be shown at that quality, and the new one never."""
    report = begin(priority=Priority.NEW_PICTURE)
    supersede_requested(VISIT)
    report(0.5)
    supersede(VISIT)
    with pytest.raises(Superseded):
        report(0.6)


@pytest.mark.parametrize("priority", Priority)
def test_only_background_work_ends_for_a_file(begin: Begin, priority: Priority) -> None:
    report = begin(priority=priority)
    supersede_background(VISIT)
    if priority == Priority.BACKGROUND:
        with pytest.raises(Superseded):
            report(0.5)
    else:
        report(0.5)


def test_cancelled_work_is_not_taken_for_superseded_work(begin: Begin) -> None:
    for ends in ((cancel, supersede), (supersede, cancel)):
        report = begin()
        for end in ends:
            end(VISIT)
        with pytest.raises(Cancelled):
            report(0.5)


def test_visitors_do_not_end_each_others_work(begin: Begin) -> None:
    report = begin()
    for end in (supersede, supersede_requested, supersede_background, cancel):
        end(ANOTHER)
    report(0.5)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Its attribute `now` is the time in seconds."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(work, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(work, "PATIENCE", math.inf)  # nobody listens to work in these tests
    return clock


def test_progress_is_reported_a_few_times_a_second(begin: Begin, clock: SimpleNamespace) -> None:
    """Not for each layer, which would keep the browser busy."""
    shares: list[float] = []
    progress: Any = lambda share, desc: shares.append(share)  # noqa: E731
    report = begin(VISIT, progress)
    for step in range(1, 101):
        clock.now = step / 100
        report(step / 100)
    assert 3 <= len(shares) <= 5
    assert shares == sorted(shares)


def test_the_remaining_time_is_estimated_after_a_while(begin: Begin, clock: SimpleNamespace) -> None:
    messages: list[str | None] = []
    progress: Any = lambda share, desc: messages.append(desc)  # noqa: E731
    plain, doing = begin(VISIT, progress), begin(ANOTHER, progress, doing="Decoding.")
    for report in (plain, doing):
        for clock.now, share in ((1, 0.01), (10, 0.5), (1000, 0.75)):
            report(share)
        clock.now = 0
    assert messages[:3] == [None, "About 10 s left.", "About 6 minutes left."]
    assert messages[3:] == ["Decoding.", "Decoding. About 10 s left.", "Decoding. About 6 minutes left."]
    clock.now = 2000
    doing(0.9999)
    assert messages[-1] == "Decoding.", "it would be over when it is read"


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
