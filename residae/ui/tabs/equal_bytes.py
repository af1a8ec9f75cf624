"""The tab Equal bytes: what everybody's codecs do with as many bytes, and with others."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from residae import charts, heatmaps
from residae.compare import Comparison, compare
from residae.metrics import bits_per_pixel
from residae.pipeline import Reconstruction
from residae.progress import between
from residae.ui.components import MODEL, work_line
from residae.ui.state import CurrentResult
from residae.ui.text import decibels, note, results, verdict
from residae.ui.viewer import error_pane, light_table, pane, table
from residae.ui.work import Priority, Updates, progress_reporter, report_errors

NOTE = (
    "Each codec's own quality is searched for the best file that is no larger than ours. All error maps share one "
    "scale. The chart takes each at the bytes of our file at several qualities."
)


class EqualBytes:
    def __init__(self, tab: gr.State, shown: gr.State) -> None:
        self.compared = gr.State()
        self.table = light_table("baselines", "The picture by each codec, at as many bytes, appears here.")
        self.status = work_line("baselines-status")
        with gr.Row():
            with gr.Column(min_width=320):
                self.figures = gr.HTML(elem_id="baselines-figures", apply_default_css=False)
                gr.HTML(note(NOTE))
            with gr.Column(min_width=320):
                self.chart = gr.HTML(elem_id="curves", apply_default_css=False)
        self.again = gr.Button("Measure again", size="sm", elem_id="measure-again")
        self.outputs = [self.compared, self.table, self.status, self.figures, self.chart]
        self.refreshing: dict[str, Any] = {
            "fn": self.refresh,
            "inputs": [tab, shown, self.compared],
            "outputs": self.outputs,
            "show_progress_on": self.status,
        }
        self.again.click(self.again_from, shown, self.outputs, show_progress_on=self.status, **MODEL)

    def again_from(
        self,
        shown: CurrentResult | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        yield from self.refresh("equal", shown, None, request, progress)

    def refresh(
        self,
        tab: str,
        shown: CurrentResult | None,
        compared: CurrentResult | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Compare what is shown now, if that is not what is compared already."""

        def work() -> Iterator[Updates]:
            if tab != "equal" or shown is None or shown == compared:
                return
            if shown.compressed is None:
                yield {self.status: "<p>The unquantized latent has no file to compare: untick Skip the file.</p>"}
                return
            tell = progress_reporter(progress, request, "Encoding with each codec.", Priority.BACKGROUND)
            pipeline = shown.pipeline
            report = pipeline.decode_and_measure(
                shown.picture(), shown.encoding, shown.compressed, progress=between(tell, 0, 0.1)
            )
            for number, comparison in enumerate(compare(pipeline, report, between(tell, 0.1, 1))):
                if number == 0:
                    yield {self.compared: None, **self._side_by_side(report, comparison)}
                yield {self.chart: chart(report, comparison)}
            yield {self.compared: shown}

        yield from report_errors(self.status, work())

    def _side_by_side(self, report: Reconstruction, comparison: Comparison) -> Updates:
        original = comparison.original
        present = [c.pixels for c in comparison.results if c.pixels is not None]
        scale = max(heatmaps.error_scale(original, pixels) for pixels in present)
        panes = [pane("Original", "The original picture", original)]
        errors = []
        for c in comparison.results:
            if c.pixels is None:
                panes.append(pane(c.name, f"{c.name} cannot keep it in {comparison.results[0].bytes:,} bytes.", None))
                continue
            caption = decibels(c.psnr)
            panes.append(pane(c.name, f"The picture as {c.name} keeps it", c.pixels, caption))
            errors.append(error_pane(c.name, original, c.pixels, scale, caption))
        shown: list[dict[str, Any]] = [
            {"name": "Pictures", "panes": [*range(len(panes))]},
            {"name": "Errors", "panes": [*range(len(panes), len(panes) + len(errors))], "key": True},
        ]
        return {
            self.table: table([*panes, *errors], shown, original.shape[:2], scale, fresh=True),
            self.status: verdict(comparison),
            self.figures: results(comparison),
        }


def chart(report: Reconstruction, comparison: Comparison) -> str:
    curves = {name: [(p.bits_per_pixel, p.psnr) for p in curve] for name, curve in comparison.curves.items()}
    marked = bits_per_pixel(comparison.results[0].bytes, report.encoding.width, report.encoding.height)
    return charts.rate_distortion_chart(curves, marked)
