"""The light table: any number of pictures of one size under one zoom, beside each other or under a divider.

A custom component of HTML and the script `viewer.js`. Its value holds panes, each a picture, and views, each a choice
of panes; `table` makes it.
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

SCRIPT = static.read("dom.js") + static.read("viewer.js")
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
    <button type="button" class="one" aria-pressed="false" aria-label="Actual size, 100 %">1:1</button>
  </div>
</div>
<div class="stage" tabindex="0" role="group" data-invitation="{invitation}"
  aria-label="Pictures. Arrow keys move, plus and minus zoom, 1 shows the actual size, 0 fits."></div>
<div class="key"></div>
"""


def light_table(elem_id: str, invitation: str) -> gr.HTML:
    """An empty light table, with a sentence in the place of pictures."""
    return gr.HTML(
        html_template=TEMPLATE.format(invitation=html.escape(invitation)),
        js_on_load=SCRIPT,
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes=["light-table"],
    )


def png_file(pixels: Pixels, name: str) -> dict[str, Any]:
    """A PNG that the page can fetch, described as Gradio's own components do."""
    path = save_result(write_png(pixels, compress_level=1), name)
    return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def pane(name: str, alt: str, pixels: Pixels | None, caption: str = "", measured: bool = False) -> dict[str, Any]:
    """One picture of a light table.

    Args:
        name: Shown below the picture.
        alt: Describes the picture; shown in its place if there are no pixels.
        pixels: (H, W) or (H, W, 3) uint8.
        caption: Shown beside the name.
        measured: Whether values under the pointer are read from this picture.
    """
    picture = png_file(pixels, f"{name.lower().replace(' ', '-')}.png") if pixels is not None else None
    return {"name": name, "alt": alt, "picture": picture, "caption": caption, "measured": measured}


def error_pane(name: str, original: Pixels, decoded: Pixels, scale: float, caption: str = "") -> dict[str, Any]:
    """The error map of a reconstruction, absolute and signed; a button switches between the two."""
    absolute, signed = (heatmaps.error_map(original, decoded, kind, scale) for kind in (False, True))
    alt = f"Map of the error of {name} at each pixel"
    return pane(name, alt, absolute, caption) | {"signed": png_file(signed, "error-signed.png")}


def table(
    panes: Sequence[dict[str, Any]], views: Sequence[dict[str, Any]], size: tuple[int, int], scale: float
) -> dict[str, Any]:
    """The value of a light table.

    Args:
        panes: From `pane` and `error_pane`.
        views: Each with `name`, `panes` (indices) and, as needed, `wipe` (two panes under a divider), `key` (show the
            color scale) and `size` (of its pictures).
        size: (height, width) of the pictures.
        scale: Of the error maps, gray levels.
    """
    key = {"absolute": charts.color_bar(scale, signed=False), "signed": charts.color_bar(scale, signed=True)}
    return {"panes": [*panes], "views": [*views], "size": [size[1], size[0]], "key": key}


def report_table(report: Reconstruction, name: str = "Reconstruction") -> dict[str, Any]:
    """The value of a light table with an original, its reconstruction, and the error."""
    original, decoded = report.original, report.decoding.pixels
    scale = heatmaps.error_scale(original, decoded)
    with ThreadPoolExecutor() as pool:  # writing PNG releases the interpreter's lock
        jobs = [
            pool.submit(pane, "Original", "The original picture", original, measured=True),
            pool.submit(pane, name, "The picture rebuilt from its latent", decoded, measured=True),
            pool.submit(error_pane, "Error", original, decoded, scale),
        ]
    panes = [job.result() for job in jobs]
    views = [
        {"name": "Divided", "panes": [0, 1], "wipe": True},
        {"name": "Side by side", "panes": [0, 1, 2], "key": True},
        {"name": "Error", "panes": [2], "key": True},
    ]
    return table(panes, views, original.shape[:2], scale)
