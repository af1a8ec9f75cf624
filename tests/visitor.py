"""Arguments that Gradio passes to the handlers of the page, for calling a handler directly."""

from types import SimpleNamespace
from typing import Any

VISIT: Any = SimpleNamespace(session_hash="a visit")


def silent(share: float, desc: str) -> None:
    """Take the place of `gr.Progress` and show nothing."""


SILENT: Any = silent
