"""The tab Overview: the original and its reconstruction, what lies between them, and what is lost."""

import time
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import gradio as gr

from residae import heatmaps
from residae.errors import OutOfMemoryError, ResidaeError, SizeError
from residae.geometry import Scale
from residae.image import CropBox
from residae.pipeline import STEP_WORK, Decoding, Reconstruction
from residae.progress import CANCELLATION, between, uncancellable
from residae.ui import cache
from residae.ui.actions import describe, facts
from residae.ui.cache import EXAMPLES, FULL_SIZE, Settings, open_at_size
from residae.ui.components import stop_button
from residae.ui.controls import QUALITY, Controls, named_settings, read_settings
from residae.ui.maps import channel_mosaic, error_overview, error_value, mosaic_value
from residae.ui.previews import QUALITY_SHARE, preview_channel, preview_value
from residae.ui.refinement import Point, seconds_left
from residae.ui.state import CurrentResult
from residae.ui.store import get_pipeline
from residae.ui.text import dismissible, heading, journey, report_figures, report_sentences
from residae.ui.viewer import empty_table, light_table, original_table, report_table, with_facts
from residae.ui.work import (
    PROGRESS_INTERVAL,
    Cancelled,
    Left,
    Priority,
    Stopped,
    Updates,
    Work,
    is_at_work,
    newest,
    report_errors,
    supersede_requested,
)
from residae.ui.zero_gpu import ON_ZERO_GPU

INVITATION = "Drop a picture, or choose an example."
FORGOTTEN = "The server no longer knows this page, since it was restarted or has had many visitors: reload the page."


