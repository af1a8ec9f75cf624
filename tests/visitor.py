"""Handlers of the page, called directly, and the arguments that Gradio passes to them."""

import math
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from residae.ui import budget, work
from residae.ui.controls import QUALITY, Controls
from residae.ui.state import CurrentResult
from residae.ui.tabs.equal_bytes import Curves, EqualBytesTab
from residae.ui.tabs.overview import OverviewTab
from residae.ui.turns import Visitor
from residae.ui.work import Updates

work.PATIENCE = math.inf  # nobody listens to a handler that a test calls


def visit(name: str) -> Any:
    """The request of a visitor."""
    return SimpleNamespace(session_hash=name, request=SimpleNamespace(scope={"visitor": Visitor("here", name)}))


VISIT = visit("a visit")


def use_up(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the page have limits, and a visitor have used all of a share."""
    monkeypatch.setenv(budget.VARIABLE, "60")
    monkeypatch.setattr(work, "SECONDS_USED", budget.Account())
    work.SECONDS_USED.add(request.request.scope["visitor"], 60 * budget.REQUESTS_PER_WINDOW)


def silent(share: float, desc: str) -> None:
    """Take the place of `gr.Progress` and show nothing."""


SILENT: Any = silent


def turns_between(updates: Iterator[Updates]) -> list[bool]:
    """Whether another visitor, who asks for a turn when an update is there, has it before the next one is."""

    def ask(asked: threading.Event, had: threading.Event) -> None:
        with work.TURNS.turn(Visitor("there"), lambda ahead: asked.set()):
            had.set()
        asked.set()

    turns: list[bool] = []
    had = threading.Event()
    for _ in updates:
        turns.append(had.is_set())
        asked, had = threading.Event(), threading.Event()
        threading.Thread(target=ask, args=(asked, had)).start()
        asked.wait(10)
    return turns[1:]


STEPS = 100  # of a refinement


def refine(current: CurrentResult) -> Iterator[Updates]:
    """Press Start in the box Refine."""
    with gr.Blocks():
        tab = OverviewTab(gr.HTML(), gr.State(), Controls())
    return tab.refine(current, 1, QUALITY, 80, 10, STEPS, VISIT, SILENT)


def compare(current: CurrentResult) -> Iterator[Updates]:
    """Open the tab Equal bytes."""
    with gr.Blocks():
        tab = EqualBytesTab(gr.State(), gr.State())
    return tab.refresh("equal", current, None, VISIT, SILENT)


def add_refined(current: CurrentResult) -> Iterator[Updates]:
    """Press Add refined curve in the tab Equal bytes."""
    with gr.Blocks():
        tab = EqualBytesTab(gr.State(), gr.State())
    return tab.add_refined(current, Curves(current, {}), VISIT, SILENT)
