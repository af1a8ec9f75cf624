"""Arguments that Gradio passes to the handlers of the page, for calling a handler directly."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from residae.ui import budget, work
from residae.ui.turns import Visitor

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
