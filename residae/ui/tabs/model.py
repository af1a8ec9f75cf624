"""The tab The model: what the network is made of, and which weights it has."""

import gradio as gr

from residae import charts
from residae.checkpoint import Checkpoint, read_card
from residae.errors import ResidaeError
from residae.summary import summarize
from residae.ui.store import default_checkpoint, get_pipeline
from residae.ui.text import alert, definition_list
from residae.ui.work import Updates


class Model:
    def __init__(self) -> None:
        names = [*Checkpoint.find()] or [default_checkpoint()]
        self.checkpoint = gr.Dropdown(
            names,
            value=names[0],
            label="Checkpoint",
            info="What every tab works with.",
            elem_id="checkpoint",
        )
        self.status = gr.HTML(elem_id="model-status", apply_default_css=False)
        self.diagram = gr.HTML(elem_id="diagram", apply_default_css=False)
        self.figures = gr.HTML(elem_id="model-figures", apply_default_css=False)
        with gr.Accordion("Model card", open=True):
            self.card = gr.Markdown(elem_id="model-card")
        self.outputs = [self.status, self.diagram, self.figures, self.card]

    def describe(self, checkpoint: str) -> Updates:
        """The network of a checkpoint, its device, and its card."""
        try:
            return self._described(checkpoint)
        except ResidaeError as error:
            return {self.status: alert(error)}

    def _described(self, checkpoint: str) -> Updates:
        pipeline = get_pipeline(checkpoint)
        encoder, decoder = summarize(pipeline.base_channels, pipeline.latent_channels)
        stages = [*encoder, *decoder]
        rows = {
            "Parameters": f"{sum(stage.parameters for stage in stages):,}",
            "Encoder": f"{sum(stage.parameters for stage in encoder):,}",
            "Decoder": f"{sum(stage.parameters for stage in decoder):,}",
            "256 × 256 px": f"{sum(stage.flops for stage in stages) / 1e9:.2f} GFLOP",
            "Fewer numbers": f"{pipeline.ratio:.1f}×",
            "Device": pipeline.engine.description,
            "Fingerprint": pipeline.codec.fingerprint.hex(),
        }
        drawn = [[(s.name, s.channels, s.side, s.parameters, s.flops) for s in part] for part in (encoder, decoder)]
        return {
            self.status: "",
            self.diagram: charts.network_diagram(*drawn),
            self.figures: definition_list(rows),
            self.card: read_card(Checkpoint.find()[checkpoint]),
        }
