"""The tab The model: what the network is made of, and which weights it has."""

import gradio as gr

from residae import charts
from residae.anatomy import anatomy
from residae.errors import ResidaeError
from residae.session import find_checkpoints, model_card
from residae.ui.desk import Updates, default_checkpoint, laboratory
from residae.ui.words import alert, definition_list


class Model:
    def __init__(self) -> None:
        names = [*find_checkpoints()] or [default_checkpoint()]
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
        lab = laboratory(checkpoint)
        encoder, decoder = anatomy(lab.base_channels, lab.latent_channels)
        stages = [*encoder, *decoder]
        rows = {
            "Parameters": f"{sum(stage.parameters for stage in stages):,}",
            "Encoder": f"{sum(stage.parameters for stage in encoder):,}",
            "Decoder": f"{sum(stage.parameters for stage in decoder):,}",
            "256 × 256 px": f"{sum(stage.flops for stage in stages) / 1e9:.2f} GFLOP",
            "Fewer numbers": f"{lab.ratio:.1f}×",
            "Device": lab.engine.description,
            "Fingerprint": lab.codec.fingerprint.hex(),
        }
        drawn = [[(s.name, s.channels, s.side, s.parameters, s.flops) for s in part] for part in (encoder, decoder)]
        return {
            self.status: "",
            self.diagram: charts.network_diagram(*drawn),
            self.figures: definition_list(rows),
            self.card: model_card(find_checkpoints()[checkpoint]),
        }