class OverviewTab:
    """The tab Overview.

    Shows a picture and its reconstruction, how many samples, numbers and bytes there are, the figures, the channels of
    the latent, and the error; what goes wrong is said beside the controls. It holds the path of a picture that was
    refused or cancelled. `Page` connects its events: `reconstruct` for a new picture or setting,
    `change_rate` for a new rate, `show_preview` while one is being chosen.
    """

    def __init__(self, header: gr.HTML, current: gr.State, controls: Controls) -> None:
        self.header, self.current, self.controls = header, current, controls
        self.discarded = gr.State()
        with gr.Row(elem_id="overview"):
            with gr.Column(elem_id="result"):
                with gr.Column(elem_id="picture"):  # with the progress of the work for it
                    self.table = light_table("compare", "The picture and its reconstruction appear here.")
                    self.preview = preview_channel("compare")
                    stop_button()
                self.journey = gr.HTML(elem_id="journey", apply_default_css=False)
                self.figures = gr.HTML(elem_id="figures", apply_default_css=False)
                gr.HTML('<dl class="differences numbers" hidden></dl>', elem_id="comparison", apply_default_css=False)
                self.status = gr.HTML(elem_id="status", elem_classes=["status"], apply_default_css=False)
            with gr.Column(scale=0, min_width=300, elem_id="maps"):
                self.mosaic, self.error = channel_mosaic(), error_overview()

    @property
    def outputs(self) -> list[Any]:
        """Every component that the handlers may update."""
        return [
            *(
                self.header,
                self.controls.alert,
                self.controls.size_alert,
                self.current,
                self.discarded,
                self.table,
                self.journey,
                self.figures,
            ),
            *(self.status, self.mosaic, self.error),
            *(*self.controls.settings, *self.controls.refine.outputs),
        ]

    def reconstruct(
        self,
        path: str | None,
        box: CropBox | None,
        discarded: str | None,
        current: CurrentResult | None,
        checkpoint: str,
        color: bool,
        side: int,
        scale: Scale,
        rate: str,
        quality: float,
        size: float,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Send a picture through the network and show the result.

        After a picture was discarded, new settings apply to the current result. The arguments from `checkpoint` to
        `size` are the values of the controls.

        Args:
            path: Path of the chosen picture; None before the first.
            box: The part of it to work on; None for the whole picture.
            discarded: Path of a picture that was refused or cancelled; None if there is none.
            current: The result that the page shows; None before the first. A newer one counts once it is this work's
                turn.
            checkpoint: As in `read_settings`.
            color: As in `read_settings`.
            side: As in `read_settings`.
            scale: As in `read_settings`.
            rate: As in `read_settings`.
            quality: As in `read_settings`.
            size: As in `read_settings`.
            request: From Gradio; it names the session.
            progress: From Gradio; it shows the progress on `table`.

        Yields:
            Updates of `outputs`: the result, then its SSIM, which takes time to measure. A result that is kept comes at
            once, and where there is none before it, so does the original of an example. After an error or Stop, the
            controls return to the current result.
        """

        def wanted() -> Settings:
            shown = newest(request, self.current, current)
            again = path == newest(request, self.discarded, discarded)
            chosen, part = (shown.settings.path, shown.settings.box) if shown and again else (path, box)
            if not chosen:
                raise ResidaeError(FORGOTTEN)
            return read_settings(chosen, part, checkpoint, color, side, scale, rate, quality, size)

        def work() -> Iterator[Updates]:
            settings, doing = wanted(), ("Reconstructing the picture.", Priority.NEW_PICTURE)
            kept = None if is_at_work(request) else cache.kept_report(settings)  # what runs may yet show its figures
            if kept:
                with Work(request, progress, *doing, needs_turn=False) as running:
                    updates = {key: value for update in self._show(settings, kept) for key, value in update.items()}
                    running.check()
                yield updates
                return
            if settings.path in EXAMPLES and newest(request, self.current, current) is None:
                yield {self.table: original_table(open_at_size(settings.path, settings.side, settings.box).pixels)}
            with Work(request, progress, *doing) as running:
                settings = wanted()
                yield from self._show(settings, cache.reconstruct(settings, running))

        yield from self._restore_on_failure(work(), path, current, request)

    def choose_part(self, current: CurrentResult | None, event: gr.EventData) -> Any:
        """The path of the picture to work on, the part of it, and the path of a discarded one.

        Args:
            current: The result that the page shows; None before the first.
            event: The choice on the light table; its `part` is [left, top, width, height] in pixels of the whole
                picture, or None for all of it.

        Returns:
            The path, the part, and None; no change before the first result.
        """
        if current is None:
            return gr.skip()
        part = CropBox(*(int(length) for length in event.part[:4])) if event.part else None
        return current.settings.path, part, None

    def change_rate(
        self,
        path: str | None,
        box: CropBox | None,
        current: CurrentResult | None,
        checkpoint: str,
        color: bool,
        side: int,
        scale: Scale,
        rate: str,
        quality: float,
        size: float,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Compress and decode the picture of the current result at another rate. Only a new scale encodes it again.

        Does nothing at the rate that it has, for which it waits in silence: leaving the number beside the slider counts
        as a release, also by pressing Start, and it then waits for the refinement. Reconstructs the chosen picture
        where there is no result, because the first picture failed or was cancelled.

        Args:
            path: As in `reconstruct`.
            box: As in `reconstruct`.
            current: As in `reconstruct`.
            checkpoint: As in `reconstruct`.
            color: As in `reconstruct`.
            side: As in `reconstruct`.
            scale: As in `reconstruct`.
            rate: As in `reconstruct`.
            quality: As in `reconstruct`.
            size: As in `reconstruct`.
            request: From Gradio; it names the session.
            progress: From Gradio; it shows the progress on `table`.

        Yields:
            As `reconstruct`.
        """

        def work() -> Iterator[Updates]:
            changes = not is_at_rate(current, scale, rate, quality, size)
            with Work(request, progress, "Compressing the picture.", says_waiting=changes) as running:
                if shown := newest(request, self.current, current):
                    settings = at_rate(shown.settings, scale, rate, quality, size)
                elif path:
                    settings = read_settings(path, box, checkpoint, color, side, scale, rate, quality, size)
                else:
                    raise ResidaeError(FORGOTTEN)
                if not shown or settings != shown.settings:
                    yield from self._show(settings, cache.reconstruct(settings, running))

        yield from self._restore_on_failure(work(), None, current, request)

    def supersede_at_other_rate(
        self,
        current: CurrentResult | None,
        scale: Scale,
        rate: str,
        quality: float,
        size: float,
        request: gr.Request,
    ) -> None:
        """Let `change_rate` follow at once, unless it will do nothing, for which a refinement or a batch goes on.

        Args:
            current: As in `reconstruct`.
            scale: As in `reconstruct`.
            rate: As in `reconstruct`.
            quality: As in `reconstruct`.
            size: As in `reconstruct`.
            request: From Gradio; it names the session.
        """
        if not is_at_rate(current, scale, rate, quality, size):
            supersede_requested(request)

    def show_preview(
        self,
        current: CurrentResult | None,
        scale: Scale,
        rate: str,
        quality: float,
        size: float,
        request: gr.Request,
    ) -> Updates:
        """Show what a quality gives while it is being chosen: a preview of the picture, and the size of the file.

        What goes wrong is left to `change_rate`, which follows when the slider is released.

        Args:
            current: As in `reconstruct`.
            scale: As in `reconstruct`.
            rate: As in `reconstruct`. There is a preview only at QUALITY, and none on ZeroGPU.
            quality: As in `reconstruct`.
            size: As in `reconstruct`.
            request: From Gradio; it names the session.

        Returns:
            The update of `preview`, which None removes.
        """
        with suppress(ResidaeError, Stopped), Work(request, priority=Priority.BACKGROUND) as running:
            shown = newest(request, self.current, current)
            if shown and rate == QUALITY and not ON_ZERO_GPU:  # which would be borrowed for each
                settings = at_rate(shown.settings, scale, rate, quality, size)
                if settings == shown.settings:  # chosen again, or reconstructed meanwhile
                    return {self.preview: None}
                at_same = replace(shown.settings, scale=shown.encoding.scale, quality=shown.quality, max_bytes=None)
                before, after = (  # without color, which would go wrong in other places than in the whole picture
                    cache.reconstruct(replace(one, side=shown.preview_side, color=False), running).decoding.pixels
                    for one in (at_same, settings)
                )
                text = "Preview"
                if settings.of_encoding == shown.settings.of_encoding:
                    text += f", {len(shown.pipeline.write(shown.encoding, quality).data):,} bytes"
                return {self.preview: preview_value(before, after, text, QUALITY_SHARE)}
        return {self.preview: gr.skip()}

    def refine(
        self,
        current: CurrentResult | None,
        scale: Scale,
        rate: str,
        quality: float,
        size: float,
        steps: int,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Refine the file of the current result, and show each step. Stop keeps the best file so far.

        A rate that was chosen just before may still wait for `change_rate`, which Gradio sends no sooner than the one
        before it has ended. It is applied here first; `change_rate` then finds it in place.

        Args:
            current: As in `reconstruct`.
            scale: As in `reconstruct`.
            rate: As in `reconstruct`.
            quality: As in `reconstruct`.
            size: As in `reconstruct`.
            steps: Value of its slider, 1 to MAX_STEPS.
            request: From Gradio; it names the session.
            progress: From Gradio; it shows the progress on the box Refine.

        Yields:
            The curve after each step, then updates of `outputs`.
        """
        card = self.controls.refine

        def work() -> Iterator[Updates]:
            with Work(request, progress, "Refining.", advice="fewer steps, or a smaller working size") as running:
                shown = newest(request, self.current, current)
                if not shown:
                    raise ResidaeError(FORGOTTEN)
                settings = at_rate(shown.settings, scale, rate, quality, size)
                if settings != shown.settings:
                    shown = yield from self._show(settings, cache.reconstruct(settings, running))
                if shown.compressed:
                    running.charge(shown.encoding.work(decodes=1, refine=steps), shown.pipeline.engine.on_gpu)
                    yield from refine(running, shown, shown.compressed.quality)

        def refine(work: Work, shown: CurrentResult, quality: float) -> Iterator[Updates]:
            stopped = False

            def follow(share: float | None = None) -> None:
                nonlocal stopped
                try:
                    if share is None:
                        work.check()
                    else:
                        work.report(share, seconds_left(times, steps))
                except Left:
                    raise
                except Cancelled:
                    stopped = True  # at the end of the step, with the best file so far

            picture, most = shown.picture(), shown.settings.max_bytes
            points, times, drawn, seconds = list[Point](), list[float](), 0.0, 0.0
            CANCELLATION.set(follow)
            refinement = shown.pipeline.refinement(
                picture, shown.encoding, quality, steps, between(follow, 0, 0.95), max_bytes=most
            )
            begun = time.monotonic()
            with closing(refinement):
                for step in refinement:
                    seconds += time.monotonic() - begun  # without what is done with the step here
                    if not points:
                        unrefined = step.pixels
                    times.append(time.monotonic())
                    if step.measured:
                        points.append((step.step, step.psnr, step.bytes))
                    if stopped:
                        break
                    if time.monotonic() - drawn > PROGRESS_INTERVAL:
                        drawn = time.monotonic()
                        usual = (steps - step.step) * STEP_WORK * shown.seconds  # until the first steps tell
                        yield card.draw(points, step.step, steps, seconds_left(times, steps) or usual)
                    begun = time.monotonic()
            decoding = Decoding(step.pixels, shown.seconds)  # decoding takes as long as before
            report = shown.pipeline.measure(picture, shown.encoding, step.best, decoding)
            # On one scale, so that the map shows what was gained.
            scale = heatmaps.error_scale(report.original, unrefined)
            first, last = self._show(shown.settings, report, step.step, scale, seconds)
            yield first | card.conclude(points, step.step, steps)
            yield last

        def updates() -> Iterator[Updates]:
            try:
                yield from work()
            except Stopped:
                yield card.offer(shown) if (shown := newest(request, self.current, current)) else {}

        yield from report_errors(card.status, updates())

    def _restore_on_failure(
        self, work: Iterator[Updates], path: str | None, current: CurrentResult | None, request: gr.Request
    ) -> Iterator[Updates]:
        """Forward the updates of work. Show an error below the upload, or below the size that no file is within.

        After an error, as after Stop, discard `path` and return the controls to the current result, or invite to choose
        a picture where there is none. They stay where memory ran out, because another size may do, and at a size that
        can be corrected.
        """

        def is_of_size(error: ResidaeError) -> bool:
            of_shown = path is None or newest(request, self.current, current) is None
            return isinstance(error, SizeError) and of_shown

        def restored() -> Updates:
            shown = newest(request, self.current, current)
            discarded = {self.discarded: path} if path else {}
            return discarded | (self.controls.restored(shown) if shown else {self.table: empty_table(INVITATION)})

        def updates() -> Iterator[Updates]:
            try:
                yield from work
            except ResidaeError as error:
                stays = isinstance(error, OutOfMemoryError) or is_of_size(error)
                alert = self.controls.size_alert if is_of_size(error) else self.controls.alert
                yield {alert: dismissible(error), **({} if stays else restored())}
            except Cancelled:
                yield {self.status: gr.skip(), **restored()}

        yield from report_errors(self.status, updates())

    def _show(
        self,
        settings: Settings,
        report: Reconstruction,
        steps: int = 0,
        error_scale: float | None = None,
        refining: float = 0.0,
    ) -> Generator[Updates, None, CurrentResult]:
        """Show a result, whose file was refined in so many steps and seconds.

        All of it changes in one update, so that nothing is of another result than what stands beside it, but for the
        SSIM, which takes longer to measure than the rest together. It follows, and nothing ends its measuring. Returns
        the result.
        """
        pipeline, compressed = get_pipeline(settings.checkpoint), report.compressed
        table = report_table(report, error_scale=error_scale)
        served = (table["panes"][table[role]]["picture"] for role in ("original", "result"))
        of_result = report.psnr, report.decoding.seconds, steps
        result = CurrentResult(settings, report.encoding, compressed, *of_result, *served)
        table |= describe(result)
        table["settings"] = {"checkpoint": settings.checkpoint, **named_settings(settings)}
        bits = pipeline.channel_bits(compressed).sum(0) if compressed else None
        asked = settings.side == FULL_SIZE != cache.default_side(settings.checkpoint)
        is_full_size = asked and settings.box is None and cache.is_small(report.encoding)
        yield {
            self.controls.size_alert: "",
            self.current: result,
            self.header: heading(pipeline.name, pipeline.engine.description, pipeline.ratio),
            self.table: table,
            self.journey: journey(report),
            self.figures: report_figures(report, refining, with_ssim=False),
            self.status: report_sentences(report, settings.max_bytes, settings.scale == "auto", is_full_size),
            self.mosaic: mosaic_value(pipeline.stored(report.encoding, compressed).latents[0], bits),
            self.error: error_value(table, heatmaps.luma_error(report.original, report.decoding.pixels)),
            **self.controls.refine.offer(result),
        }
        with uncancellable():
            measured = facts(result, report)
        yield {self.table: with_facts(table, measured), self.figures: report_figures(report, refining)}
        return result


def at_rate(settings: Settings, scale: Scale, rate: str, quality: float, size: float) -> Settings:
    """The same settings but for the rate.

    Args:
        settings: The settings of a result, whose picture, checkpoint, color and working size are kept.
        scale: As in `read_settings`.
        rate: As in `read_settings`.
        quality: As in `read_settings`.
        size: As in `read_settings`.
    """
    of_picture = settings.path, settings.box, settings.checkpoint, settings.color, settings.side
    return read_settings(*of_picture, scale, rate, quality, size)


def is_at_rate(current: CurrentResult | None, scale: Scale, rate: str, quality: float, size: float) -> bool:
    """Whether there is a result that has this rate already.

    Args:
        current: The result that the page shows; None before the first.
        scale: As in `read_settings`.
        rate: As in `read_settings`.
        quality: As in `read_settings`.
        size: As in `read_settings`.
    """
    return current is not None and at_rate(current.settings, scale, rate, quality, size) == current.settings
