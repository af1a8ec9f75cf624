"""The tab Latent lab: change the latent, and see what the decoder makes of it. Nothing is encoded again."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from residae import charts, heatmaps
from residae.edit import Edits, channel_losses, reconstruct_edited
from residae.image import cover, fit
from residae.pipeline import Encoding, Reconstruction
from residae.progress import between
from residae.ui import static
from residae.ui.cache import EXAMPLES, open_at_size
from residae.ui.components import MODEL, PLAIN, our_pictures, slider, work_line
from residae.ui.state import CurrentResult
from residae.ui.text import channel_numbers, channel_sentence, edited_sentence, note
from residae.ui.viewer import as_file, light_table, pane, report_table, table
from residae.ui.work import Priority, Updates, progress_reporter, report_errors, supersede_background

SCRIPT = static.read("mixer.js")
PLANES = ("Luma", "Blue chroma", "Red chroma")
PREVIEW = 256  # pixels of the long side
NOTE = (
    "M mutes, S plays alone, the slider scales what a channel deviates from its mean: in luma and chroma alike. All "
    "tiles share one color scale: vivid ones vary most. The percentage is the channel's share of the file, luma and "
    "chroma together. Press a tile to enlarge it."
)


@dataclass(frozen=True, eq=False)
class Material:
    """What edits start from: latents of what is shown, small and whole, and of the picture that is blended in."""

    shown: CurrentResult
    small: Encoding
    whole: Encoding
    other: str | None = None
    others: tuple[Encoding, Encoding] | None = None
    edits: Edits | None = None  # those that the page shows whole


class Lab:
    def __init__(self, tab: gr.State, shown: gr.State) -> None:
        self.tab, self.shown = tab, shown
        self.material, self.gains, self.other = gr.State(), gr.State(()), gr.State(EXAMPLES[1])
        self.table = light_table("edited", "The picture from its edited latent appears here.")
        self.status = work_line("lab-status")
        self.plane = gr.Radio(PLANES[:1], value=PLANES[0], show_label=False, container=False, visible=False)
        self.mixer = gr.HTML(
            html_template='<div class="strips"></div>', js_on_load=SCRIPT, apply_default_css=False, elem_id="mixer"
        )
        gr.HTML(note(NOTE))
        with gr.Row(elem_id="edits-row"):
            self.step = slider(0, 3, value=0, step=0.1, label="Coarser steps", info="In standard deviations")
            self.noise = slider(0, 3, value=0, step=0.1, label="Noise", info="In standard deviations")
            self.blend = slider(0, 1, value=0, step=0.05, label="Blend", info="With the picture chosen below")
        with gr.Row(elem_id="blend-row"):
            self.others = our_pictures("Picture to blend with", "Blend with {}", "others", selected=1)
            self.other_upload = gr.File(label="Or one of yours", elem_id="other", height=84)
            self.reset = gr.Button("Reset", size="sm", elem_id="reset", scale=0, min_width=120)
        with gr.Row():
            with gr.Column(min_width=320):
                self.chart = gr.HTML(elem_id="channels", apply_default_css=False)
                self.measure = gr.Button("Measure what each channel is worth", size="sm", elem_id="measure")
            with gr.Column(min_width=320):
                self.channel = light_table("channel", "Press a tile to enlarge its channel.")
        self.outputs = [self.material, self.table, self.status, self.plane, self.mixer, self.chart, self.channel]
        self._wire()

    def _wire(self) -> None:
        edits = [self.gains, self.step, self.noise, self.blend, self.other]
        self.refreshing: dict[str, Any] = {
            "fn": self.refresh,
            "inputs": [self.tab, self.shown, self.material, *edits],
            "outputs": self.outputs,
            "show_progress_on": self.status,
        }
        decode = {**self.refreshing, "trigger_mode": "always_last", **MODEL}
        self.mixer.input(self.take_gains, outputs=self.gains, **PLAIN).then(supersede_background, **PLAIN).then(
            **decode
        )
        gr.on([self.step.release, self.noise.release, self.blend.release], supersede_background, **PLAIN).then(**decode)
        self.others.select(self.take_example, outputs=self.other, **PLAIN).then(supersede_background, **PLAIN).then(
            **decode
        )
        self.other_upload.upload(
            lambda path: (path, None), self.other_upload, [self.other, self.other_upload], **PLAIN
        ).then(**decode)
        cleared = [self.gains, self.step, self.noise, self.blend, self.mixer]
        emptied = self.reset.click(self.clear, [self.material, self.plane], cleared, **PLAIN)
        emptied.then(supersede_background, **PLAIN).then(**decode)
        self.plane.input(self.show_plane, [self.material, self.plane], [self.mixer, self.channel], **PLAIN)
        self.mixer.select(self.look, [self.material, self.plane], self.channel, **PLAIN)
        self.measure.click(self.weigh, self.material, [self.chart, self.status], show_progress_on=self.status, **MODEL)

    def refresh(
        self,
        tab: str,
        shown: CurrentResult | None,
        material: Material | None,
        gains: tuple[float, ...],
        step: float,
        noise: float,
        blend: float,
        other: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Take up what is shown now, if it is not taken up already, and decode its edited latent: small at once, then
        whole. To leave the number beside a slider is a release of it: with the edits that are shown, nothing is to be
        done."""

        def work() -> Iterator[Updates]:
            if tab != "lab" or shown is None:
                return
            fitting = gains if len(gains) == shown.pipeline.latent_channels else ()  # they may be of another checkpoint
            edits = Edits(fitting, blend, step, noise)
            if not material or material.shown != shown:
                tell = progress_reporter(progress, request, "Preparing.", Priority.BACKGROUND)
                fresh = prepared(shown, between(tell, 0, 0.2))
                yield {
                    self.material: fresh,
                    **self.strips(fresh, PLANES[0]),
                    **self.chart_of(fresh, None),
                    **self._enlarged(fresh, PLANES[0], 0),
                }
                yield from self._decoded(fresh, edits, other, between(tell, 0.2, 1))
            elif edits != material.edits or (blend and other != material.other):
                yield from self._decoded(
                    material, edits, other, progress_reporter(progress, request, priority=Priority.BACKGROUND)
                )

        yield from report_errors(self.status, work())

    def _decoded(self, material: Material, edits: Edits, other: str, tell: Any) -> Iterator[Updates]:
        yield {self.material: replace(material, edits=None)}  # until all is well
        if edits.blend:
            material = with_other(material, other, between(tell, 0, 0.3))
        pipeline, shown = material.shown.pipeline, material.shown
        picture = shown.picture()
        small, whole = material.others or (None, None)
        if edits and max(picture.width, picture.height) > 2 * PREVIEW:
            preview = reconstruct_edited(
                pipeline, fit(picture, PREVIEW), material.small, edits, small, between(tell, 0.3, 0.4)
            )
            yield {self.table: self._table(preview, shown), self.status: "<p>A small preview.</p>"}
        report = reconstruct_edited(pipeline, picture, material.whole, edits, whole, between(tell, 0.4, 1))
        yield {
            self.material: replace(material, edits=edits),
            self.table: self._table(report, shown),
            self.status: edited_sentence(report, shown.psnr),
        }

    def _table(self, report: Reconstruction, shown: CurrentResult) -> dict[str, Any]:
        value = report_table(report, "Edited")
        return value | {"size": [shown.encoding.width, shown.encoding.height]}

    def strips(self, material: Material, plane: str, take: float = 0) -> Updates:
        kind = PLANES.index(plane)
        planes = PLANES[: len(material.whole.latents)]
        shares = [None] * len(material.whole.latents[0])
        if material.shown.compressed:
            bits = material.shown.pipeline.channel_bits(material.shown.compressed)
            shares = list(bits.sum(0) / bits.sum())
        tiles = heatmaps.latent_tiles(material.whole.latents[kind])
        strips = [{"picture": as_file(t, "channel.png"), "share": s} for t, s in zip(tiles, shares, strict=True)]
        return {
            self.mixer: {"strips": strips, "take": take},
            self.plane: gr.Radio(planes, value=plane, visible=len(planes) > 1),
        }

    def chart_of(self, material: Material, losses: list[float] | None) -> Updates:
        compressed = material.shown.compressed
        bits = material.shown.pipeline.channel_bits(compressed).sum(0) if compressed else None
        if bits is None and losses is None:
            return {self.chart: ""}
        words = channel_sentence(bits) if bits is not None else ""
        return {self.chart: words + charts.channel_chart(bits, losses)}

    def weigh(
        self,
        material: Material | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Mute each channel in turn, on the small picture's luma, and chart what that takes away."""

        def work() -> Iterator[Updates]:
            if material is None:
                return
            losses: list[float] = []
            picture = fit(material.shown.picture(), PREVIEW)
            pipeline, tell = (
                material.shown.pipeline,
                progress_reporter(progress, request, "Muting each channel in turn.", Priority.BACKGROUND),
            )
            for loss in channel_losses(pipeline, picture, material.small, tell):
                losses.append(loss)
                padded = losses + [0.0] * (pipeline.latent_channels - len(losses))
                yield self.chart_of(material, padded)
            yield {self.status: f"<p>Measured on luma at {PREVIEW} px, without rounding.</p>"}

        yield from report_errors(self.status, work())

    def take_gains(self, event: gr.EventData) -> tuple[float, ...]:
        return tuple(min(max(float(gain), 0.0), 2.0) for gain in event.gains)

    def take_example(self, event: gr.SelectData) -> str:
        return EXAMPLES[int(event.index)]

    def clear(self, material: Material | None, plane: str) -> Updates:
        strips = self.strips(material, plane, time.time())[self.mixer] if material else None
        return {self.gains: (), self.step: 0, self.noise: 0, self.blend: 0, self.mixer: strips}

    def show_plane(self, material: Material | None, plane: str) -> Updates:
        if material is None:
            return {self.mixer: gr.skip()}
        return {self.mixer: self.strips(material, plane)[self.mixer], **self._enlarged(material, plane, 0)}

    def look(self, material: Material | None, plane: str, event: gr.EventData) -> Updates:
        """A channel on a scale of its own."""
        if material is None:
            return {self.channel: gr.skip()}
        return self._enlarged(material, plane, min(int(event.index), len(material.whole.latents[0]) - 1))

    def _enlarged(self, material: Material, plane: str, index: int) -> Updates:
        values = material.whole.latents[PLANES.index(plane)][index]
        pixels = heatmaps.latent_channel(values)
        name = f"Channel {index + 1}" + (f" of {plane.lower()}" if len(material.whole.latents) > 1 else "")
        panes = [pane(name, f"{name} of the latent, enlarged", pixels, channel_numbers(values))]
        return {self.channel: table(panes, [{"name": name, "panes": [0]}], pixels.shape[:2], 1, fresh=True)}


def prepared(shown: CurrentResult, tell: Any) -> Material:
    pipeline = shown.pipeline
    small = pipeline.encode(fit(shown.picture(), PREVIEW), shown.color, tell, shown.encoding.scale)
    return Material(shown, small, pipeline.stored(shown.encoding, shown.compressed))


def with_other(material: Material, path: str, tell: Any) -> Material:
    """The material with the other picture, cut to the size of the one that is shown."""
    if material.other == path:
        return material
    pipeline, shown = material.shown.pipeline, material.shown
    picture = open_at_size(path, max(shown.encoding.height, shown.encoding.width))
    sizes = [(e.height, e.width) for e in (material.small, material.whole)]
    scale = shown.encoding.scale
    small, whole = (pipeline.encode(cover(picture, *size), shown.color, tell, scale) for size in sizes)
    return replace(material, other=path, others=(small, whole))
