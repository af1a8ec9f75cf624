"""The page as a whole: its layout, then the events that connect its parts."""

from typing import Any

import gradio as gr

from residae.ui.components import EACH_EVENT, NETWORK_EVENT, QUICK_EVENT
from residae.ui.controls import Controls, choose_example, describe
from residae.ui.endpoints import add_endpoints
from residae.ui.guard import MAX_FILE_AGE, SWEEP_INTERVAL
from residae.ui.stream import Blocks
from residae.ui.tabs.batch import BatchTab
from residae.ui.tabs.equal_bytes import EqualBytesTab
from residae.ui.tabs.files import FilesTab
from residae.ui.tabs.lab import LabTab
from residae.ui.tabs.model import ModelTab
from residae.ui.tabs.overview import OverviewTab
from residae.ui.text import heading
from residae.ui.work import supersede, supersede_background, supersede_requested


def build() -> gr.Blocks:
    """The page, ready to launch."""
    cleanup = (SWEEP_INTERVAL, MAX_FILE_AGE)
    with Blocks(title="Residae", analytics_enabled=False, delete_cache=cleanup, fill_width=True) as blocks:
        page = Page()
        add_endpoints()  # before the page's own events, whose handlers would take their names
        page.wire(blocks)
    return blocks  # type: ignore[no-any-return]


class Page:
    """The page.

    Shows the heading, the controls and the tabs. For each session it holds the path of the
    chosen picture, the part of it, the current result and the id of the open tab. A new picture or setting is
    reconstructed by the Overview, at a new rate it is decoded again; then the open tab follows.
    """

    def __init__(self) -> None:
        self.source, self.part = gr.State(), gr.State()
        self.current, self.open_tab = gr.State(), gr.State("overview")
        self.tabs: dict[str, gr.Tab] = {}
        self.header = gr.HTML(heading(), apply_default_css=False)
        with gr.Row(elem_id="bench"):
            with gr.Column(scale=0, min_width=272, elem_id="controls"):
                self.controls = Controls()
            with gr.Column(scale=1, elem_id="stage"), gr.Tabs():
                with self._tab("overview", "Overview"):
                    self.overview = OverviewTab(self.header, self.current, self.controls)
                with self._tab("lab", "Latent lab"):
                    self.lab = LabTab(self.open_tab, self.current)
                with self._tab("equal", "Equal bytes"):
                    self.equal_bytes = EqualBytesTab(self.open_tab, self.current)
                with self._tab("files", "Files"):
                    self.files = FilesTab()
                with self._tab("batch", "Batch"):
                    self.batch = BatchTab()
                with self._tab("model", "The model"):
                    self.model = ModelTab(self.open_tab, self.current)
        self.controls.actions.settings["checkpoint"] = self.model.checkpoint
        self.controls.actions.tabs = [*self.tabs]

    def _tab(self, name: str, label: str) -> gr.Tab:
        self.tabs[name] = gr.Tab(label, id=name, elem_id=f"tab-{name}")
        return self.tabs[name]

    def wire(self, blocks: gr.Blocks) -> None:
        """Connect the events of all parts, and start a visit when a browser has loaded `blocks`."""
        controls, overview, checkpoint = self.controls, self.overview, self.model.checkpoint
        controls.actions.wire()
        controls.refine.wire()
        self.lab.wire(overview.mosaic)
        self.equal_bytes.wire()
        self.files.wire(checkpoint, self.current)
        self.batch.wire(checkpoint, controls.settings)
        self.model.wire(self.tabs["model"])

        work = {
            "outputs": overview.outputs,
            "show_progress_on": [overview.table, self.lab.status, self.equal_bytes.status],
            "trigger_mode": "always_last",  # the last of several requests counts, and none is dropped during another
            **NETWORK_EVENT,
        }
        picture = [self.source, self.part, overview.discarded]
        reconstruct = {
            "fn": overview.reconstruct,
            "inputs": [*picture, self.current, checkpoint, *controls.settings],
            **work,
        }
        change_rate = {
            "fn": overview.change_rate,
            "inputs": [self.source, self.part, self.current, checkpoint, *controls.settings],
            **work,
        }
        refine = {
            "fn": overview.refine,
            "inputs": [self.current, *controls.rates, controls.refine.steps],
            **work,
            "show_progress_on": controls.refine.status,
        }
        uploaded = controls.upload.upload(
            lambda path: (None, path, None, None), controls.upload, [controls.upload, *picture], **QUICK_EVENT
        )
        chosen = controls.examples.select(choose_example, outputs=picture, **EACH_EVENT)
        cropped = overview.table.select(overview.choose_part, self.current, picture, **EACH_EVENT)
        start = controls.actions.restore_event(self.source, checkpoint, controls.alert)
        visited, continued = blocks.load(**start), controls.actions.bar.restore(**start)
        visited.then(describe, checkpoint, controls.described, **QUICK_EVENT)
        setting = gr.on([controls.color.input, controls.side.input, checkpoint.input], supersede, **QUICK_EVENT)
        checkpoint.input(describe, checkpoint, controls.described, **QUICK_EVENT)
        rate = [controls.rate, controls.scale, self.current]
        at_rate = [self.current, *controls.rates]
        latest = {"trigger_mode": "always_last", **QUICK_EVENT}  # arrows choose faster than the server answers
        rated = controls.rate.input(controls.follow_rate, rate, [controls.scale, controls.size], **latest)
        scaled = controls.scale.input(controls.follow_scale, rate, [controls.rate, controls.size], **latest)
        controls.quality.input(overview.show_preview, at_rate, overview.preview, **latest)
        again = [controls.upload.upload, controls.examples.select, overview.table.select, checkpoint.input]
        again += [controls.color.input, controls.side.input, controls.rate.input, controls.scale.input]
        again += [controls.quality.release, controls.size.submit]
        alerts = [controls.alert, controls.size_alert]  # of the attempt before
        gr.on(again, None, outputs=alerts, js="() => ['', '']", **QUICK_EVENT)
        released = [controls.quality.release, controls.size.submit, controls.size.blur]
        for event, next_event in (
            (uploaded.then(supersede, **QUICK_EVENT), reconstruct),
            (chosen.then(supersede, **QUICK_EVENT), reconstruct),
            (cropped.then(supersede, **QUICK_EVENT), reconstruct),
            (visited, reconstruct),
            (continued.then(supersede, **QUICK_EVENT), reconstruct),
            (setting, reconstruct),
            (controls.refine.start.click(supersede_background, **QUICK_EVENT), refine),
            (rated.then(supersede_requested, **QUICK_EVENT), change_rate),
            (scaled.then(supersede_requested, **QUICK_EVENT), change_rate),
            (gr.on(released, overview.supersede_at_other_rate, at_rate, **QUICK_EVENT), change_rate),
        ):
            self._refresh_open_tab(event.then(**next_event))
        for name, tab in self.tabs.items():
            self._refresh_open_tab(tab.select(lambda name=name: name, outputs=self.open_tab, **EACH_EVENT))

    def _refresh_open_tab(self, event: Any) -> None:
        """After the event, let each tab that shows the current result look whether it is open and outdated."""
        for tab in (self.lab, self.equal_bytes, self.model):
            event = event.then(**tab.refresh_event, **NETWORK_EVENT)
