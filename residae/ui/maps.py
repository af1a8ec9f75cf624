"""The two maps beside the viewer: the mosaic of the latent's channels, and the error of each pixel.

Custom components of HTML and the scripts `mosaic.js` and `error.js`. Both show a Reconstruction at a glance; pressing
them leads to the Latent lab and to the viewer.
"""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from residae import charts, heatmaps
from residae.arrays import Floats
from residae.codec import Latent
from residae.ui.components import scripted_card
from residae.ui.viewer import png_file

MOSAIC_TEMPLATE = """
<div class="head"><h2>Channels</h2><span class="caption">&nbsp;</span></div>
<div class="tiles"></div>
<p class="note">&nbsp;</p>
"""
ERROR_TEMPLATE = """
<div class="head">
  <h2>Error</h2>
  <span class="caption">gray levels</span>
  <div class="kinds" role="group" aria-label="Error as">
    <button type="button" aria-pressed="true">Map</button>
    <button type="button" aria-pressed="false">Histogram</button>
  </div>
</div>
<div class="views">
  <button type="button" class="map" aria-label="Enlarge the map of the absolute error" title="Press to enlarge"
    disabled>
    <img alt="">
  </button>
  <div class="key"></div>
  <div class="histogram" hidden></div>
</div>
"""


def channel_mosaic() -> gr.HTML:
    """All channels of the latent, each as a tile. Its event `select` has the index of the pressed one."""
    return scripted_card(MOSAIC_TEMPLATE, "mosaic.js", "mosaic")


def mosaic_value(latent: Latent, bits: Sequence[float] | None) -> dict[str, Any]:
    """The value of a channel mosaic.

    Args:
        latent: (C, h, w), which the decoder gets.
        bits: Of the file that each channel takes; None where there is no file.

    Returns:
        `picture`, a PNG with the channels one below another; `shape`, [C, h, w]; and `shares` of the bits, 0 to 1 for
        each channel, or None.
    """
    channels, height, width = latent.shape
    shares = None if bits is None else [float(share / max(sum(bits), 1)) for share in bits]
    picture = png_file(heatmaps.latent_strip(latent), "channels.png")
    return {"picture": picture, "shape": [channels, height, width], "shares": shares}


def error_overview() -> gr.HTML:
    """The map of the absolute error with its color scale, or the histogram of the error in the same room.

    Pressing the map enlarges it in the viewer.
    """
    return scripted_card(ERROR_TEMPLATE, "error.js", "error")


def error_value(table: dict[str, Any], error: Floats) -> dict[str, Any]:
    """The value of the error overview: the same picture and scale as in a light table of `report_table`.

    Args:
        table: The value of that light table.
        error: (H, W), from `residae.heatmaps.luma_error`.

    Returns:
        `picture`, the map as a PNG; `key`, its color scale as SVG; and `histogram`, that of the error as SVG.
    """
    histogram = charts.error_histogram(error)
    return {"picture": table["panes"][-1]["picture"], "key": table["key"]["absolute"], "histogram": histogram}
