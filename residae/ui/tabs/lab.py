"""The tab Latent lab: change the latent and see what the decoder makes of it. Nothing is encoded again."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from residae import charts, heatmaps
from residae.edit import Edits, channel_losses, decode_edited, encode_other
from residae.errors import ResidaeError
from residae.image import Picture, Pixels, fit
from residae.pipeline import Encoding, Reconstruction, network_pixels
from residae.progress import Progress, between, uncancellable
from residae.ui import static
from residae.ui.actions import edited_facts, subject
from residae.ui.cache import CPU_SIDE, EXAMPLES, open_at_size
from residae.ui.components import (
    EACH_EVENT,
    NETWORK_EVENT,
    QUICK_EVENT,
    alert_bar,
    example_gallery,
    segments,
    slider,
    status_line,
)
from residae.ui.previews import preview_channel, preview_value
from residae.ui.state import CurrentResult
from residae.ui.store import RecentlyUsed, renew_result
from residae.ui.text import by_pointer, channel_figures, channel_sentence, decibels, dismissible, edited_sentence
from residae.ui.viewer import light_table, pane, png_file, report_table, table, with_facts
from residae.ui.work import Priority, Stopped, Updates, Work, newest, report_errors, supersede_background
from residae.ui.zero_gpu import ON_ZERO_GPU

TEMPLATE = """
<label class="scale"><input type="checkbox"> One color scale for all channels</label>
<div class="strips"></div>
"""
PLANES = ("Luma", "Blue chroma", "Red chroma")
MAX_GAIN = 2.0
SCRIPT = f"const MAX_GAIN = {MAX_GAIN};\n" + static.read("mixer.js")
PREVIEWS: RecentlyUsed[tuple[Encoding, Edits, Encoding | None], Pixels] = RecentlyUsed(16 * 10**6)
MEASURED_SIDE = 256  # pixels, at least, at which channels are muted in turn
MEASURE, MEASURE_AGAIN = "Measure what each channel is worth", "Measure again"
UNMEASURED = "Muting each channel in turn shows how much luma PSNR is lost without it."
NOTE = (
    "M mutes a channel, S (solo) mutes all others, and the slider scales its deviation from its mean, in luma and "
    "chroma alike. Each tile has its own color scale; on one scale for all, vivid tiles vary most. The percentage is "
    "the channel’s share of the bits, luma and chroma together."
)
BLEND_WITH = "Blend with {}"  # the name of a picture
OWN_BLEND = "Or upload your own"
THUMBNAIL = '{{#if value}}<img src="{{value.url}}" alt="">{{/if}}'
THUMBNAIL_SIDE = 352  # pixels: twice the width of its place


@dataclass(frozen=True, eq=False)
class LabState:
    """What edits start from.

    Attributes:
        current: The result that is edited.
        preview: Encoding of its picture at the side of a preview; None on ZeroGPU, which would be borrowed for each.
        whole: Its encoding, with the latents that its file holds.
        blend_path: Of the picture that is blended in.
        blend_preview: Encoding of that picture in the size of `preview`.
        blend: Encoding of that picture in the size of `whole`.
        edits: Those that the page shows; None until they are decoded at full size.
        shown: The edits of the picture that stands until then, and the encoding as `blend_preview` that was blended in;
            None before the first picture of this result.
    """

    current: CurrentResult
    preview: Encoding | None
    whole: Encoding
    blend_path: str | None = None
    blend_preview: Encoding | None = None
    blend: Encoding | None = None
    edits: Edits | None = None
    shown: tuple[Edits, Encoding | None] | None = None

    @property
    def planes(self) -> tuple[str, ...]:
        """Names of the picture's planes."""
        return PLANES[: len(self.whole.latents)]


