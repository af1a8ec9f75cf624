"""The light table: any number of pictures of one size under one zoom, beside each other or under a divider.

A custom component of HTML and the script `viewer.js`. Its value holds panes, each a picture, and views, each a choice
of panes; `table` makes it.
"""

import hashlib
import html
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any

import gradio as gr

from residae import charts, heatmaps
from residae.image import Pixels, write_png
from residae.pipeline import Reconstruction
from residae.ui import static
from residae.ui.store import RecentlyUsed, renew_result, save_result

SCRIPT = "".join(map(static.read, ("viewer.js", "crop.js")))
KEYS = {  # what viewer.js does at each, as the list under "?" says it
    "F": "Full screen, and back",
    "Space": "Hold: show the original. With a pointer, press the picture and hold still.",
    "0": "Fit the picture",
    "1": "100 %: one pixel of the picture for one of the page",
    "+ −": "Zoom in and out, also with Ctrl and the wheel, or two fingers",
    "← ↑ ↓ →": "Move the picture, also by dragging it",
    "Shift ← →": "Move the divider",
    "B": "Blink: swap the pictures in place",
    "V": "Next view",
    "?": "This list, from anywhere on the page",
}
FULL_SCREEN_ICON = (
    '<svg viewBox="0 0 14 14" width="14" height="14" fill="none" stroke="currentColor" stroke-width="1.6" '
    'aria-hidden="true"><path d="M1 5V1h4M9 1h4v4M13 9v4H9M5 13H1V9"/></svg>'
)
# Handles of the frame of Crop, by the side that each is on. The keyboard reaches the corners, which move all sides.
EDGES = ("n", "e", "s", "w")
CORNERS = {"nw": "Upper left corner", "ne": "Upper right corner", "se": "Lower right corner", "sw": "Lower left corner"}
HANDLES = "".join(f'<i class="handle" data-handle="{edge}"></i>' for edge in EDGES) + "".join(
    f'<button type="button" class="handle" data-handle="{corner}" aria-label="{name}"></button>'
    for corner, name in CORNERS.items()
)
ORIGINALS: RecentlyUsed[tuple[tuple[int, ...], bytes], dict[str, Any]] = RecentlyUsed(1000)  # files, by their pixels
TEMPLATE = """
<div class="tools">
  <div class="views" role="group" aria-label="View"></div>
  <div class="maps" role="group" aria-label="Kind of error" hidden>
    <button type="button" aria-pressed="true">Absolute</button>
    <button type="button" aria-pressed="false">Signed</button>
  </div>
  <div class="zoom" role="group" aria-label="Zoom">
    <output class="scale" aria-label="Zoom"></output>
    <button type="button" class="crop" title="Work on a part of the picture at full resolution" hidden>Crop</button>
    <button type="button" class="blink" aria-keyshortcuts="B" title="Swap the pictures in place (B)">Blink</button>
    <button type="button" class="farther" aria-label="Zoom out" title="Zoom out (−)">−</button>
    <button type="button" class="closer" aria-label="Zoom in" title="Zoom in (+)">+</button>
    <button type="button" class="fit" aria-pressed="true" title="Fit the picture (0)">Fit</button>
    <button type="button" class="one" aria-pressed="false" aria-label="1:1, 100 %"
      title="100 %: one pixel of the picture for one of the page (1)">1:1</button>
    <button type="button" class="full-screen" aria-pressed="false" aria-label="Full screen"
      title="Full screen (F)">{icon}</button>
    <button type="button" class="keys-button" popovertarget="{elem_id}-keys" aria-label="Keys"
      title="Keys (?)">?</button>
  </div>
</div>
<div class="surface">
  <div class="stage" tabindex="0" role="group" data-invitation="{invitation}"
    aria-label="Pictures. Press question mark for the keys." aria-keyshortcuts="F Space 0 1 + - B V ?"></div>
  <b class="tag peek">Original</b>
  <div class="readout" hidden></div>
  <p class="hint" aria-hidden="true">
    <span class="keys"><kbd>Space</kbd> original <kbd>F</kbd> full screen <kbd>0</kbd> fit <kbd>1</kbd> 1:1 <kbd>?</kbd>
      keys</span>
    <span class="touch">Hold: original. Two fingers: zoom.</span>
  </p>
  <div class="chooser" hidden>
    <div class="box" tabindex="0" role="group" aria-label="Part of the picture. Arrow keys move it, with Shift they
      resize it, Enter uses it, and Escape leaves.">{handles}</div>
    <p class="tag how" aria-hidden="true">Drag to move it, or a corner or edge to resize it.<span> Arrow keys as
      well.</span></p>
    <p class="choice">
      <button type="button" class="use"></button>
      <button type="button" class="cancel">Cancel</button>
    </p>
  </div>
  <p class="message" role="status"></p>
</div>
<div class="key"></div>
<dl class="differences numbers" aria-label="What differs between A and B" hidden></dl>
<div class="help" id="{elem_id}-keys" popover role="dialog" tabindex="-1" aria-label="Keys of the viewer">
  <button type="button" class="close" popovertarget="{elem_id}-keys" popovertargetaction="hide" aria-label="Close"
    title="Close (Esc)">×</button>
  <h2>Keys of the viewer</h2><dl>{keys}</dl>
</div>
"""


