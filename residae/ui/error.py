"""The tab Error: how far each pixel is off."""

from typing import Any

import gradio as gr

from residae import views
from residae.session import Report
from residae.ui.widgets import picture


class Error:
    def __init__(self) -> None:
        kind = gr.Radio(["Absolute", "Signed"], value="Absolute", show_label=False, container=False)
        with gr.Column() as absolute_view:
            self.absolute = picture("absolute", "Absolute error", "Map of the absolute error at each pixel")
            self.absolute_bar = gr.HTML()
        with gr.Column(visible=False) as signed_view:
            self.signed = picture("signed", "Signed error", "Map of the signed error at each pixel")
            self.signed_bar = gr.HTML()
        self.histogram = gr.HTML()
        self.rated = [self.absolute, self.absolute_bar, self.signed, self.signed_bar, self.histogram]
        kind.input(
            lambda kind: (gr.Column(visible=kind == "Absolute"), gr.Column(visible=kind == "Signed")),
            kind,
            [absolute_view, signed_view],
            queue=False,
        )

    def rate(self, report: Report) -> dict[Any, Any]:
        """What changes with the rate."""
        original, rebuilt = report.original, report.decoding.pixels
        scale = views.error_scale(original, rebuilt)
        return {
            self.absolute: views.error_map(original, rebuilt, signed=False, scale=scale),
            self.absolute_bar: views.color_bar(scale, signed=False),
            self.signed: views.error_map(original, rebuilt, signed=True, scale=scale),
            self.signed_bar: views.color_bar(scale, signed=True),
            self.histogram: views.error_histogram(original, rebuilt),
        }
