"""The tab Reconstruct: the original, what is left of it, and how far each pixel is off."""

from collections.abc import Iterator

import gradio as gr

from residae import charts, views
from residae.errors import ResidaeError
from residae.session import Report
from residae.ui.controls import Controls
from residae.ui.desk import Shown, Updates, examine, explained, told
from residae.ui.viewer import light_table, report_table
from residae.ui.widgets import work_line
from residae.ui.words import alert, heading, numbers, sentences


class Reconstruct:
    def __init__(self, header: gr.HTML, source: gr.State, shown: gr.State, controls: Controls) -> None:
        self.header, self.source, self.shown, self.controls = header, source, shown, controls
        self.table = light_table("compare", "Drop a picture, or take one of ours.")
        self.status, self.stop = work_line("status")
        self.figures = gr.HTML(elem_id="figures", apply_default_css=False)
        with gr.Accordion("How common each error is", open=False):
            self.histogram = gr.HTML(elem_id="histogram", apply_default_css=False)
        self.statuses = [self.status]  # also of other tabs that show the same picture: progress and errors are for all
        self.own = [header, source, shown, self.table, self.figures, self.histogram, controls.download]

    def show(
        self,
        path: str | None,
        shown: Shown | None,
        checkpoint: str,
        color: bool,
        side: int,
        quality: float,
        exact: bool,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Put a picture through the network and fill the page with what came out."""

        def work() -> Iterator[Updates]:
            if path:
                tell = told(progress, request, new_picture=True)
                report = examine(path, checkpoint, color, side, None if exact else quality, tell)
                fresh = Shown(path, side, checkpoint, report.encoding, report.compressed, report.psnr)
                yield from self._filled(fresh, report)

        yield from self._explained(work(), shown)

    def show_rate(
        self,
        shown: Shown | None,
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
                compressed = None if asked is None else shown.lab.compress(shown.encoding, asked)
                picture = shown.picture()
                report = shown.lab.judge(picture, shown.encoding, compressed, told(progress, request))
                again = Shown(shown.path, shown.side, shown.checkpoint, shown.encoding, compressed, report.psnr)
                yield from self._filled(again, report)

        yield from self._explained(work(), shown)

    def go_back(self, shown: Shown | None) -> Updates:
        """After a stop: the controls to what is shown."""
        if shown is None:
            return {self.source: gr.skip()}
        settings = {self.controls.color: shown.color, self.controls.side: shown.side}
        rate: Updates = {self.controls.exact: shown.quality is None}
        if shown.quality is not None:
            rate |= {self.controls.quality: shown.quality}
        return {self.source: shown.path, **settings, **rate}

    def _explained(self, work: Iterator[Updates], shown: Shown | None) -> Iterator[Updates]:
        """An error is told wherever the picture is shown; settings are about that picture again."""

        def told_everywhere() -> Iterator[Updates]:
            try:
                yield from work
            except ResidaeError as error:
                back = {self.source: shown.path} if shown else {}
                yield {place: alert(error) for place in self.statuses} | back

        yield from explained(self.status, alert, told_everywhere())

    def _filled(self, shown: Shown, report: Report) -> Iterator[Updates]:
        """The picture first; what takes time to measure after it."""
        original, rebuilt = report.original, report.decoding.pixels
        lab = shown.lab
        yield {self.table: report_table(report)}
        yield {
            self.header: heading(f"{lab.name} · {lab.engine.description}"),
            self.shown: shown,
            self.figures: numbers(report),
            self.status: sentences(report),
            self.histogram: charts.error_histogram(views.luma_error(original, rebuilt)),
            **self.controls.file_to_keep(report, shown.path),
        }
