"""What can be done with a result: keep it as A, share a link to it, and save it. Also the settings a visit starts with.

Keeping, sharing and saving happen in the browser, in `actions.js`, with the files and facts that `describe` adds to the
Overview's light table. Nothing of it is kept on the server.
"""

import json
import math
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from residae.compare import OURS, CodecResult
from residae.edit import Edits
from residae.errors import ResidaeError
from residae.metrics import bits_per_pixel
from residae.pipeline import Reconstruction
from residae.ui import static
from residae.ui.cache import EXAMPLES, default_side
from residae.ui.components import QUICK_EVENT
from residae.ui.state import CurrentResult
from residae.ui.text import (
    counted,
    decibels,
    dismissible,
    join_names,
    network_ratio,
    ratio,
    share_kept,
    short_name,
    similarity,
)
from residae.ui.viewer import served_file

OWN = "own"  # in a link, the picture that its sender had uploaded; viewer.js says that it is not there
SCRIPT = static.read("actions.js")
TEMPLATE = """
<div class="actions" role="group" aria-label="Keep, share and save">
  <button type="button" class="keep" disabled>Keep as A</button>
  <button type="button" class="share" disabled>Share link</button>
  <a class="rae" id="download" role="link" aria-disabled="true">Save .rae</a>
  <button type="button" class="save" aria-expanded="false" disabled>Export…</button>
  <p class="message" role="status"></p>
  <div class="menu" popover>
    <button type="button" data-action="reconstruction">Reconstruction, PNG</button>
    <button type="button" data-action="error">Error map with its scale, PNG</button>
    <button type="button" data-action="sheet">Sheet with pictures and figures, HTML</button>
    <button type="button" data-action="picture">Copy the picture</button>
    <button type="button" data-action="figures">Copy the figures</button>
  </div>
</div>
"""


class Actions:
    """The buttons that keep, share and save what is shown.

    It also restores the settings of the last visit, which the browser remembers, or those of a link, which win.

    Args:
        settings: The components to remember, by the name that each has in a link.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.bar = gr.HTML(html_template=TEMPLATE, js_on_load=SCRIPT, apply_default_css=False, elem_id="actions-bar")
        self.start = gr.Textbox(visible=False)  # filled by the browser when the page has loaded
        self.tabs: list[str] = []  # their ids, one of which a link may open

    def wire(self) -> None:
        """Let the browser remember each change of a setting."""
        names = json.dumps([*self.settings])
        components = [*self.settings.values()]
        remember = f"(...values) => residae.remember({names}, values)"
        gr.on([c.change for c in components], None, components, js=remember, **QUICK_EVENT)

    def restore_event(self, source: gr.State, checkpoint: gr.Dropdown, alert: gr.HTML) -> dict[str, Any]:
        """The event that starts a visit. Its result is the path of the picture, what a link asks in vain, and settings.

        A link with a result that was kept as A starts with its settings; `bar.restore` follows when it is there.

        Args:
            source: Receives the path of the picture.
            checkpoint: The choice of checkpoint, on whose value the first working size depends.
            alert: Receives a sentence about what the page does not have.

        Returns:
            Arguments for `Blocks.load` and `bar.restore`.
        """
        return {
            "fn": self.restore,
            "inputs": [self.start, checkpoint],
            "outputs": [source, alert, *self.settings.values()],
            "js": "(_, checkpoint) => [residae.start(), checkpoint]",
            **QUICK_EVENT,
        }

    def restore(self, start: str, checkpoint: str) -> list[Any]:
        """The picture and the settings that a visit starts with.

        Args:
            start: Names and values as JSON, of which nothing is believed: values that a setting cannot have are left
                out. `linked` has the names of those that are in a link.
            checkpoint: Name of the checkpoint.

        Returns:
            The path of the picture, a sentence about what the link asks in vain, then the value of each setting.
        """
        wanted: dict[str, Any] = {}
        with suppress(ResidaeError):  # reconstructing the picture meets the same error, and shows it
            wanted["side"] = default_side(checkpoint)
        with suppress(ValueError, TypeError, RecursionError):
            wanted |= json.loads(start)
        pictures = {Path(path).stem: path for path in EXAMPLES}
        values = {name: allowed(component, wanted.get(name)) for name, component in self.settings.items()}
        path = pictures.get(str(wanted.get("picture")), EXAMPLES[0])
        return [path, self._refusal(wanted, values, pictures), *values.values()]

    def _refusal(self, wanted: dict[str, Any], values: dict[str, Any], pictures: Iterable[str]) -> str:
        """What a link asks for and the page does not have, as `dismissible` has it; "" if it has all of it."""
        linked = wanted.get("linked")
        names = [name for name in linked if name in wanted] if isinstance(linked, list) else []
        known = {"picture": {*pictures, OWN}, "tab": self.tabs}
        missing = [name for name in known if name in names and str(wanted[name]) not in known[name]]
        missing += [name for name, value in values.items() if name in names and not is_value(value, wanted[name])]
        if not missing:
            return ""
        asked = join_names([f"{name} “{short_name(str(wanted[name]))}”" for name in missing])
        return dismissible(f"This page does not have what the link asks for, {asked}: choose something else.")


def allowed(component: Any, wanted: Any) -> Any:
    """What a value from a link or from the browser's memory stands for: a value of the component, or no change.

    Args:
        component: A checkbox, a component with choices, or one with numbers from `minimum` to `maximum`.
        wanted: Any value that JSON can hold. Text is compared without regard to case; a number is clipped to the range.

    Returns:
        A value of the component, or `gr.skip()`.
    """
    text = str(wanted).lower()
    if isinstance(component, gr.Checkbox):
        return {"true": True, "false": False}.get(text, gr.skip())
    if isinstance(component, gr.Radio | gr.Dropdown):
        return next((value for _, value in component.choices if str(value).lower() == text), gr.skip())
    try:
        number = float(text)
    except ValueError:
        return gr.skip()
    return min(max(number, component.minimum), component.maximum) if math.isfinite(number) else gr.skip()


def is_value(value: Any, wanted: Any) -> bool:
    """Whether a value is what was wanted.

    Args:
        value: That `allowed` returned: no change, or a number that it may have clipped, are not what was wanted.
        wanted: As in `allowed`.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value != gr.skip() and (not is_number or value == float(wanted))


