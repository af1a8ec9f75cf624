"""The tab Equal bytes: what other codecs make of the picture at the same bytes, and at other rates."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from residae import charts, heatmaps
from residae.baselines import CODECS
from residae.compare import (
    AVIF,
    BEST_SPEED,
    CURVE_QUALITIES,
    CURVE_RATE,
    OURS,
    REFINED,
    Comparison,
    RatePoint,
    compare,
    larger_scales,
    measures_ssimulacra2,
    refined_curve,
    rising,
    with_best_speed,
    with_refined,
)
from residae.metrics import bits_per_pixel
from residae.pipeline import STEP_WORK, network_pixels, reference
from residae.progress import between
from residae.ui.actions import codec_facts, subject
from residae.ui.budget import ShareError
from residae.ui.cache import COMPARISONS, FULL_SIZE, ComparisonKey, is_small
from residae.ui.components import NETWORK_EVENT, status_line
from residae.ui.refinement import CPU_STEPS, GPU_STEPS
from residae.ui.state import CurrentResult
from residae.ui.text import comparison_begun, comparison_table, decibels, duration, note, verdict
from residae.ui.viewer import error_pane, light_table, original_pane, pane, table
from residae.ui.work import Priority, Stopped, Updates, Work, newest, report_errors

NOTE = (
    "Each codec uses its highest quality that fits into the bytes of our file. All error maps share one scale. The "
    "chart compares the codecs at the bytes of our file at several qualities, then with more numbers kept up to "
    f"{CURVE_RATE:g} bit per pixel; it leaves out points that cost more bytes without a higher PSNR. Finally, pictures "
    f"of up to one megapixel are encoded again by {AVIF} at {CODECS[AVIF].at_effort(BEST_SPEED).description}, its "
    f"best; the table shows the better result, and the chart keeps {CODECS[AVIF].description}."
)
DECODED_ALT = "The picture decoded by {}"
DOING = "Comparing the codecs."
NO_ERRORS = "The errors appear here with the pictures of all codecs."
ADD_REFINED = "Add refined curve"
NO_FILE = "The unquantized latent has no file to compare with: choose a quality or a file size."
NO_CHART = "The chart starts from the bytes of a file."


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
            with gr.Column(min_width=440):
                self.figures = gr.HTML(elem_id="baselines-figures", apply_default_css=False)
                gr.HTML(note(NOTE))
            with gr.Column(min_width=440):
                self.chart = gr.HTML(elem_id="curves", apply_default_css=False)
                with gr.Row():
                    self.refined = gr.Button(ADD_REFINED, size="sm", interactive=False, elem_id="refined-curve")
                    self.again = gr.Button("Measure again", size="sm", elem_id="measure-again")
        self.curves = gr.State()
        self.outputs = [self.compared, self.table, self.status, self.figures, self.chart]
        self.outputs += [self.curves, self.refined, self.again]
        self.refresh_event: dict[str, Any] = {
            "fn": self.refresh,
            "inputs": [open_tab, current, self.compared],
            "outputs": self.outputs,
            "show_progress_on": self.status,
        }

    def wire(self) -> None:
        """Connect the events of the tab's own components; `Page` connects `refresh_event`."""
        self.again.click(self.measure_again, self.current, self.outputs, show_progress_on=self.status, **NETWORK_EVENT)
        inputs, outputs = [self.current, self.curves], [self.chart, self.curves, self.refined, self.status]
        self.refined.click(self.add_refined, inputs, outputs, show_progress_on=self.status, **NETWORK_EVENT)

    def measure_again(
        self,
        current: CurrentResult | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Compare the current result, even if it was compared already.

        Args:
            current: The result that the page shows; None before the first. Once it is this work's turn, a newer one is
                compared.
            request: From Gradio; it names the session.
            progress: From Gradio; it shows the progress in `status`.

        Yields:
            Updates of `outputs`, as the measurements come: the original and our reconstruction first.
        """
        work = Work(request, progress, DOING, Priority.BACKGROUND)
        yield from report_errors(self.status, self._compare(work, request, current, None))

    def add_refined(
        self,
        current: CurrentResult | None,
        curves: "Curves | None",
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Add our curve with refined files to the chart.

        Args:
            current: As in `measure_again`.
            curves: The curves of the finished comparison; None while there is none. If they are of another result,
                nothing is added.
            request: From Gradio; it names the session.
            progress: From Gradio; it shows the progress in `status`.

        Yields:
            The chart with one more point, and at the end a disabled button.
        """

        def work() -> Iterator[Updates]:
            with Work(request, progress, "Refining at each quality.") as running:
                shown = newest(request, self.current, current)
                if shown and curves and curves.subject == shown:
                    yield from self._add_refined(shown, curves, running)

        yield from report_errors(self.status, work())

    def _add_refined(self, shown: CurrentResult, curves: "Curves", work: Work) -> Iterator[Updates]:
        """Add a point after the other, with the current result if it is refined."""
        steps, points = refined_steps(shown), list(curves.points.get(REFINED, ()))
        pixels = shown.encoding.work(decodes=len(CURVE_QUALITIES), refine=steps * len(CURVE_QUALITIES))
        work.charge(pixels, shown.pipeline.engine.on_gpu)
        for point in refined_curve(shown.pipeline, shown.picture(), shown.encoding, steps, work):
            points = sorted({*points, point}, key=lambda point: point.bits_per_pixel)
            yield {self.chart: replace(curves, points=curves.points | {REFINED: tuple(points)}).draw()}
            work.give_way()
        if kept := COMPARISONS.get(_key(shown)):
            refined = replace(kept, curves=kept.curves | {REFINED: tuple(points)})
            COMPARISONS.keep(_key(shown), refined, refined.nbytes)
        yield {self.refined: gr.Button(ADD_REFINED, interactive=False)}

    def refresh(
        self,
        open_tab: str,
        current: CurrentResult | None,
        compared: CurrentResult | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Compare the current result, if the tab is open and it was not compared already.

        Args:
            open_tab: Id of the open tab; "equal" is this one.
            current: As in `measure_again`.
            compared: The result whose comparison is finished; None while there is none.
            request: From Gradio; it names the session.
            progress: From Gradio; it shows the progress in `status`.

        Yields:
            As `measure_again`, or no change.
        """
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
        begun = current if current and current.compressed else None
        if begun and compared and (begun == compared() or _key(begun) in COMPARISONS):
            begun = None
        if begun:
            yield self._begun(begun)
        with work:
            shown = newest(request, self.current, current)
            if shown is None or (compared and shown == compared() and not begun):  # what was begun hides it
                return
            if shown.compressed is None:
                yield self._without_file(shown)
                return
            comparison = COMPARISONS.get(_key(shown)) if compared else None
            if comparison:
                chart = {self.chart: Curves(shown, comparison.curves).draw()}
                yield {**self._unfinished(), **self._side_by_side(shown, comparison), **chart}
            else:
                comparison = yield from self._measure(work, shown)
            curves = Curves(shown, comparison.curves)
            seconds = len(CURVE_QUALITIES) * (1 + STEP_WORK * refined_steps(shown)) * shown.seconds
            offer = gr.Button(f"{ADD_REFINED}, about {duration(seconds)}", interactive=True)
            added = gr.Button(ADD_REFINED, interactive=False)
            if curves.are_refined:
                offer = added
            elif shown.pipeline.engine.on_gpu:
                with suppress(ShareError):  # the button stays
                    yield from self._add_refined(shown, curves, work)
                    offer = added
            able = gr.Button(interactive=True)
            yield {self.compared: shown, self.curves: curves, self.refined: offer, self.again: able}

    def _measure(self, work: Work, shown: CurrentResult) -> Generator[Updates, None, Comparison]:
        """Compare a result that has a file, show each part when it is there, and keep and return all of it."""
        pipeline, wanted, is_whole = shown.pipeline, larger_scales(shown.encoding), False
        work.charge(shown.encoding.work(decodes=1 + len(CURVE_QUALITIES)), pipeline.engine.on_gpu, is_all=False)
        original = reference(shown.picture(), shown.color)
        separate = with_refined if shown.steps else lambda comparison: comparison
        scales = _affordable(wanted, shown, work)
        comparing = compare(pipeline, original, shown.encoding, shown.compressed, scales, between(work, 0, 0.85))
        with closing(comparing) as comparisons:
            first = next(comparisons)
            chart = {self.chart: Curves(shown, separate(first).curves).draw()}
            yield {**self._unfinished(), **self._side_by_side(shown, first, measures_ssimulacra2()), **chart}
            try:
                work.give_way()
                last = next(comparisons)
            except Stopped:
                yield {self.figures: comparison_table(first)}
                raise
            yield {self.figures: comparison_table(last)}
            larger = -len(CURVE_QUALITIES)  # scales that are measured, after these
            with suppress(ShareError):  # a shorter curve is no error
                work.give_way()
                for last in comparisons:
                    larger += 1
                    yield {self.chart: Curves(shown, separate(last).curves).draw()}
                    work.give_way()
                is_whole = scales == wanted or last.curves[OURS][-1].bits_per_pixel >= CURVE_RATE
            work.refund(_larger_work(shown, scales[max(larger, 0) :]))
        last = separate(last)
        try:
            last = with_best_speed(last, between(work, 0.85, 1))
            yield self._side_by_side(shown, last)
        except ShareError:  # the default speed is no error
            is_whole = False
        if is_whole:
            COMPARISONS.keep(_key(shown), last, last.nbytes)
        return last

    def _unfinished(self) -> Updates:
        """That nothing is compared, so that a comparison that ends early starts again."""
        return {self.compared: None, self.curves: None, self.refined: gr.Button(ADD_REFINED, interactive=False)}

    def _begun(self, current: CurrentResult) -> Updates:
        """What there is before anything is compared: the original, ours, its figures, and the places of the others."""
        pictures = [*_own(current), *(pane(name, f"{name} is not compared yet.", None) for name in CODECS)]
        errors, size = [pane("", NO_ERRORS, None)], (current.encoding.height, current.encoding.width)
        assert current.compressed
        bytes_of_file = len(current.compressed.data)
        point = RatePoint(bits_per_pixel(bytes_of_file, size[1], size[0]), current.psnr)
        points: dict[str, tuple[RatePoint, ...]] = dict.fromkeys((OURS, *CODECS), ())
        return {
            **self._unfinished(),
            self.table: table([*pictures, *errors], _views(pictures, errors), size, 1, original=0),
            self.figures: comparison_begun(bytes_of_file, current.psnr),
            self.chart: Curves(current, points | {REFINED if current.steps else OURS: (point,)}).draw(),
            self.again: gr.Button(interactive=True),
        }

    def _without_file(self, current: CurrentResult) -> Updates:
        """The original, what the unquantized latent gives, its PSNR, and why nothing is compared with it."""
        pictures, size = _own(current), (current.encoding.height, current.encoding.width)
        return {
            **self._unfinished(),
            self.table: table(pictures, _views(pictures)[:2], size, 1, original=0),
            self.status: f"<p>{NO_FILE}</p>",
            self.figures: comparison_begun(None, current.psnr),
            self.chart: f'<p class="empty">{NO_CHART}</p>',
            self.again: gr.Button(interactive=False),
        }

    def _side_by_side(self, current: CurrentResult, comparison: Comparison, measuring: bool = False) -> Updates:
        """The pictures and error maps of all codecs, the table, which may still be measured, and the verdict."""
        original, size = comparison.original, comparison.results[0].bytes
        decoded_by_all = [result.pixels for result in comparison.results if result.pixels is not None]
        scale = max(heatmaps.error_scale(original, pixels) for pixels in decoded_by_all)
        pictures = [original_pane(original)]
        errors = []
        for result in comparison.results:
            if result.pixels is None:
                sentence = f"{result.name} cannot compress this picture to {size:,} bytes."
                pictures.append(pane(result.name, sentence, None))
                continue
            caption = decibels(result.psnr)
            decoded = pane(result.name, DECODED_ALT.format(result.name), result.pixels, caption, measured=True)
            pictures.append(decoded | {"facts": codec_facts(result, current)})
            errors.append(error_pane(result.name, original, result.pixels, scale, caption))
        shown = table([*pictures, *errors], _views(pictures, errors), original.shape[:2], scale, original=0, result=1)
        return {
            self.table: shown | {"subject": subject(current)},
            self.status: verdict(comparison),
            self.figures: comparison_table(comparison, measuring),
        }


@dataclass(frozen=True)
class Curves:
    """The rate-distortion chart.

    Attributes:
        subject: The result that was compared, at whose rate there is a mark.
        points: As the curves of a Comparison; of each curve, its rising envelope is drawn.
    """

    subject: CurrentResult
    points: dict[str, tuple[RatePoint, ...]]

    @property
    def are_refined(self) -> bool:
        """Whether there is a curve of refined files, and not only a refined result."""
        return len(self.points.get(REFINED, ())) > 1

    def draw(self) -> str:
        """The chart as SVG."""
        curves = {name: [(p.bits_per_pixel, p.psnr) for p in rising(curve)] for name, curve in self.points.items()}
        encoding, file = self.subject.encoding, self.subject.compressed
        rate = bits_per_pixel(len(file.data), encoding.width, encoding.height) if file else None
        return charts.rate_distortion_chart(curves, rate, reach=(rate / 1.5, CURVE_RATE) if rate else ())


def _own(current: CurrentResult) -> list[dict[str, Any]]:
    """The panes of the original and of our reconstruction, as the page serves both already."""
    ours = pane(OURS, DECODED_ALT.format(OURS), current.reconstruction, decibels(current.psnr))
    return [original_pane(current.original), ours]


def _views(pictures: Sequence[dict[str, Any]], errors: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """The views of a light table whose panes are these pictures, of which some may be missing, then these errors."""
    return [
        {"name": "Pictures", "panes": [*range(len(pictures))]},
        {"name": "In place", "panes": [i for i, shown in enumerate(pictures) if shown["picture"]], "stack": True},
        {"name": "Errors", "panes": [*range(len(pictures), len(pictures) + len(errors))], "key": True},
    ]


def refined_steps(shown: CurrentResult) -> int:
    """Steps of each refinement for a curve: those of the result, else as many as are proposed."""
    return shown.steps or (GPU_STEPS if shown.pipeline.engine.on_gpu else CPU_STEPS)


def _key(shown: CurrentResult) -> ComparisonKey:
    """What a comparison is made from. A refined file has the settings of the one before."""
    assert shown.compressed
    settings = replace(shown.settings, side=FULL_SIZE) if is_small(shown.encoding) else shown.settings
    return settings, shown.compressed.data


def _affordable(scales: list[float], shown: CurrentResult, work: Work) -> list[float]:
    """As many of the scales as the page allows, for whose work the visitor is charged."""
    for count in range(len(scales), 0, -1):
        with suppress(ShareError):
            work.charge(_larger_work(shown, scales[:count]), shown.pipeline.engine.on_gpu)
            return scales[:count]
    return []


def _larger_work(shown: CurrentResult, scales: Sequence[float]) -> float:
    """The work of encoding and decoding the picture at each of the scales, in `network_pixels`."""
    size = shown.encoding.height, shown.encoding.width
    return sum(network_pixels(*size, shown.color, scale) for scale in scales)
