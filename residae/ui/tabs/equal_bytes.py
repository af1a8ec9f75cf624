"""The tab Equal bytes: what other codecs make of the picture at the same bytes, and at other rates."""

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from residae import charts, heatmaps
from residae.baselines import CODECS
from residae.compare import CURVE_QUALITIES, Comparison, add_ssimulacra2, compare
from residae.metrics import bits_per_pixel
from residae.pipeline import Reconstruction
from residae.progress import between
from residae.ui.actions import codec_facts, subject
from residae.ui.components import NETWORK_EVENT, status_line
from residae.ui.state import CurrentResult
from residae.ui.text import comparison_table, decibels, note, verdict
from residae.ui.viewer import error_pane, light_table, pane, table
from residae.ui.work import Priority, Updates, Work, newest, report_errors

EFFORTS = ", ".join(f"{codec.name} at {codec.description}" for codec in CODECS.values() if codec.description)
NOTE = (
    "Each codec uses its highest quality that fits into the bytes of our file. All error maps share one scale. The "
    f"chart compares the codecs at the bytes of our file at several qualities. Encoders: {EFFORTS}."
)
DOING = "Encoding with each codec."


class EqualBytesTab:
    """The tab Equal bytes.

    Shows the picture by each codec at the same bytes, error maps, a table and a rate-distortion chart. It holds the
    result that was compared. When the tab is open, it follows the current result; a button measures again.
    """

    def __init__(self, open_tab: gr.State, current: gr.State) -> None:
        self.current, self.compared = current, gr.State()
        self.table = light_table("baselines", "The picture by each codec at equal bytes appears here.")
        self.status = status_line("baselines-status")
        with gr.Row():
            with gr.Column(min_width=320):
                self.figures = gr.HTML(elem_id="baselines-figures", apply_default_css=False)
                gr.HTML(note(NOTE))
            with gr.Column(min_width=320):
                self.chart = gr.HTML(elem_id="curves", apply_default_css=False)
        self.again = gr.Button("Measure again", size="sm", elem_id="measure-again")
        self.outputs = [self.compared, self.table, self.status, self.figures, self.chart]
        self.refresh_event: dict[str, Any] = {
            "fn": self.refresh,
            "inputs": [open_tab, current, self.compared],
            "outputs": self.outputs,
            "show_progress_on": self.status,
        }

    def wire(self) -> None:
        """Connect the events of the tab's own components; `Page` connects `refresh_event`."""
        self.again.click(self.measure_again, self.current, self.outputs, show_progress_on=self.status, **NETWORK_EVENT)

    def measure_again(
        self,
        current: CurrentResult | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Compare the current result, even if it was compared already."""
        work = Work(request, progress, DOING, Priority.BACKGROUND)
        yield from report_errors(self.status, self._compare(work, request, current, None))

    def refresh(
        self,
        open_tab: str,
        current: CurrentResult | None,
        compared: CurrentResult | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Compare the current result, if the tab is open and it was not compared already."""
        work = Work(request, progress, DOING, Priority.BACKGROUND)
        follow = self._compare(work, request, current, lambda: newest(request, self.compared, compared))
        yield from report_errors(self.status, follow if open_tab == "equal" else iter(()))

    def _compare(
        self,
        work: Work,
        request: gr.Request,
        current: CurrentResult | None,
        compared: Callable[[], CurrentResult | None] | None,
    ) -> Iterator[Updates]:
        """Compare the current result, unless it is what `compared` returns once it is this work's turn."""
        with work:
            shown = newest(request, self.current, current)
            if shown is None or (compared and shown == compared()):
                return
            if shown.compressed is None:
                yield {self.status: "<p>There is no file to compare with: the unquantized latent is shown.</p>"}
                return
            work.charge(shown.work(decodes=1 + len(CURVE_QUALITIES)), shown.pipeline.engine.on_gpu)
            report = shown.pipeline.decode_and_measure(
                shown.picture(work.check), shown.encoding, shown.compressed, progress=between(work, 0, 0.1)
            )
            comparisons = compare(shown.pipeline, report, between(work, 0.1, 1))
            first = next(comparisons)
            yield {self.compared: None, **self._side_by_side(shown, first), self.chart: draw_curves(report, first)}
            yield {self.figures: comparison_table(add_ssimulacra2(first, between(work, 0.25, 0.35)))}
            for comparison in comparisons:
                yield {self.chart: draw_curves(report, comparison)}
            yield {self.compared: shown}  # only now, so that a comparison that ended early starts again

    def _side_by_side(self, current: CurrentResult, comparison: Comparison) -> Updates:
        """The pictures and error maps of all codecs, the table and the verdict."""
        original, size = comparison.original, comparison.results[0].bytes
        decoded_by_all = [result.pixels for result in comparison.results if result.pixels is not None]
        scale = max(heatmaps.error_scale(original, pixels) for pixels in decoded_by_all)
        pictures = [pane("Original", "The original picture", original, measured=True)]
        errors = []
        for result in comparison.results:
            if result.pixels is None:
                sentence = f"{result.name} cannot compress this picture to {size:,} bytes."
                pictures.append(pane(result.name, sentence, None))
                continue
            caption = decibels(result.psnr)
            alt = f"The picture decoded by {result.name}"
            decoded = pane(result.name, alt, result.pixels, caption, measured=True)
            pictures.append(decoded | {"facts": codec_facts(result, current)})
            errors.append(error_pane(result.name, original, result.pixels, scale, caption))
        views: list[dict[str, Any]] = [
            {"name": "Pictures", "panes": [*range(len(pictures))]},
            {"name": "In place", "panes": [i for i, shown in enumerate(pictures) if shown["picture"]], "stack": True},
            {"name": "Errors", "panes": [*range(len(pictures), len(pictures) + len(errors))], "key": True},
        ]
        return {
            self.table: table([*pictures, *errors], views, original.shape[:2], scale, original=0, result=1)
            | {"subject": subject(current)},
            self.status: verdict(comparison),
            self.figures: comparison_table(comparison),
        }


def draw_curves(report: Reconstruction, comparison: Comparison) -> str:
    """The rate-distortion chart, with a mark at the rate of our file."""
    curves = {name: [(p.bits_per_pixel, p.psnr) for p in curve] for name, curve in comparison.curves.items()}
    rate = bits_per_pixel(comparison.results[0].bytes, report.encoding.width, report.encoding.height)
    return charts.rate_distortion_chart(curves, rate)
