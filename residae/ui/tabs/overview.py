"""The tab Overview: the original, its reconstruction, and the error of each pixel."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from residae import charts, heatmaps
from residae.errors import OutOfMemoryError, ResidaeError
from residae.image import CropBox
from residae.pipeline import Reconstruction
from residae.ui import cache
from residae.ui.actions import describe, facts
from residae.ui.components import status_line
from residae.ui.controls import Controls
from residae.ui.state import CurrentResult
from residae.ui.text import alert, heading, report_figures, report_sentences
from residae.ui.viewer import light_table, report_table, with_facts
from residae.ui.work import Cancelled, Priority, Updates, progress_reporter, report_errors


class OverviewTab:
    """The tab Overview.

    Shows a picture beside its reconstruction, the error map, the figures and a histogram of the error. It holds the
    path of a picture that was refused or cancelled. `Page` connects its events: `reconstruct` for a new picture or
    setting, `requantize` for a new quality.
    """

    def __init__(self, header: gr.HTML, current: gr.State, controls: Controls) -> None:
        self.header, self.current, self.controls = header, current, controls
        self.discarded = gr.State()
        self.table = light_table("compare", "Drop a picture, or choose an example.")
        self.status = status_line("status")
        self.figures = gr.HTML(elem_id="figures", apply_default_css=False)
        with gr.Accordion("Histogram of the error", open=False):
            self.histogram = gr.HTML(elem_id="histogram", apply_default_css=False)
        self.statuses = [self.status]  # and those of the other tabs that show the current result

    @property
    def outputs(self) -> list[Any]:
        """Every component that the handlers may update."""
        return [
            *(self.header, self.current, self.discarded, self.table, self.figures, self.histogram, *self.statuses),
            *self.controls.settings,
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
        quality: float,
        exact: bool,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Send a picture through the network and show the result.

        After a picture was discarded, new settings apply to the current result.
        """
        chosen, part = (current.path, current.box) if current and path == discarded else (path, box)

        def work() -> Iterator[Updates]:
            if chosen:
                report_progress = progress_reporter(progress, request, priority=Priority.NEW_PICTURE)
                wanted = None if exact else quality
                report = cache.reconstruct(chosen, checkpoint, color, side, wanted, report_progress, part)
                result = CurrentResult(chosen, side, checkpoint, report.encoding, report.compressed, report.psnr, part)
                yield from self._show(result, report)

        yield from self._restore_on_failure(work(), path, current)

    def choose_part(self, current: CurrentResult | None, event: gr.EventData) -> Any:
        """The path of the picture to work on, the part of it, and the path of a discarded one: none."""
        if current is None:
            return gr.skip()
        return current.path, CropBox(*(int(length) for length in event.part[:4])) if event.part else None, None

    def requantize(
        self,
        current: CurrentResult | None,
        quality: float,
        exact: bool,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Compress and decode the current result at another quality, without encoding it again.

        Does nothing at the quality that it has: leaving the number beside the slider counts as a release.
        """

        def work() -> Iterator[Updates]:
            wanted = None if exact else quality
            if current and current.quality != wanted:
                compressed = None if wanted is None else current.pipeline.write(current.encoding, wanted)
                report = current.pipeline.decode_and_measure(
                    current.picture(), current.encoding, compressed, progress=progress_reporter(progress, request)
                )
                yield from self._show(replace(current, compressed=compressed, psnr=report.psnr), report)

        yield from self._restore_on_failure(work(), None, current)

    def _restore_on_failure(
        self, work: Iterator[Updates], path: str | None, current: CurrentResult | None
    ) -> Iterator[Updates]:
        """Forward the updates of work. Show an error on each tab that shows the current result.

        After an error, as after Stop, discard `path` and return the controls to the current result. Only where memory
        ran out they stay, because another size may do.
        """
        restored = {
            **({self.discarded: path} if path else {}),
            **(self.controls.restored(current) if current else {}),
        }

        def updates() -> Iterator[Updates]:
            try:
                yield from work
            except ResidaeError as error:
                alerts = {status: alert(error) for status in self.statuses}
                yield alerts if isinstance(error, OutOfMemoryError) else alerts | restored
            except Cancelled:
                yield {self.status: gr.skip(), **restored}

        yield from report_errors(self.status, updates())

    def _show(self, result: CurrentResult, report: Reconstruction) -> Iterator[Updates]:
        """Show the picture first, then what takes time to measure."""
        pipeline = result.pipeline
        table = report_table(report) | describe(result)
        yield {self.table: table}
        yield {
            self.table: with_facts(table, facts(result, report)),
            self.header: heading(f"{pipeline.name} · {pipeline.engine.description}"),
            self.current: result,
            self.figures: report_figures(report),
            self.status: report_sentences(report),
            self.histogram: charts.error_histogram(heatmaps.luma_error(report.original, report.decoding.pixels)),
        }