class LabTab:
    """The tab Latent lab.

    Shows the picture from its edited latent, a mixer with a strip for each channel, further edits, one channel
    enlarged, and a chart of what each channel takes and is worth. It holds a LabState, the gains of the mixer, the
    path of the picture to blend in, the index of the enlarged channel and the plane that was chosen. An edit decodes a
    preview, then the whole; when the tab is open, it follows the current result.
    """

    def __init__(self, open_tab: gr.State, current: gr.State) -> None:
        self.current = current
        self.state, self.gains, self.blend_path = gr.State(), gr.State(()), gr.State(EXAMPLES[1])
        self.index, self.chosen_plane = gr.State(0), gr.State(PLANES[0])
        self.table = light_table("edited", "The picture decoded from its edited latent appears here.")
        self.preview = preview_channel("edited")
        self.status = status_line("lab-status")
        self.plane = segments([(name, name) for name in PLANES], PLANES[0], "Plane", "plane", container=False)
        self.mixer = gr.HTML(html_template=TEMPLATE, js_on_load=SCRIPT, apply_default_css=False, elem_id="mixer")
        with gr.Row():
            gr.HTML(f'<p class="note">{NOTE} {by_pointer("Press", "Tap")} a tile to enlarge it.</p>')
            self.reset = gr.Button("Reset", size="sm", elem_id="reset", scale=0)
        with gr.Row(elem_id="edits-row"):
            self.step = slider(0, 3, value=0, step=0.1, label="Rounding step", info="In standard deviations")
            self.noise = slider(0, 3, value=0, step=0.1, label="Noise", info="In standard deviations")
            self.blend = slider(0, 1, value=0, step=0.05, label="Blend", info="With the picture chosen below")
        with gr.Row(elem_id="blend-row"):
            self.blend_examples = example_gallery("Picture to blend with", BLEND_WITH, "others", selected=1)
            with gr.Column(min_width=0, elem_id="own"):
                self.blend_thumbnail = gr.HTML(html_template=THUMBNAIL, apply_default_css=False, elem_id="own-picture")
                self.blend_upload = gr.File(label=OWN_BLEND, elem_id="other", height=84)
        self.blend_alert = alert_bar("blend-alert", of_result=False)
        with gr.Row():
            with gr.Column(min_width=320):
                self.chart = gr.HTML(elem_id="channels", apply_default_css=False)
                self.measure = gr.Button(MEASURE, size="sm", elem_id="measure")
                self.measured = status_line("measure-status")
            with gr.Column(min_width=320):
                self.channel = light_table("channel", "One channel of the latent appears here, enlarged.")
        edits = [self.gains, self.step, self.noise, self.blend, self.blend_path]
        self.refresh_event: dict[str, Any] = {
            "fn": self.refresh,
            "inputs": [open_tab, current, self.state, self.chosen_plane, self.index, *edits],
            "outputs": [
                self.state,
                self.table,
                self.preview,
                self.status,
                self.plane,
                self.mixer,
                self.chart,
                self.measure,
                self.measured,
                self.channel,
            ],
            "show_progress_on": self.status,
        }

    def wire(self, mosaic: gr.HTML) -> None:
        """Connect the events of the tab's own components and of the channel mosaic; `Page` connects `refresh_event`."""
        decode: dict[str, Any] = {**self.refresh_event, "trigger_mode": "always_last", **NETWORK_EVENT}
        others = [self.step, self.noise, self.blend, self.blend_path]
        preview: dict[str, Any] = {
            "fn": self.show_preview,
            "inputs": [self.state, self.gains, *others],
            "outputs": self.preview,
        }
        mixed: dict[str, Any] = {
            "fn": self.read_gains,
            "inputs": [self.state, *others, self.mixer],
            "outputs": [self.gains, self.preview],
            "js": "(...values) => [...values.slice(0, -1), residae.gains()]",
            "trigger_mode": "always_last",  # the data of an event would be those of the first
        }
        self.mixer.input(**mixed, **QUICK_EVENT).then(**decode)
        gr.on([self.step.release, self.noise.release, self.blend.release], **preview, **QUICK_EVENT).then(**decode)
        choice = [self.blend_path, self.blend_examples, self.blend_upload, self.blend_thumbnail, self.blend_alert]
        chosen = self.blend_examples.select(self.choose_blend, outputs=choice, **EACH_EVENT)
        chosen.then(supersede_background, **QUICK_EVENT).then(**decode)
        uploaded = self.blend_upload.upload(self.take_blend, [self.blend_upload, self.state], choice, **QUICK_EVENT)
        uploaded.then(**decode)
        controls = [self.gains, self.step, self.noise, self.blend, self.mixer]
        cleared = self.reset.click(self.clear, [self.state, self.plane], controls, **QUICK_EVENT)
        cleared.then(supersede_background, **QUICK_EVENT).then(**decode)
        shown = [self.state, self.plane]
        planes = [self.chosen_plane, self.mixer, self.channel]
        self.plane.input(self.show_plane, [*shown, self.index], planes, trigger_mode="always_last", **QUICK_EVENT)
        gr.on([self.mixer.select, mosaic.select], self.enlarge, shown, [self.index, self.channel], **EACH_EVENT)
        self.measure.click(
            self.measure_channels,
            self.state,
            [self.chart, self.measure, self.measured],
            show_progress_on=self.measured,
            **NETWORK_EVENT,
        )

    def refresh(
        self,
        open_tab: str,
        current: CurrentResult | None,
        state: LabState | None,
        plane: str,
        index: int,
        gains: tuple[float, ...],
        step: float,
        noise: float,
        blend: float,
        blend_path: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Take up the current result and decode its edited latent, if the tab is open and does not show it already.

        Leaving the number beside a slider counts as a release, so the edits may be those that are shown.

        Args:
            open_tab: Id of the open tab; "lab" is this one.
            current: The result that the page shows; None before the first. Once it is this work's turn, a newer one is
                taken.
            state: What the tab holds; None before its first result. It is made anew for a new result.
            plane: The one of PLANES that was chosen last. A new result is shown by it if it has it, also where it is
                chosen while this works.
            index: Index of the enlarged channel, from 0.
            gains: As in `Edits`. Those of a checkpoint with another number of channels count as none.
            step: Value of its slider, as in `Edits`.
            noise: Value of its slider, as in `Edits`.
            blend: Value of its slider, as in `Edits`.
            blend_path: Path of the picture to blend in, which is used where `blend` is above 0.
            request: From Gradio; it names the session.
            progress: From Gradio; it shows the progress in `status`.

        Yields:
            Updates of the outputs of `refresh_event`: for a new result the channels, then a preview if there could be
            none before, then the picture, then its figures.
        """

        def work() -> Iterator[Updates]:
            if open_tab != "lab" or current is None:
                return
            with Work(request, progress, "Decoding the edited latent.", Priority.BACKGROUND) as running:
                yield from follow(running)

        def follow(running: Work) -> Iterator[Updates]:
            shown, edited = newest(request, self.current, current), newest(request, self.state, state)
            if shown is None:
                return
            edits = fitting_edits(shown, gains, blend, step, noise)
            if edited and edited.current != shown:
                edited = None
            encodes = 1 if blend and (not edited or blend_path != edited.blend_path) else 0
            if edited and edits == edited.edits and not encodes:
                yield {self.preview: None}  # of an edit that was undone before it was decoded
                return
            running.charge(shown.encoding.work(encodes=encodes, decodes=1), shown.pipeline.engine.on_gpu)
            if edited:
                yield from self._decode(edited, edits, blend_path, running)
                return
            edited = prepare(shown, between(running, 0, 0.2))
            drawn = chosen_plane(edited)
            channels = {self.chart: draw_channels(edited), self.measure: MEASURE, self.measured: ""}
            planes = gr.Radio([*edited.planes], value=drawn)
            first = {self.table: unedited_table(shown)} if state is None and is_served(shown) else {}
            yield {self.state: edited, self.plane: planes, **channels, **first, **self._in_plane(edited, drawn, index)}
            yield from self._decode(edited, edits, blend_path, between(running, 0.2, 1))
            if (chosen := chosen_plane(edited)) != drawn:  # pressed before there was a state to show it by
                yield {self.plane: chosen, **self._in_plane(edited, chosen, index)}

        def chosen_plane(edited: LabState) -> str:
            chosen = newest(request, self.chosen_plane, plane)
            return chosen if chosen in edited.planes else PLANES[0]

        yield from report_errors(self.status, work())

    def _decode(self, state: LabState, edits: Edits, blend_path: str, progress: Progress | None) -> Iterator[Updates]:
        """Decode the edited latent, after a preview where there could be none before."""
        yield {self.state: replace(state, edits=None)}  # so that work that ends early is done again
        current, pipeline = state.current, state.current.pipeline
        other: Picture | None = None
        if edits.blend and state.blend_path != blend_path:  # without which there could be no preview
            other = open_at_size(blend_path, max(state.whole.height, state.whole.width))
            small = state.preview and encode_other(pipeline, other, state.preview, between(progress, 0, 0.1))
            state = replace(state, blend_path=blend_path, blend_preview=small, blend=None)
            if preview := preview_edits(state, edits):
                yield {self.preview: preview}
        part = between(progress, 0.1, 1)
        edited, decoding, blend = decode_edited(pipeline, state.whole, edits, other or state.blend, part)
        report = pipeline.measure(current.picture(), edited, None, decoding)
        shown = self._table(state, report, edits)
        yield {
            self.state: replace(state, edits=edits, blend=blend, shown=(edits, state.blend_preview)),
            self.table: shown,
            self.status: edited_sentence(report, current.psnr),
        }
        with uncancellable():
            measured = edited_facts(current, report, edits)  # SSIM takes longer than all before but the decoder
        yield {self.table: with_facts(shown, measured)}

    def _table(self, state: LabState, report: Reconstruction, edits: Edits) -> dict[str, Any]:
        """The edited picture beside the one without edits, or beside the original where that was deleted."""
        shown = report_table(report, "Edited")
        for one in shown["panes"][1:]:  # the status, which says it too, does not stay in the window of a phone
            one["caption"] = decibels(report.psnr)
        if is_served(state.current):
            shown = beside_unedited(shown, state.current)
        return shown | {"subject": subject(state.current), "edited": bool(edits)}

    def _strips(self, state: LabState, plane: str, reset: float = 0) -> dict[str, Any]:
        """The value of the mixer: the strips of a plane, each with its channel on its own scale and on one for all.

        A `reset` other than the last one resets the controls in the browser.
        """
        latent = state.whole.latents[PLANES.index(plane)]
        bits = channel_bits(state)
        shares = [None] * len(latent) if bits is None else [*(bits / bits.sum())]
        tiles = zip(latent, heatmaps.latent_tiles(latent), shares, strict=True)
        strips = [
            {
                "own": png_file(heatmaps.latent_tiles(channel[None])[0], "channel.png"),
                "common": png_file(tile, "channel.png"),
                "share": share,
            }
            for channel, tile, share in tiles
        ]
        return {"strips": strips, "reset": reset}

    def _in_plane(self, state: LabState, plane: str, index: int) -> Updates:
        """The mixer and the enlarged channel of a plane."""
        return {self.mixer: self._strips(state, plane), **self._enlarged(state, plane, index)}

    def measure_channels(
        self,
        state: LabState | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Mute each channel in turn, on luma at a small size, and chart the loss.

        Args:
            state: What the tab holds; None before its first result.
            request: From Gradio; it names the session.
            progress: From Gradio; it shows the progress below the chart.

        Yields:
            The chart after each channel, then a sentence below it, and what the button does from then on.
        """

        def work() -> Iterator[Updates]:
            if state is None:
                return
            with Work(request, progress, "Muting each channel in turn.", Priority.BACKGROUND) as running:
                pipeline, scale = state.current.pipeline, state.whole.scale
                side = max(MEASURED_SIDE, state.current.preview_side)
                picture = fit(state.current.picture(), side)
                decodes = 1 + pipeline.latent_channels
                pixels = network_pixels(picture.height, picture.width, False, scale, decodes=decodes)
                running.charge(pixels, pipeline.engine.on_gpu)
                losses = [math.nan] * pipeline.latent_channels
                for channel, loss in enumerate(channel_losses(pipeline, picture, scale, running)):
                    losses[channel] = loss
                    yield {self.chart: draw_channels(state, losses)}
                    running.give_way()
                sentence = f"<p>Measured on luma at {side} px, without quantization.</p>"
                yield {self.measure: MEASURE_AGAIN, self.measured: sentence}

        yield from report_errors(self.measured, work())

    def read_gains(
        self,
        state: LabState | None,
        step: float,
        noise: float,
        blend: float,
        blend_path: str,
        gains: list[float],
        request: gr.Request,
    ) -> Updates:
        """Take up the gains that the mixer sends, within their bounds, and show a preview of them.

        Args:
            state: What the tab holds; None before its first result.
            step: Value of its slider, as in `Edits`.
            noise: Value of its slider, as in `Edits`.
            blend: Value of its slider, as in `Edits`.
            blend_path: Path of the picture to blend in.
            gains: Those of each channel in the mixer, which are clipped to 0 to MAX_GAIN.
            request: From Gradio; it names the session.

        Returns:
            Updates of `gains` and `preview`.
        """
        taken = tuple(min(max(float(gain), 0.0), MAX_GAIN) for gain in gains)
        return {self.gains: taken, **self.show_preview(state, taken, step, noise, blend, blend_path, request)}

    def show_preview(
        self,
        state: LabState | None,
        gains: tuple[float, ...],
        step: float,
        noise: float,
        blend: float,
        blend_path: str,
        request: gr.Request,
    ) -> Updates:
        """Show at once what edits give, in place of the work for earlier ones. `refresh` follows, and shows the whole.

        What goes wrong is left to `refresh`; so is a preview with a picture that was not encoded yet.

        Args:
            state: What the tab holds; None before its first result.
            gains: As in `Edits`.
            step: Value of its slider, as in `Edits`.
            noise: Value of its slider, as in `Edits`.
            blend: Value of its slider, as in `Edits`.
            blend_path: Path of the picture to blend in.
            request: From Gradio; it names the session.

        Returns:
            The update of `preview`, which None removes.
        """
        supersede_background(request)
        with suppress(ResidaeError, Stopped), Work(request, priority=Priority.BACKGROUND):
            shown = newest(request, self.state, state)
            if shown and (not blend or blend_path == shown.blend_path):
                edits = fitting_edits(shown.current, gains, blend, step, noise)
                return {self.preview: None if edits == shown.edits else preview_edits(shown, edits)}
        return {self.preview: gr.skip()}

    def choose_blend(self, event: gr.SelectData) -> Updates:
        """Choose an example to blend in, which is then marked by Gradio, and the upload no longer."""
        return {
            self.blend_path: EXAMPLES[int(event.index)],
            self.blend_upload: gr.File(label=OWN_BLEND, elem_classes=[]),
            self.blend_thumbnail: None,
            self.blend_alert: "",
        }

    def take_blend(self, uploaded: str, state: LabState | None, request: gr.Request) -> Updates:
        """Choose an uploaded picture to blend in: the upload shows it, and is marked in place of an example.

        It is opened at once, although `refresh` needs it only where `blend` is above 0. One that cannot be opened is
        refused below the upload, and the choice remains.

        Args:
            uploaded: Path of the picture.
            state: What the tab holds; None before its first result.
            request: From Gradio; it names the session.

        Returns:
            Updates of the choice and of the place for an error below it.
        """
        try:
            with Work(request, needs_turn=False):
                side = max(state.whole.height, state.whole.width) if state else CPU_SIDE
                thumbnail = png_file(fit(open_at_size(uploaded, side), THUMBNAIL_SIDE).pixels, "thumbnail.png")
        except ResidaeError as error:
            return {self.blend_upload: gr.File(None), self.blend_alert: dismissible(error)}
        except Stopped:
            return {self.blend_upload: gr.File(None)}
        taken = gr.File(None, label=BLEND_WITH.format(Path(uploaded).name), elem_classes=["chosen"])
        return {
            self.blend_path: uploaded,
            self.blend_examples: gr.Gallery(selected_index=None),
            self.blend_upload: taken,
            self.blend_thumbnail: thumbnail,
            self.blend_alert: "",
        }

    def clear(self, state: LabState | None, plane: str) -> Updates:
        """Reset every edit.

        Args:
            state: What the tab holds; None before its first result.
            plane: The one of PLANES that the mixer shows.

        Returns:
            Updates of the gains, the sliders and the mixer.
        """
        mixer = self._strips(state, plane, reset=time.time()) if state else None
        return {self.gains: (), self.step: 0, self.noise: 0, self.blend: 0, self.mixer: mixer}

    def show_plane(self, state: LabState | None, plane: str, index: int) -> Updates:
        """Show the channels of another plane.

        Args:
            state: What the tab holds; None before its first result.
            plane: The one of PLANES that was just chosen.
            index: Index of the enlarged channel, from 0.

        Returns:
            Updates of `chosen_plane`, the mixer and the enlarged channel; before a result of the first alone.
        """
        return {self.chosen_plane: plane, **(self._in_plane(state, plane, index) if state else {})}

    def enlarge(self, state: LabState | None, plane: str, event: gr.EventData) -> Updates:
        """Show the channel whose tile was pressed, on a color scale of its own; at once, or when the tab is opened.

        Args:
            state: What the tab holds; None before its first result.
            plane: The one of PLANES that the mixer shows.
            event: The press in the mixer or the mosaic; its `index` is that of the channel, from 0.

        Returns:
            Updates of the index and of the enlarged channel.
        """
        index = max(int(event.index), 0)
        return {self.index: index, **(self._enlarged(state, plane, index) if state else {})}

    def _enlarged(self, state: LabState, plane: str, index: int) -> Updates:
        latent = state.whole.latents[PLANES.index(plane)]
        index = min(index, len(latent) - 1)  # which may be of a network with more channels
        values = latent[index]
        pixels = heatmaps.latent_channel(values)
        name = f"Channel {index + 1}" + (f" of {plane.lower()}" if len(state.planes) > 1 else "")
        panes = [pane(name, f"{name} of the latent, enlarged", pixels, channel_figures(values, state.current.quality))]
        views = [{"name": name, "panes": [0], "key": charts.channel_bar(*heatmaps.channel_scale(values))}]
        return {self.channel: table(panes, views, pixels.shape[:2], 1)}


def beside_unedited(shown: dict[str, Any], current: CurrentResult) -> dict[str, Any]:
    """A light table that shows what edits change, without what the codec loses; the original is behind Space.

    Args:
        shown: From `report_table`.
        current: The result without edits, which `is_served`.
    """
    original, edited, error = shown["panes"]
    unedited = unedited_pane(current)
    divided, side_by_side, error_alone = shown["views"]
    views = [divided | {"panes": [1, 2]}, side_by_side | {"panes": [1, 2]}, error_alone | {"panes": [3]}]
    return shown | {"panes": [original, unedited, edited, error], "views": views, "result": 2}


def unedited_pane(current: CurrentResult) -> dict[str, Any]:
    """A pane, as by `pane`, with the picture of a result that `is_served`."""
    alt, picture = "The picture rebuilt from its latent without edits", current.reconstruction
    return pane("Unedited", alt, picture, decibels(current.psnr), measured=True)


def unedited_table(current: CurrentResult) -> dict[str, Any]:
    """A light table with the picture of a result that `is_served`, until there is one from an edited latent."""
    panes = [unedited_pane(current)]
    views = [{"name": "Unedited", "panes": [0], "stack": True}]
    size = current.encoding.height, current.encoding.width
    return table(panes, views, size, 1) | {"subject": subject(current)}


def is_served(current: CurrentResult) -> bool:
    """Whether the page still serves the picture of a result, which is then kept for as long as a new one."""
    return current.reconstruction is not None and renew_result(current.reconstruction["path"])


def fitting_edits(current: CurrentResult, gains: tuple[float, ...], blend: float, step: float, noise: float) -> Edits:
    """The edits of a result, without the gains if they are of a network with another number of channels.

    Args:
        current: The result to edit.
        gains: As in `Edits`.
        blend: As in `Edits`.
        step: As in `Edits`.
        noise: As in `Edits`.
    """
    return Edits(gains if len(gains) == current.pipeline.latent_channels else (), blend, step, noise)


def preview_edits(state: LabState, edits: Edits) -> dict[str, Any] | None:
    """A preview of edits; None without a picture to change, where the whole takes no longer, and on ZeroGPU.

    Args:
        state: The result to edit, and the picture to blend in if the edits have a share of it.
        edits: What to do to its latent.

    Returns:
        As `preview_value`.
    """
    small, whole, pipeline = state.preview, state.whole, state.current.pipeline
    if small is None or state.shown is None or 2 * max(small.height, small.width) >= max(whole.height, whole.width):
        return None

    def decoded(edits: Edits, blend: Encoding | None) -> Pixels:
        key = small, edits, blend
        if (pixels := PREVIEWS.get(key)) is None:
            pixels = decode_edited(pipeline, small, edits, blend)[1].pixels
            PREVIEWS.keep(key, pixels, pixels.nbytes)
        return pixels

    return preview_value(decoded(*state.shown), decoded(edits, state.blend_preview))


def channel_bits(state: LabState) -> Any:
    """(C,) bits of the file that each channel takes, over all planes; None where there is no file."""
    compressed = state.current.compressed
    return state.current.pipeline.channel_bits(compressed).sum(0) if compressed else None


def draw_channels(state: LabState, losses: Sequence[float] = ()) -> str:
    """A sentence and a chart of the bits of each channel, if there is a file, and of the losses by muting it.

    Args:
        state: The state with the result whose file takes the bits.
        losses: (C,) loss of luma PSNR in dB, not a number where it is not measured; empty where none is.

    Returns:
        HTML. Before losses are measured, a sentence has the room of their chart, with the button that measures them.
    """
    bits = channel_bits(state)
    sentence, shares = (channel_sentence(bits), charts.channel_chart(bits, None)) if bits is not None else ("", "")
    if losses:
        return sentence + charts.channel_chart(bits, losses)
    return f'{sentence}{shares}<p class="unmeasured">{UNMEASURED}</p>'


def prepare(current: CurrentResult, progress: Progress | None) -> LabState:
    """The state before any edit.

    Args:
        current: The result to edit, which is encoded again at the size of a preview, but on ZeroGPU.
        progress: Called with the share done, in (0, 1]; it may raise to stop the work.
    """
    pipeline, encoding = current.pipeline, current.encoding
    state = LabState(current, None, pipeline.stored(encoding, current.compressed))
    if ON_ZERO_GPU:
        return state
    small = fit(current.picture(), current.preview_side)
    return replace(state, preview=pipeline.encode(small, current.color, progress, encoding.scale))
