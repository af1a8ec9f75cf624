"""The tab The model: what the network is made of, which weights it has, and their card."""

import functools

import gradio as gr

from residae import charts
from residae.checkpoint import Checkpoint, read_card
from residae.errors import ResidaeError
from residae.summary import SIDE, summarize
from residae.ui.components import QUICK_EVENT
from residae.ui.store import default_checkpoint, get_pipeline
from residae.ui.text import alert, definition_list
from residae.ui.work import Updates


class ModelTab:
    """The tab The model.

    Shows the choice of checkpoint, a diagram and the size of the network, and the model card. It holds the checkpoint,
    which every tab uses. Opening the tab or choosing a checkpoint describes it.
    """

    def __init__(self) -> None:
        names = [*Checkpoint.find()] or [default_checkpoint()]
        self.checkpoint = gr.Dropdown(
            names,
            value=names[0],
            label="Checkpoint",
            info="Every tab uses it.",
            elem_id="checkpoint",
        )
        self.status = gr.HTML(elem_id="model-status", apply_default_css=False)
        self.diagram = gr.HTML(elem_id="diagram", apply_default_css=False)
        self.figures = gr.HTML(elem_id="model-figures", apply_default_css=False)
        with gr.Accordion("Model card", open=True):
            self.card = gr.Markdown(elem_id="model-card")

    def wire(self, tab: gr.Tab) -> None:
        """Connect the events, `tab` being the one that this is in."""
        gr.on(
            [self.checkpoint.input, tab.select],
            self.describe,
            self.checkpoint,
            [self.status, self.diagram, self.figures, self.card],
            trigger_mode="always_last",
            **QUICK_EVENT,  # it does not run the network, so it does not wait for those that do
        )

    def describe(self, checkpoint: str) -> Updates:
        """Describe the network of a checkpoint, its device and its card."""
        try:
            pipeline = get_pipeline(checkpoint)
        except ResidaeError as error:
            return {self.status: alert(error)}
        encoder, decoder = summarize(pipeline.base_channels, pipeline.latent_channels)
        stages = [*encoder, *decoder]
        rows = {
            "Parameters": f"{sum(stage.parameters for stage in stages):,}",
            "Encoder": f"{sum(stage.parameters for stage in encoder):,}",
            "Decoder": f"{sum(stage.parameters for stage in decoder):,}",
            f"{SIDE} × {SIDE} px": f"{sum(stage.flops for stage in stages) / 1e9:.2f} GFLOP",
            "Fewer numbers": f"{pipeline.ratio:.1f}×",
            "Device": pipeline.engine.description,
            "Fingerprint": pipeline.codec.fingerprint.hex(),
        }
        drawn = [[(s.name, s.channels, s.side, s.parameters, s.flops) for s in part] for part in (encoder, decoder)]
        return {
            self.status: "",
            self.diagram: charts.network_diagram(*drawn),
            self.figures: definition_list(rows),
            self.card: get_card(checkpoint),
        }


@functools.lru_cache(maxsize=16)
def get_card(checkpoint: str) -> str:
    """The model card of a checkpoint, read once, as its weights are: asking the Hub for a newer one takes time."""
    source = Checkpoint.find().get(checkpoint)
    return read_card(source) if source else "This checkpoint is no longer there to read its model card."
