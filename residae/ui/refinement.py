"""Refinement of the current file, with its progress as it works."""

from collections.abc import Sequence

import gradio as gr

from residae import charts
from residae.pipeline import STEP_WORK
from residae.ui.components import QUICK_EVENT, slider, status_line
from residae.ui.state import CurrentResult
from residae.ui.text import counted, duration, refinement_sentence
from residae.ui.work import Updates

GPU_STEPS, CPU_STEPS = 20, 10  # that are proposed
MAX_STEPS = 200  # beyond which nothing is gained
INTRODUCTION = "A better picture in about the same bytes"

Point = tuple[int, float, int]  # of the curve: steps, PSNR in dB and bytes of the best file after them


class RefineCard:
    """The box Refine.

    Shows how long a step takes, the number of steps, and a curve of PSNR and bytes that grows while it works. It holds
    no state. `Page` connects Start to `OverviewTab.refine`.
    """

    def __init__(self) -> None:
        with gr.Column(elem_classes=["card"], elem_id="refine"):
            with gr.Row(elem_classes=["head"]):
                gr.HTML("<h2>Refine</h2>", apply_default_css=False)
                self.start = gr.Button("Start", variant="primary", size="sm", interactive=False, elem_id="refine-start")
            self.steps = slider(1, MAX_STEPS, value=CPU_STEPS, step=1, label="Steps", elem_id="refine-steps")
            self.status = status_line("refine-status", f"<p>{INTRODUCTION}.</p>")
            self.curve = gr.HTML(elem_id="refine-curve", apply_default_css=False)
        self.outputs = [self.start, self.status, self.curve]

    def wire(self) -> None:
        """Answer a press of Start at once, whatever the server does; `Page` connects the work."""
        self.start.click(None, outputs=self.status, js="() => '<p>Starting…</p>'", **QUICK_EVENT)

    def offer(self, result: CurrentResult) -> Updates:
        """Offer to refine the file of a result, which takes the place of one that was refined before."""
        if result.compressed is None:
            sentence = "<p>There is no file to refine: choose a quality or a file size.</p>"
            return {self.start: gr.Button(interactive=False), self.status: sentence, self.curve: ""}
        steps = GPU_STEPS if result.pipeline.engine.on_gpu else CPU_STEPS
        time = duration(steps * STEP_WORK * result.seconds)
        return {
            self.start: gr.Button(interactive=True),
            self.status: f"<p>{INTRODUCTION}: {steps} steps take about {time}.</p>",
            self.curve: "",
        }

    def draw(self, points: Sequence[Point], done: int, steps: int, left: float) -> Updates:
        """Draw what was measured so far, and say how many steps are done until progress is reported.

        Args:
            points: Of the steps after which the file was measured, from step 0, the file without refinement.
            done: Steps that are done.
            steps: How many are to be done, at which the axis ends.
            left: Seconds that the others will take.
        """
        time = f", about {duration(left)} left" if done < steps else ""
        sentence = f"<p>Refining: {done} of {counted(steps, 'step')} done{time}.</p>"
        return {self.status: sentence, self.curve: draw_curve(points, steps)}

    def conclude(self, points: Sequence[Point], done: int, steps: int) -> Updates:
        """Say what was gained.

        Args:
            points: As in `draw`.
            done: As in `draw`.
            steps: As in `draw`.
        """
        (_, psnr, size), (_, refined_psnr, refined_size) = points[0], points[-1]
        sentence = refinement_sentence(done, refined_psnr - psnr, refined_size / size - 1)
        return {self.status: sentence, self.curve: draw_curve(points, steps)}


def draw_curve(points: Sequence[Point], steps: int) -> str:
    """The curve from the first measurement of a refined file on; empty before, when it would be one point.

    Args:
        points: As in `RefineCard.draw`.
        steps: As in `RefineCard.draw`.
    """
    return charts.refinement_chart(points, steps) if len(points) > 1 else ""


def seconds_left(times: Sequence[float], steps: int) -> float | None:
    """How long a refinement will take from now on; None until two steps have run.

    Args:
        times: When the refinement began, and when each step was done, in seconds. The first step takes longer than the
            others.
        steps: How many are to be done.
    """
    done = len(times) - 1
    return (steps - done) * (times[-1] - times[1]) / (done - 1) if done > 1 else None
