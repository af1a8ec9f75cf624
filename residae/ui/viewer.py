"""The light table: any number of pictures of one size under one zoom, beside each other or under a divider.

A custom component of HTML and the script `viewer.js`. Its value is made by `table`, out of panes and of views on them.
"""

import html
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio as gr

from residae import charts, heatmaps
from residae.image import Pixels, write_png
from residae.pipeline import Reconstruction
from residae.ui import static
from residae.ui.store import save_result

SCRIPT = static.read("viewer.js")
TEMPLATE = """
<div class="tools">
  <div class="views" role="group" aria-label="View"></div>
  <div class="maps" role="group" aria-label="Kind of error" hidden>
    <button type="button" aria-pressed="true">Absolute</button>
    <button type="button" aria-pressed="false">Signed</button>
  </div>
  <span class="readout"></span>
  <div class="zoom" role="group" aria-label="Zoom">
    <output class="scale"></output>
    <button type="button" class="farther" aria-label="Zoom out">−</button>
    <button type="button" class="closer" aria-label="Zoom in">+</button>
    <button type="button" class="fit" aria-pressed="true">Fit</button>
    <button type="button" class="one" aria-pressed="false" aria-label="Pixel for pixel, 100 %">1:1</button>
  </div>
</div>
<div class="stage" tabindex="0" role="group" data-invitation="{invitation}"
  aria-label="Pictures. Arrow keys move, plus and minus zoom, 1 shows pixel for pixel, 0 fits."></div>
<div class="key"></div>
"""


def light_table(name: str, invitation: str) -> gr.HTML:
    return gr.HTML(
        html_template=TEMPLATE.format(invitation=html.escape(invitation)),
        js_on_load=SCRIPT,
        apply_default_css=False,
        elem_id=name,
        elem_classes=["light-table"],
    )


def as_file(pixels: Pixels, name: str) -> dict[str, Any]:
    """A lossless file of the picture where the page may fetch it, as Gradio's own components describe one."""
    path = save_result(write_png(pixels, compress_level=1), name)
    return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def pane(name: str, alt: str, pixels: Pixels | None, caption: str = "", measured: bool = False) -> dict[str, Any]:
    """A picture; without pixels the words of `alt` stand in its place. Measured ones are read under the pointer."""
    picture = as_file(pixels, f"{name.lower().replace(' ', '-')}.png") if pixels is not None else None
    return {"name": name, "alt": alt, "picture": picture, "caption": caption, "measured": measured}


def error_pane(name: str, original: Pixels, rebuilt: Pixels, scale: float, caption: str = "") -> dict[str, Any]:
    """The error of a reconstruction, absolute and signed, as two maps of one place."""
    absolute, signed = (heatmaps.error_map(original, rebuilt, kind, scale) for kind in (False, True))
    alt = f"Map of the error of {name} at each pixel"
    return pane(name, alt, absolute, caption) | {"signed": as_file(signed, "error-signed.png")}


def table(
    panes: Sequence[dict[str, Any]], shown: Sequence[dict[str, Any]], size: tuple[int, int], scale: float, fresh: bool
) -> dict[str, Any]:
    """The value of a light table. `size` is (height, width); `fresh` returns to the whole picture if that changes."""
    key = {"absolute": charts.color_bar(scale, signed=False), "signed": charts.color_bar(scale, signed=True)}
    return {"panes": [*panes], "views": [*shown], "size": [size[1], size[0]], "key": key, "fresh": fresh}


def report_table(report: Reconstruction, name: str = "Reconstruction", scale: float | None = None) -> dict[str, Any]:
    """An original, what was made of it, and the error."""
    original, rebuilt = report.original, report.decoding.pixels
    scale = scale or heatmaps.error_scale(original, rebuilt)
    with ThreadPoolExecutor() as pool:  # compressing files lets other threads run
        jobs = [
            pool.submit(pane, "Original", "The original picture", original, measured=True),
            pool.submit(pane, name, "The picture rebuilt from its latent", rebuilt, measured=True),
            pool.submit(error_pane, "Error", original, rebuilt, scale),
        ]
    panes = [job.result() for job in jobs]
    shown = [
        {"name": "Divided", "panes": [0, 1], "wipe": True},
        {"name": "Side by side", "panes": [0, 1, 2], "key": True},
        {"name": "Error", "panes": [2], "key": True},
    ]
    return table(panes, shown, original.shape[:2], scale, fresh=True)
