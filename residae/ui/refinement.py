"""Refinement of the current file, with its progress as it works."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from typing import TypeVar

import gradio as gr

from residae import charts
from residae.pipeline import STEP_WORK
from residae.refine import RefinementStep
from residae.ui.components import QUICK_EVENT, slider, status_line
from residae.ui.state import CurrentResult
from residae.ui.text import duration, refinement_sentence
from residae.ui.work import Updates

GPU_STEPS, CPU_STEPS = 20, 10  # that are proposed
MAX_STEPS = 200  # beyond which nothing is gained
INTRODUCTION = "A better picture in about the same bytes: the encoder tries again."

Value = TypeVar("Value")
Result = TypeVar("Result")


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
            self.status = status_line("refine-status", f"<p>{INTRODUCTION}</p>")
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
        step = duration(STEP_WORK * result.seconds)
        return {
            self.start: gr.Button(interactive=True),
            self.status: f"<p>The encoder tries again, about {step} a step.</p>",
            self.curve: charts.refinement_chart([(0, result.psnr, len(result.compressed.data))], 1),
        }

    def draw(self, done: Sequence[RefinementStep], steps: int) -> Updates:
        """Draw the steps that are done so far.

        Args:
            done: From step 0, the file without refinement, to the latest.
            steps: How many are to be done, at which the axis ends.
        """
        points = [(step.step, step.psnr, step.bytes) for step in done]
        return {self.curve: charts.refinement_chart(points, steps)}

    def conclude(self, done: Sequence[RefinementStep], steps: int) -> Updates:
        """Say what was gained.

        Args:
            done: As in `draw`.
            steps: As in `draw`.
        """
        return {self.status: refinement_sentence(done[0], done[-1]), **self.draw(done, steps)}


def seconds_left(times: Sequence[float], steps: int) -> float | None:
    """How long a refinement will take from now on; None until two steps have run.

    Args:
        times: When the refinement began, and when each step was done, in seconds. The first step takes longer than the
            others.
        steps: How many are to be done.
    """
    done = len(times) - 1
    return (steps - done) * (times[-1] - times[1]) / (done - 1) if done > 1 else None


def callbacks(run: Callable[[Callable[[Value], None]], Result]) -> Generator[Value, None, Result]:
    """Run a function in a thread, and yield what it calls back with.

    Args:
        run: Is given the callback. It has to end soon once the generator is closed.

    Returns:
        Its result.
    """
    waiting: SimpleQueue[tuple[Value] | None] = SimpleQueue()
    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(copy_context().run, run, lambda value: waiting.put((value,)))
        future.add_done_callback(lambda _: waiting.put(None))
        while value := waiting.get():
            yield value[0]
    return future.result()
