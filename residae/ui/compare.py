"""The tab Compare: the original beside its reconstruction."""

from typing import Any

import gradio as gr

from residae.session import Report
from residae.ui.widgets import picture


class Compare:
    def __init__(self) -> None:
        self.slider = gr.ImageSlider(
            format="png",
            label="Original, left, and reconstruction, right",
            show_label=False,
            max_height=620,
            buttons=["fullscreen"],
            elem_id="compare",
        )
        with gr.Row():
            self.before = picture("before", "Original", "The original picture")
            self.after = picture(
                "after", "Reconstruction", "The picture rebuilt from its latent", ["fullscreen", "download"]
            )
        self.rated = [self.slider, self.after]

    def rate(self, report: Report) -> dict[Any, Any]:
        """What changes with the rate."""
        rebuilt = report.decoding.pixels
        return {self.slider: (report.original, rebuilt), self.after: rebuilt}
