"""Components that several tabs use."""

from pathlib import Path
from typing import Any

import gradio as gr

from residae.ui.cache import EXAMPLES
from residae.ui.work import cancel

MODEL: dict[str, Any] = {"concurrency_id": "model", "api_visibility": "private"}  # one piece of work at a time
PLAIN: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def slider(low: float, high: float, **options: Any) -> gr.Slider:
    """One beside which a number may be typed that is beyond its ends: the nearer end counts, where Gradio fails."""
    made = gr.Slider(low, high, **options)  # not of a class of ours, beside whose file Gradio would write a .pyi
    within = made.preprocess
    made.preprocess = lambda payload: within(min(max(payload, low), high))  # type: ignore[method-assign]
    return made


def work_line(name: str) -> gr.HTML:
    """Where a tab says what it does, how long it will take, what came out and what went wrong; and how to stop it."""
    with gr.Row(elem_classes=["work"], equal_height=False):
        status = gr.HTML(elem_id=name, elem_classes=["status"], apply_default_css=False)
        button = gr.Button("Stop", size="sm", min_width=64, scale=0, elem_classes=["stop"])
    button.click(cancel, **PLAIN)
    return status


def our_pictures(label: str, caption: str, elem_id: str, selected: int | None = None) -> gr.Gallery:
    """The example pictures in a row, to choose one by a click. `caption` has {} for a picture's name."""
    return gr.Gallery(
        [(path, caption.format(Path(path).stem).capitalize()) for path in EXAMPLES],
        label=label,
        show_label=False,
        columns=5,
        height=62,
        object_fit="cover",
        allow_preview=False,
        buttons=[],
        elem_id=elem_id,
        selected_index=selected,
    )