def subject(current: CurrentResult) -> str:
    """A name for the picture, or the part of it, by which the browser compares only results of the same."""
    path = Path(current.settings.path)
    name = path.stem if current.settings.path in EXAMPLES else path.parent.name  # a hash of the upload's content
    return f"{name} {current.settings.box or ''}"


def describe(current: CurrentResult) -> dict[str, Any]:
    """Entries of a light table that name a result, its file, and the picture that it was made from.

    Args:
        current: The result that the light table shows.

    Returns:
        `name`, for files that are saved; `picture`, the name of the example or None; `subject`; `file`, or None for the
        unquantized latent; `refined`, in steps; and `source`.
    """
    name, file = short_name(Path(current.settings.path).stem), None
    if current.compressed:
        file = served_file(current.compressed.data, f"{name}.rae")
    example = name if current.settings.path in EXAMPLES else None
    result = {"subject": subject(current), "file": file, "refined": current.steps, "source": source(current)}
    return {"name": name, "picture": example, **result}


def source(current: CurrentResult) -> dict[str, Any] | None:
    """The picture that `crop.js` lets a part be chosen from; None where all of its pixels are there.

    Args:
        current: The result that the light table shows.

    Returns:
        `size`, [width, height] of the whole picture in pixels; `longest`, the longest side that a part may have; and
        `part`, (left, top, width, height) of the one that is shown, or None.
    """
    side, box = current.settings.side, current.settings.box
    if not (side or box) or not (size := current.picture().source_size):
        return None
    return {"size": [size[1], size[0]], "longest": side or max(size), "part": box}


def facts(current: CurrentResult, report: Reconstruction) -> dict[str, str]:
    """Settings and figures of a result, by name.

    Args:
        current: The result that the settings are taken from.
        report: The reconstruction that the figures are taken from. Without a file there is no size.

    Returns:
        Text, in the order in which the browser shows it.
    """
    compressed = report.compressed
    return {
        **setting_facts(current),
        "Quality": _quality(compressed.quality if compressed else None),
        **(size_facts(len(compressed.data), report.original) if compressed else {}),
        "PSNR": decibels(report.psnr),
        "SSIM": similarity(report.ssim),
    }


def setting_facts(current: CurrentResult) -> dict[str, str]:
    """Settings of a result, by name."""
    encoding = current.encoding
    return {
        "Codec": OURS,
        "Checkpoint": current.settings.checkpoint,
        "Mode": "Color" if current.color else "Gray",
        "Quality": _quality(current.quality),
        "Picture": f"{encoding.width:,} × {encoding.height:,} px",
        "Numbers kept": share_kept(network_ratio(encoding), encoding.scale),
        "Refined": counted(current.steps, "step") if current.steps else "No",
    }


def edited_facts(current: CurrentResult, report: Reconstruction, edits: Edits) -> dict[str, str]:
    """Settings and figures of a picture from the edited latent of `current`, by name.

    Args:
        current: The result that is edited.
        report: The reconstruction from the edited latent, which has no file.
        edits: The edits that were applied.

    Returns:
        As `facts`, with the quality of the file whose latent is edited, and the edits.
    """
    muted = sum(gain == 0 for gain in edits.gains)
    changes = {
        "channels muted": muted,
        "channels scaled": sum(gain != 1 for gain in edits.gains) - muted,
        "blend": edits.blend,
        "rounding step": edits.step,
        "noise": edits.noise,
    }
    named = ", ".join(f"{name} {value:g}" for name, value in changes.items() if value)
    return facts(current, report) | {"Quality": _quality(current.quality), "Edits": named.capitalize() or "None"}


def codec_facts(result: CodecResult, current: CurrentResult) -> dict[str, str]:
    """Settings and figures of a picture by any codec at equal bytes, by name.

    Args:
        result: The result of a codec that can make a file this small, so that it has pixels.
        current: The result of ours that it is compared with. The result of OURS has its settings.

    Returns:
        As `facts`.
    """
    codec = f"{result.name}, {result.effort}" if result.effort else result.name
    others = {"Codec": codec, "Mode": "Color" if current.color else "Gray"}
    return {
        **(setting_facts(current) if result.name == OURS else others),
        **size_facts(result.bytes, result.pixels),
        "PSNR": decibels(result.psnr),
        "SSIM": similarity(result.ssim),
    }


def size_facts(size: int, pixels: Any) -> dict[str, str]:
    """Size and rate of a file with a picture of these pixels, by name.

    Args:
        size: Bytes of the file.
        pixels: (H, W) or (H, W, 3).

    Returns:
        Text with the size in bytes, the compression ratio, and the rate in bits per pixel.
    """
    height, width = pixels.shape[:2]
    rate = f"{bits_per_pixel(size, width, height):.3f} bpp"
    return {"File": f"{size:,} bytes", "Raw pixels : file": ratio(pixels.size, size), "Rate": rate}


def _quality(quality: float | None) -> str:
    return "Unquantized" if quality is None else f"{quality:g}"