def light_table(elem_id: str, invitation: str) -> gr.HTML:
    """An empty light table, with a sentence in the place of pictures.

    Args:
        elem_id: The id in the page, by which scripts and `preview_channel` find the table.
        invitation: The sentence, without HTML.
    """
    keys = "".join(
        f"<dt>{' '.join(f'<kbd>{key}</kbd>' for key in names.split())}</dt><dd>{action}</dd>"
        for names, action in KEYS.items()
    )
    template = TEMPLATE.format(
        elem_id=elem_id, invitation=html.escape(invitation), keys=keys, icon=FULL_SCREEN_ICON, handles=HANDLES
    )
    return gr.HTML(
        html_template=template,
        js_on_load=SCRIPT,
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes=["light-table"],
    )


def served_file(data: bytes, name: str) -> dict[str, Any]:
    """A file that the page can fetch, described as Gradio's own components do.

    Args:
        data: Content of the file.
        name: What the file is called when it is saved, without separators.

    Raises:
        ResidaeError: The file cannot be written.
    """
    return {"path": save_result(data, name), "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def png_file(pixels: Pixels, name: str, colors: Pixels | None = None) -> dict[str, Any]:
    """A PNG that the page can fetch.

    Args:
        pixels: (H, W) or (H, W, 3) uint8.
        name: As in `served_file`, with the suffix .png.
        colors: As in `write_png`.

    Raises:
        ResidaeError: The file cannot be written.
    """
    return served_file(write_png(pixels, compress_level=1, colors=colors), name)


def pane(
    name: str, alt: str, picture: Pixels | dict[str, Any] | None, caption: str = "", measured: bool = False
) -> dict[str, Any]:
    """One picture of a light table.

    Args:
        name: Shown below the picture.
        alt: Describes the picture; shown in its place if there is none.
        picture: (H, W) or (H, W, 3) uint8, or a file from `png_file`; None for a codec that cannot make a file this
            small.
        caption: Shown beside the name.
        measured: Whether values under the pointer are read from this picture.

    Returns:
        The arguments by name, with a PNG as `picture` in the place of pixels.
    """
    if not isinstance(picture, dict | None):
        picture = png_file(picture, f"{name.lower().replace(' ', '-')}.png")
    return {"name": name, "alt": alt, "picture": picture, "caption": caption, "measured": measured}


def original_pane(picture: Pixels | dict[str, Any] | None) -> dict[str, Any]:
    """The picture that others are made from. Many results have the same one, which is compressed once.

    Args:
        picture: As for `pane`.

    Returns:
        As `pane`.

    Raises:
        ResidaeError: The file cannot be written.
    """
    if not isinstance(picture, dict | None):
        key = picture.shape, hashlib.sha256(picture.tobytes()).digest()
        file = ORIGINALS.get(key)
        if file is None or not renew_result(file["path"]):
            file = png_file(picture, "original.png")
            ORIGINALS.keep(key, file, 1)
        picture = file
    return pane("Original", "The original picture", picture, measured=True)


def error_pane(name: str, original: Pixels, decoded: Pixels, scale: float, caption: str = "") -> dict[str, Any]:
    """The error map of a reconstruction, absolute and signed; a button switches between the two.

    Args:
        name: Shown below the map.
        original: (H, W) or (H, W, 3) uint8.
        decoded: The reconstruction, of the same shape.
        scale: Error in gray levels at which both maps saturate.
        caption: Shown beside the name.

    Returns:
        As `pane` with the absolute map, and the other one as `signed`.
    """
    absolute, signed = (
        png_file(heatmaps.error_levels(original, decoded, kind, scale), file, heatmaps.color_map(kind))
        for kind, file in ((False, "error.png"), (True, "error-signed.png"))
    )
    return pane(name, f"{name}: map of the error at each pixel", absolute, caption) | {"signed": signed}


def table(
    panes: Sequence[dict[str, Any]],
    views: Sequence[dict[str, Any]],
    size: tuple[int, int],
    scale: float,
    original: int | None = None,
    result: int | None = None,
) -> dict[str, Any]:
    """The value of a light table.

    Args:
        panes: From `pane` and `error_pane`.
        views: Each with `name`, `panes` (indices) and, as needed, `wipe` (two panes under a divider), `stack` (any
            number in one place, to blink), `key` (True to show the color scale of errors, or the SVG of another one)
            and `size` (of its pictures).
        size: (height, width) of the pictures.
        scale: Of the error maps, gray levels.
        original: Index of the pane that the others are made from. It is shown in their place while Space is held.
        result: Index of the pane that "Keep as A" keeps, and that is B beside a kept one.
    """
    key = {"absolute": charts.color_bar(scale, signed=False), "signed": charts.color_bar(scale, signed=True)}
    roles = {"original": original, "result": result}
    return {"panes": [*panes], "views": [*views], "size": [size[1], size[0]], "key": key} | roles


def empty_table(sentence: str) -> dict[str, Any]:
    """The value of a light table without pictures, which says why there are none in place of its invitation.

    Args:
        sentence: Without HTML.
    """
    return table([], [], (2, 3), 1) | {"invitation": sentence}


def with_facts(table: dict[str, Any], facts: dict[str, str]) -> dict[str, Any]:
    """A light table whose result has settings and figures: they are compared as A and B, and can be saved.

    Args:
        table: From `table`, with the index of its result.
        facts: Text by name, as from `residae.ui.actions.facts`.
    """
    panes = [pane | {"facts": facts} if i == table["result"] else pane for i, pane in enumerate(table["panes"])]
    return table | {"panes": panes}


def original_table(original: Pixels) -> dict[str, Any]:
    """The value of a light table with an original alone, until there is a reconstruction of it.

    Args:
        original: (H, W) or (H, W, 3) uint8.
    """
    return table([original_pane(original)], [{"name": "Original", "panes": [0], "stack": True}], original.shape[:2], 1)


def report_table(
    report: Reconstruction, name: str = "Reconstruction", error_scale: float | None = None
) -> dict[str, Any]:
    """The value of a light table with an original, its reconstruction, and the error.

    Args:
        report: All three are taken from it.
        name: Shown below the reconstruction.
        error_scale: Of the error map, in gray levels; None for that of `residae.heatmaps.error_scale`.
    """
    original, decoded = report.original, report.decoding.pixels
    scale = error_scale or heatmaps.error_scale(original, decoded)
    with ThreadPoolExecutor() as pool:  # writing PNG releases the interpreter's lock
        jobs = [
            pool.submit(copy_context().run, job)
            for job in (
                partial(original_pane, original),
                partial(pane, name, "The picture rebuilt from its latent", decoded, measured=True),
                partial(error_pane, "Error", original, decoded, scale),
            )
        ]
    panes = [job.result() for job in jobs]
    views: list[dict[str, Any]] = [
        {"name": "Divided", "panes": [0, 1], "wipe": True},
        {"name": "Side by side", "panes": [0, 1]},
        {"name": "Error", "panes": [2], "stack": True, "key": True},
    ]
    return table(panes, views, original.shape[:2], scale, original=0, result=1)
