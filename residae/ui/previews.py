"""Previews of what a setting will give, decoded from a smaller picture while the whole is still to come.

A small picture in place of a large one would be a blur, whatever the setting. A preview is therefore the change from
the setting of the result that is shown to the new one, both decoded small. A custom component without content takes it
to the browser, where `preview.js` has a light table add it to its result, until the next result.
"""

import base64
import math
import time
from typing import Any

import gradio as gr

from residae import heatmaps
from residae.image import Pixels, write_png
from residae.ui import static

PREVIEW_SECONDS = 0.025  # that decoding a preview may take; the answer should be there in 0.1, and the rest takes 0.07
QUALITY_SHARE = 0.6  # of the change by a quality, which loses more of a small picture than of a large one
MIN_SIDE, MAX_SIDE = 96, 384  # pixels: below it nothing can be seen, above it sending takes too long


def preview_channel(table: str) -> gr.HTML:
    """What takes previews, values by `preview_value` or None, to the light table with this id."""
    script = f"const TABLE = {table!r};\n" + static.read("preview.js")
    return gr.HTML(html_template="", js_on_load=script, apply_default_css=False, elem_classes=["preview-channel"])


def preview_side(side: int, seconds: float) -> int:
    """The long side at which a picture of this long side, whose decoding took so long, takes about PREVIEW_SECONDS.

    Args:
        side: Pixels on the long side of the picture.
        seconds: What decoding it took; 0 if that is not known.

    Returns:
        Pixels, MIN_SIDE to MAX_SIDE, but no more than `side`.
    """
    share = math.sqrt(PREVIEW_SECONDS / seconds) if seconds else 1.0
    return min(side, MAX_SIDE, max(MIN_SIDE, int(share * side)))


def preview_value(before: Pixels, after: Pixels, text: str = "Preview", share: float = 1.0) -> dict[str, Any]:
    """A preview, with what is said about it. The picture is within the value, which saves a request.

    Args:
        before: (H, W) or (H, W, 3) uint8 by the settings of the result that is shown.
        after: The same by the new settings.
        text: Shown on the light table, without HTML.
        share: How much of the change between them is shown.

    Returns:
        `change`, a data: URL of the picture by `residae.heatmaps.change`; `text`; and `time`, by which no two previews
        are equal.
    """
    data = base64.b64encode(write_png(heatmaps.change(before, after, share), compress_level=1)).decode()
    return {"change": f"data:image/png;base64,{data}", "text": text, "time": time.monotonic()}  # each differs
