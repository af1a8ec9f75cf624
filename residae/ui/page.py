"""The page as a whole: controls, tabs, and what a picture or a rate sets going."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from residae.ui.components import MODEL, PLAIN
from residae.ui.controls import Controls, first_visit, pick_example
from residae.ui.endpoints import add_endpoints
from residae.ui.guard import DELETE_CACHE
from residae.ui.tabs.batch import Batch
from residae.ui.tabs.equal_bytes import EqualBytes
from residae.ui.tabs.files import Files
from residae.ui.tabs.lab import Lab
from residae.ui.tabs.model import Model
from residae.ui.tabs.overview import Reconstruct
from residae.ui.text import heading
from residae.ui.work import supersede, supersede_requested


def build() -> gr.Blocks:
    """The page, ready to launch."""
    with gr.Blocks(title="Residae", analytics_enabled=False, delete_cache=DELETE_CACHE, fill_width=True) as blocks:
        Page(blocks)
        add_endpoints()
    return blocks  # type: ignore[no-any-return]


class Page:
    def __init__(self, blocks: gr.Blocks) -> None:
        self.source, self.shown, self.tab = gr.State(), gr.State(), gr.State("reconstruct")
        self.header = gr.HTML(heading(), apply_default_css=False)
        with gr.Row(elem_id="bench"):
            with gr.Column(scale=0, min_width=300, elem_id="controls"):
                self.controls = Controls()
            with gr.Column(scale=1, elem_id="stage"), gr.Tabs():
                with gr.Tab("Reconstruct", id="reconstruct", elem_id="tab-reconstruct") as reconstruct:
                    self.reconstruct = Reconstruct(self.header, self.shown, self.controls)
                with gr.Tab("Latent lab", id="lab", elem_id="tab-lab") as lab:
                    self.lab = Lab(self.tab, self.shown)
                with gr.Tab("Equal bytes", id="equal", elem_id="tab-equal") as equal:
                    self.equal = EqualBytes(self.tab, self.shown)
                with gr.Tab("Files", id="files", elem_id="tab-files") as files:
                    files_here = gr.Column()
                with gr.Tab("Batch", id="batch", elem_id="tab-batch") as batch:
                    batch_here = gr.Column()
                with gr.Tab("The model", id="model", elem_id="tab-model") as model:
                    self.model = Model()
        settings = [self.controls.color, self.controls.side, self.controls.quality]
        with files_here:
            Files(self.model.checkpoint)
        with batch_here:
            Batch(self.model.checkpoint, settings)
        self.tabs = {
            "reconstruct": reconstruct,
            "lab": lab,
            "equal": equal,
            "files": files,
            "batch": batch,
            "model": model,
        }
        self._wire(blocks)

    def _wire(self, blocks: gr.Blocks) -> None:
        controls, checkpoint, reconstruct = self.controls, self.model.checkpoint, self.reconstruct
        reconstruct.statuses += [self.lab.status, self.equal.status]
        work = {
            "outputs": reconstruct.outputs,
            "show_progress_on": reconstruct.statuses,
            "trigger_mode": "always_last",  # of several requests the last counts, and is not dropped while another runs
            **MODEL,
        }
        picture = [self.source, reconstruct.discarded]
        anew = {"fn": reconstruct.show, "inputs": [*picture, self.shown, checkpoint, *controls.settings], **work}
        rate = {"fn": reconstruct.show_rate, "inputs": [self.shown, controls.quality, controls.exact], **work}
        taken = controls.upload.upload(
            lambda path: (None, path, None), controls.upload, [controls.upload, *picture], **PLAIN
        )
        picked = controls.examples.select(pick_example, outputs=picture, **PLAIN)
        visited = blocks.load(first_visit, checkpoint, [self.source, controls.side], **PLAIN)
        changed = gr.on([controls.color.input, controls.side.input, checkpoint.input], supersede, **PLAIN)
        rated = gr.on([controls.quality.release, controls.exact.input], supersede_requested, **PLAIN)
        for event, then in (
            (taken.then(supersede, **PLAIN), anew),
            (picked.then(supersede, **PLAIN), anew),
            (visited, anew),
            (changed, anew),
            (rated, rate),
        ):
            self._follow(event.then(**then))
        for name, tab in self.tabs.items():
            self._follow(tab.select(named(name), outputs=self.tab, **PLAIN))
        gr.on(
            [checkpoint.input, self.tabs["model"].select],
            self.model.describe,
            checkpoint,
            self.model.outputs,
            trigger_mode="always_last",
            **PLAIN,  # not queued behind what works with the network: it says only what that is
        )

    def _follow(self, event: Any) -> None:
        """What the open tab shows follows what is shown."""
        for tab in (self.lab, self.equal):
            event = event.then(**tab.refreshing, **MODEL)


def named(name: str) -> Callable[[], str]:
    return lambda: name
