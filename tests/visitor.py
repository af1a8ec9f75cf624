"""Arguments that Gradio passes to the handlers of the page, for calling a handler directly."""

import math
from types import SimpleNamespace
from typing import Any

from residae.ui import work
from residae.ui.turns import Visitor

work.PATIENCE = math.inf  # nobody listens to a handler that a test calls


def visit(name: str) -> Any:
    """The request of a visitor."""
    return SimpleNamespace(session_hash=name, request=SimpleNamespace(scope={"visitor": Visitor("here", name)}))


VISIT = visit("a visit")


def silent(share: float, desc: str) -> None:
    """Take the place of `gr.Progress` and show nothing."""


SILENT: Any = silent
