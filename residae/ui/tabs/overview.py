"""The tab Reconstruct: the original, what is left of it, and how far each pixel is off."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from residae import charts, heatmaps
from residae.errors import OutOfMemoryError, ResidaeError
from residae.pipeline import Reconstruction
from residae.ui.cache import reconstruct
from residae.ui.components import work_line
from residae.ui.controls import Controls
from residae.ui.state import CurrentResult
from residae.ui.text import alert, heading, numbers, sentences
from residae.ui.viewer import light_table, report_table
from residae.ui.work import Cancelled, Priority, Updates, progress_reporter, report_errors


class Reconstruct:
    def __init__(self, header: gr.HTML, shown: gr.State, controls: Controls) -> None:
        self.header, self.shown, self.controls = header, shown, controls
        self.discarded = gr.State()  # the path of a picture that was refused or given up
        self.table = light_table("compare", "Drop a picture, or take one of ours.")
        self.status = work_line("status")
        self.figures = gr.HTML(elem_id="figures", apply_default_css=False)
        with gr.Accordion("How common each error is", open=False):
            self.histogram = gr.HTML(elem_id="histogram", apply_default_css=False)
        self.statuses = [self.status]  # also of other tabs that show the same picture: progress and errors are for all

    @property
    def outputs(self) -> list[Any]:
        return [
            *(self.header, self.shown, self.discarded, self.table, self.figures, self.histogram, *self.statuses),
            *(self.controls.download, *self.controls.settings),
        ]

    def show(
        self,
        path: str | None,
        discarded: str | None,
        shown: CurrentResult | None,
        checkpoint: str,
        color: bool,
        side: int,
        quality: float,
        exact: bool,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Put a picture through the network and fill the page with what came out. Settings that are chosen after a
        picture was discarded are for the one that is shown."""
        chosen = shown.path if shown and path == discarded else path

        def work() -> Iterator[Updates]:
            if chosen:
                tell = progress_reporter(progress, request, priority=Priority.NEW_PICTURE)
                report = reconstruct(chosen, checkpoint, color, side, None if exact else quality, tell)
                fresh = CurrentResult(chosen, side, checkpoint, report.encoding, report.compressed, report.psnr)
                yield from self._filled(fresh, report)

        yield from self._explained(work(), path, shown)

    def show_rate(
        self,
        shown: CurrentResult | None,
        quality: float,
        exact: bool,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """The picture that is shown at another rate: decoded again, not encoded again. To leave the number beside the
        slider is a release of it: at the rate that is shown, nothing is to be done."""

        def work() -> Iterator[Updates]:
            asked = None if exact else quality
            if shown and shown.quality != asked:
                compressed = None if asked is None else shown.pipeline.write(shown.encoding, asked)
                picture = shown.picture()
                report = shown.pipeline.decode_and_measure(
                    picture, shown.encoding, compressed, progress=progress_reporter(progress, request)
                )
                again = CurrentResult(shown.path, shown.side, shown.checkpoint, shown.encoding, compressed, report.psnr)
                yield from self._filled(again, report)

        yield from self._explained(work(), None, shown)

    def _explained(self, work: Iterator[Updates], path: str | None, shown: CurrentResult | None) -> Iterator[Updates]:
        """Forward the updates of work; show an error on each tab that shows the picture.

        After an error, as after Stop, `path` is discarded and the controls return to the current result, unless memory
        ran out, where another size may do.
        """
        back = {**({self.discarded: path} if path else {}), **(self.controls.of(shown) if shown else {})}

        def outcome() -> Iterator[Updates]:
            try:
                yield from work
            except ResidaeError as error:
                alerts = {place: alert(error) for place in self.statuses}
                yield alerts if isinstance(error, OutOfMemoryError) else alerts | back
            except Cancelled:
                yield {self.status: gr.skip(), **back}

        yield from report_errors(self.status, outcome())

    def _filled(self, shown: CurrentResult, report: Reconstruction) -> Iterator[Updates]:
        """The picture first; what takes time to measure after it."""
        original, rebuilt = report.original, report.decoding.pixels
        pipeline = shown.pipeline
        yield {self.table: report_table(report)}
        yield {
            self.header: heading(f"{pipeline.name} · {pipeline.engine.description}"),
            self.shown: shown,
            self.figures: numbers(report),
            self.status: sentences(report),
            self.histogram: charts.error_histogram(heatmaps.luma_error(original, rebuilt)),
            **self.controls.file_to_keep(report, shown.path),
        }
