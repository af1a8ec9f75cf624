"""Components that several tabs use."""

from collections.abc import Sequence
from typing import Any

import gradio as gr


def picture(name: str, label: str, alt_text: str, buttons: Sequence[Any] = ("fullscreen",)) -> gr.Image:
    """A picture that is only shown, without loss."""
    return gr.Image(label=label, alt_text=alt_text, buttons=[*buttons], format="png", interactive=False, elem_id=name)
