"""Components that several tabs use, and options that their events share."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from residae.ui import static
from residae.ui.cache import EXAMPLES
from residae.ui.text import alert, dismissible
from residae.ui.work import cancel

NumberT = TypeVar("NumberT", gr.Slider, gr.Number)

# Gradio lets these start at once, and each waits for its turn in `Work`: Gradio's own queue is not fair.
NETWORK_EVENT: dict[str, Any] = {"concurrency_limit": None, "api_visibility": "private"}
QUICK_EVENT: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
EACH_EVENT = QUICK_EVENT | {"trigger_mode": "multiple"}  # each press counts, also before the one before is answered


def slider(minimum: float, maximum: float, **options: Any) -> gr.Slider:
    """A slider whose number can be typed over, as that of `number_field`.

    Args:
        minimum: The value at the left end.
        maximum: The value at the right end.
        **options: Further arguments of `gr.Slider`, such as `step` and `label`.
    """
    return _clipped(gr.Slider(minimum, maximum, **options), minimum, maximum)


def number_field(minimum: float, maximum: float, **options: Any) -> gr.Number:
    """A field in which a number out of bounds counts as the nearer bound, and none as the lower.

    Gradio would raise an error, in each event that sends the field along.

    Args:
        minimum: The lower bound.
        maximum: The upper bound.
        **options: Further arguments of `gr.Number`, such as `step` and `label`.
    """
    return _clipped(gr.Number(minimum=minimum, maximum=maximum, **options), minimum, maximum)


def _clipped(component: NumberT, minimum: float, maximum: float) -> NumberT:
    """The component, whose value is within these bounds. For a subclass, Gradio would write a .pyi file."""
    preprocess = component.preprocess

    def clip(payload: float | None) -> float | None:
        return preprocess(minimum if payload is None else min(max(payload, minimum), maximum))

    component.preprocess = clip  # type: ignore[method-assign, assignment]
    return component


def segments(choices: Sequence[tuple[str, Any]], value: Any, label: str, elem_id: str, **options: Any) -> gr.Radio:
    """A choice of one, as segments in a row.

    Args:
        choices: (text, value) of each segment.
        value: The value that is chosen at first.
        label: The heading above the row.
        elem_id: The id in the page, by which style sheets and scripts find it.
        **options: Further arguments of `gr.Radio`.
    """
    return gr.Radio([*choices], value=value, label=label, elem_id=elem_id, elem_classes=["segments"], **options)


def status_line(elem_id: str, value: str = "") -> gr.HTML:
    """The line in which a tab shows progress, results and errors, with a button that stops the work.

    Args:
        elem_id: The id of the line in the page.
        value: HTML that it shows at first.

    Returns:
        The line, without the button.
    """
    with gr.Row(elem_classes=["work"], equal_height=False):
        script, classes = show_refusals(alert("{}")), ["status"]
        status = gr.HTML(value, js_on_load=script, elem_id=elem_id, elem_classes=classes, apply_default_css=False)
        stop_button()
    return status


def stop_button() -> None:
    """A button that stops the work of the session. The page shows it while there is progress beside it."""
    gr.Button("Stop", size="sm", min_width=64, scale=0, elem_classes=["stop"]).click(cancel, **QUICK_EVENT)


def show_refusals(shown: str) -> str:
    """A script by which a component shows why `drop.js` refuses a file that was to be uploaded.

    Args:
        shown: The value that it has then, with {} for the sentence.
    """
    return f"""
    document.addEventListener("residae-refused", ({{ detail }}) => {{
      if (element.closest(detail.place)) props.value = {json.dumps(shown)}.replace("{{}}", () => detail.sentence);
    }});"""


def alert_bar(elem_id: str, of_result: bool = True) -> gr.HTML:
    """The place for an error of what was chosen, below what was chosen and over the controls that follow.

    It is empty, or has the value of `residae.ui.text.dismissible`, to which the page is scrolled where it is not seen.

    Args:
        elem_id: The id in the page.
        of_result: Whether its errors are of a result that the Overview was to show, which other scripts wait for.
    """
    dispatch = 'document.dispatchEvent(new CustomEvent("residae-alert", { detail }));' if of_result else ""
    script = f"""
    element.onclick = (event) => {{ if (event.target.closest("button")) props.value = ""; }};
    watch("value", () => {{
      const detail = element.querySelector("[role=alert]")?.textContent;
      if (!detail) return;
      element.querySelector(".alert").scrollIntoView({{ block: "nearest" }});
      {dispatch}
    }});""" + show_refusals(dismissible("{}"))
    return gr.HTML("", js_on_load=script, elem_id=elem_id, elem_classes=["alert-bar"], apply_default_css=False)


def example_gallery(label: str, caption: str, elem_id: str, selected: int | None = None) -> gr.Gallery:
    """The example pictures in a row, to choose one from.

    Args:
        label: A name for the row, which is not shown.
        caption: The text at each picture, with {} for the picture's name.
        elem_id: The id in the page.
        selected: Index of the picture that is selected at first; None for none.
    """
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


def scripted_card(template: str, script: str, elem_id: str) -> gr.HTML:
    """A card whose content a script of `static/` draws from its value, by this template.

    Args:
        template: HTML with the places that the script fills.
        script: Name of a file in `static/`, which may use what those of the page declare.
        elem_id: The id in the page.
    """
    return gr.HTML(
        html_template=template,
        js_on_load=static.read(script),
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes=["card"],
    )
