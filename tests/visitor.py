"""What Gradio hands to a handler of the page, without Gradio."""

from types import SimpleNamespace
from typing import Any

VISIT: Any = SimpleNamespace(session_hash="a visit")


def silent(share: float, desc: str) -> None:
    """In the place of `gr.Progress`."""


SILENT: Any = silent
