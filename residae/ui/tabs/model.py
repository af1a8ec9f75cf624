"""The tab The model: what the network is made of, what its stages do to the picture, and the card of its weights."""

import functools
import html
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from residae import charts
from residae.activations import OBSERVED_SIDE, StageOutput, observe
from residae.checkpoint import PLACEHOLDER, Checkpoint, read_card
from residae.compare import OURS
from residae.errors import ResidaeError
from residae.image import Picture, fit
from residae.pipeline import Pipeline, network_pixels
from residae.results import MeanCurves, published_curves
from residae.summary import SIDE, summarize
from residae.ui.cache import Settings
from residae.ui.components import NETWORK_EVENT, QUICK_EVENT, scripted_card, status_line
from residae.ui.state import CurrentResult
from residae.ui.store import default_checkpoint, get_pipeline
from residae.ui.text import alert, by_pointer, counted, definition_list, note
from residae.ui.viewer import png_file
from residae.ui.work import Priority, Updates, Work, newest, report_errors, supersede_background

DIAGRAM_TEMPLATE = f"""
<div class="head">
  <h2>The network</h2>
  <span class="caption">Of a picture of {SIDE} × {SIDE} · {by_pointer("press", "tap")} a stage</span>
</div>
<div class="drawings"></div>
"""
DOING = "Running the network up to this stage."
STAGE_TEMPLATE = """
<div class="head"><h2>What a stage does</h2><span class="caption"></span></div>
<p class="note" aria-live="polite">What a stage makes of the picture appears here.</p>
<div class="tiles"></div>
"""


@dataclass(frozen=True)
class Observed:
    """The stage that the tab shows, and for what.

    Attributes:
        index: Of the stage, as in `diagram_stages`.
        settings: Of the result whose picture and network it is, as by `of_input`; None after an error.
    """

    index: int
    settings: Settings | None


class ModelTab:
    """The tab The model.

    Shows a diagram of the network, channels of the stage that is pressed, the choice of checkpoint and the size of its
    network, how the weights compare with other codecs, and the model card. It holds the checkpoint, which every tab
    uses, and which stage is shown: the latent until another is pressed. Opening the tab or choosing a checkpoint
    describes it. When the tab is open, the stage follows the picture and the network of the current result.
    """

    def __init__(self, open_tab: gr.State, current: gr.State) -> None:
        self.current, self.observed = current, gr.State()
        names = [*Checkpoint.find()] or [default_checkpoint()]
        self.diagram = scripted_card(DIAGRAM_TEMPLATE, "network.js", "diagram")
        with gr.Column(elem_id="stage-card"):
            self.stage = scripted_card(STAGE_TEMPLATE, "activations.js", "stage-output")
            self.status = status_line("model-status")
        with gr.Row(elem_id="weights", elem_classes=["card"], equal_height=False):
            self.checkpoint = gr.Dropdown(
                names, value=names[0], label="Checkpoint, for every tab", elem_id="checkpoint", min_width=200
            )
            self.figures = gr.HTML(elem_id="model-figures", apply_default_css=False)
        self.chart = gr.HTML(elem_id="model-chart", apply_default_css=False)
        self.card = gr.Markdown(elem_id="model-card")
        self.refresh_event: dict[str, Any] = {
            "fn": self.refresh,
            "inputs": [open_tab, current, self.observed],
            "outputs": [self.stage, self.observed, self.status],
            "show_progress_on": self.status,
        }

    def wire(self, tab: gr.Tab) -> None:
        """Connect the events, `tab` being the one that this is in; `Page` connects `refresh_event`."""
        gr.on(
            [self.checkpoint.input, tab.select],
            self.describe,
            self.checkpoint,
            [self.status, self.diagram, self.figures, self.chart, self.card],
            trigger_mode="always_last",
            **QUICK_EVENT,  # it does not run the network, so it does not wait for those that do
        )
        self.diagram.select(
            self.show_stage,
            self.current,
            self.refresh_event["outputs"],
            show_progress_on=self.status,
            trigger_mode="always_last",
            **NETWORK_EVENT,
        )

    def describe(self, checkpoint: str) -> Updates:
        """Describe the network of a checkpoint, its device and its card, or say why it cannot be loaded."""
        try:
            pipeline = get_pipeline(checkpoint)
        except ResidaeError as error:
            return {self.status: alert(error)}
        stages = diagram_stages(pipeline)
        rows = {
            "Parameters": f"{sum(stage.parameters for stage in stages):,}",
            f"Work at {SIDE} × {SIDE} px": f"{sum(stage.flops for stage in stages) / 1e9:.2f} GFLOP",
            "Fewer numbers": f"{pipeline.ratio:.1f}×",
            "Device": pipeline.engine.description,
            "Fingerprint": pipeline.codec.fingerprint.hex(),
        }
        return {
            self.status: "",
            self.diagram: charts.network_diagram(stages) + charts.network_diagram(stages, upright=True),
            self.figures: definition_list(rows),
            self.chart: results_chart(checkpoint),
            self.card: with_sections(get_card(checkpoint)),
        }

    def show_stage(
        self,
        current: CurrentResult | None,
        event: gr.SelectData,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Show channels of the stage that was pressed for the picture of the current result.

        Args:
            current: The result that the page shows; None before the first. Once it is this work's turn, a newer one
                counts.
            event: The press in the diagram; its `index` is that of the stage, as in `diagram_stages`.
            request: From Gradio; it names the session.
            progress: From Gradio; it shows the progress in `status`.

        Yields:
            Updates of `stage`, `observed` and `status`. After an error, no stage is shown.
        """
        if current is None:
            yield {self.status: note("Choose a picture in the Overview first.")}
            return
        work = Work(request, progress, DOING)
        yield from report_errors(self.status, self._observe(work, request, current, lambda _: int(event.index)))

    def refresh(
        self,
        open_tab: str,
        current: CurrentResult | None,
        observed: Observed | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Show the stage that was pressed last, or else the latent, if the tab is open and does not show it yet.

        Args:
            open_tab: Id of the open tab; "model" is this one.
            current: As in `show_stage`.
            observed: What the tab shows; None before it was opened with a picture. Once it is this work's turn, a stage
                that was pressed meanwhile counts.
            request: From Gradio; it names the session.
            progress: From Gradio; it shows the progress in `status`.

        Yields:
            As `show_stage`, or no change.
        """

        def outdated(shown: CurrentResult) -> int | None:
            last = newest(request, self.observed, observed)
            if last is None:
                return latent_index(diagram_stages(shown.pipeline))
            return last.index if last.settings != of_input(shown) else None

        def work() -> Iterator[Updates]:
            if open_tab == "model" and current is not None:
                working = Work(request, progress, DOING, Priority.BACKGROUND)
                yield from self._observe(working, request, current, outdated)

        yield from report_errors(self.status, work())

    def _observe(
        self, work: Work, request: gr.Request, current: CurrentResult, choose: Callable[[CurrentResult], int | None]
    ) -> Iterator[Updates]:
        """Run the network of the current result up to a stage, and show what that returns; after an error, no stage.

        Args:
            work: In whose turn the network runs.
            request: It names the session.
            current: As in `show_stage`.
            choose: Returns the index of the stage for a result; None for no change. What counts is what it returns once
                it is this work's turn.
        """
        if choose(current) is None:
            return
        supersede_background(request)  # what another tab was doing starts again when that is looked at
        try:
            with work:
                shown = newest(request, self.current, current)
                if (index := choose(shown)) is None:
                    return
                stages, picture = diagram_stages(shown.pipeline), fit(shown.picture(), OBSERVED_SIDE)
                decodes = stages[index].part == "decoder"
                work.charge(network_pixels(picture.height, picture.width, color=False, decodes=decodes))
                output = observe(shown.pipeline.network, picture, index, work)
                observed = Observed(index, of_input(shown))
                yield {
                    self.stage: stage_value(stages, index, output, picture),
                    self.observed: observed,
                    self.status: "",
                }
        except ResidaeError:
            if (index := choose(current)) is not None:
                yield {self.stage: None, self.observed: Observed(index, None)}
            raise


def of_input(result: CurrentResult) -> Settings:
    """The settings of a result without those on which the input of the network's stages does not depend."""
    return replace(result.settings, color=True, scale=1.0, quality=None, max_bytes=None)


def diagram_stages(pipeline: Pipeline) -> list[charts.DiagramStage]:
    """The stages of the network of a pipeline, for the diagram: those of the encoder, then those of the decoder."""
    parts = zip(("encoder", "decoder"), summarize(pipeline.base_channels, pipeline.latent_channels), strict=True)
    return [
        charts.DiagramStage(part, stage.name, stage.channels, stage.side, stage.parameters, stage.flops)
        for part, stages in parts
        for stage in stages
    ]


def latent_index(stages: Sequence[charts.DiagramStage]) -> int:
    """Index of the last stage of the encoder, which returns the latent."""
    return sum(stage.part == "encoder" for stage in stages) - 1


def stage_value(
    stages: Sequence[charts.DiagramStage], index: int, output: StageOutput, picture: Picture
) -> dict[str, Any]:
    """What `activations.js` shows: the title and pictures of a stage and a sentence about it.

    Args:
        stages: From `diagram_stages`.
        index: Index of the stage in `stages`.
        output: The output of the stage, from `observe`.
        picture: What the network was run on, which need not be square as that of the diagram.

    Returns:
        `title`; `caption` with the shape; `sentence`; `tiles`, each with `name`, `alt` and `picture`; and `size`,
        [width, height] of a channel.
    """
    stage, (channels, height, width) = stages[index], output.shape
    is_latent = index == latent_index(stages)
    name = "latent" if is_latent else stage.name
    if stage.name == "stem":
        sentence = "A 7 × 7 convolution, normalized and rectified: edges and spots, at the size of the picture."
    elif index == len(stages) - 1:
        sentence = "A 7 × 7 convolution and a sigmoid make the picture."
    elif stage.part == "encoder":
        sentence = "Two residual blocks, the first of which halves height and width."
    else:
        sentence = "Height and width are doubled, a 1 × 1 convolution mixes the channels, two residual blocks follow."
    if is_latent:
        sentence += f" What is left is {counted(channels, 'number')} for every 16 × 16 pixels."
    shown = len(output.channels)
    caption = (
        f"{counted(channels, 'channel')} of {width} × {height}, of a picture of {picture.width} × {picture.height}"
    )
    if shown > 1:
        which = f"The {shown} that vary most are shown" if shown < channels else "All are shown"
        sentence += f" {which}: blue is below the mean of a channel, orange above, on one scale."
    tiles = [
        {
            "name": f"Channel {channel + 1}" if shown > 1 else "Reconstruction",
            "alt": f"Channel {channel + 1} of {stage.label}",
            "picture": png_file(picture, f"stage-{index}-channel-{channel + 1}.png"),
        }
        for channel, picture in zip(output.channels, output.pictures, strict=True)
    ]
    title = f"{stage.part} {name}".capitalize() if name != "latent" else "Latent"
    return {"title": title, "caption": caption, "sentence": sentence, "tiles": tiles, "size": [width, height]}


@functools.lru_cache(maxsize=16)
def get_card(checkpoint: str) -> str:
    """The model card of a checkpoint, read once, as its weights are: asking the Hub for a newer one takes time."""
    source = Checkpoint.find().get(checkpoint)
    if not source:
        return "This checkpoint has been removed, and its model card with it."
    return with_names(without_local_files(read_card(source)), source)


@functools.lru_cache(maxsize=16)
def get_curves(checkpoint: str) -> list[MeanCurves]:
    """The measurements beside the weights of a checkpoint, read once; none without them.

    Raises:
        ResidaeError: As `published_curves`.
    """
    source = Checkpoint.find().get(checkpoint)
    return published_curves(source) if source else []


def without_local_files(card: str) -> str:
    """A model card without the files beside it, which the page does not serve: links to them are only their text.

    Their pictures are left out. The page draws the chart itself.
    """
    card = re.sub(r"!\[[^]]*\]\((?!data:|https?:)[^)]*\)\n*", "", card)
    return re.sub(r"(?<!!)\[([^]]*)\]\((?!https?:|#)[^)]*\)", r"\1", card)


def with_names(card: str, source: str | Path) -> str:
    """A model card that names what a visitor can use, where a card on the Hub names its repository.

    Args:
        card: Markdown.
        source: The folder that the card is from, of which the last two names are shown, or the model on the Hub.

    Returns:
        The card without PLACEHOLDER. Lines that name a repository are left out where the page is not on a Space.
    """
    card = card.replace(f'"{PLACEHOLDER}"', f'"{"/".join(Path(source).parts[-2:])}"')
    if space := os.environ.get("SPACE_ID"):
        return card.replace(PLACEHOLDER, space)
    return "".join(line for line in card.splitlines(keepends=True) if PLACEHOLDER not in line)


def with_sections(card: str) -> str:
    """A model card, of whose second-level sections one is shown at a time, in a room that all of them share.

    The headings are radio buttons, each in a label before its section: `tabs.css` shows the section of the one that is
    chosen, and the arrow keys choose.
    """
    fence, lines, is_open = "", list[str](), False
    for line in card.splitlines():
        mark = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and not line.strip(" `~"):
            fence = ""
        if not fence and line.startswith("## "):
            start = '\n<fieldset class="card"><legend>Sections of the model card</legend>'
            lines.append("\n</section>" if is_open else start)
            name, chosen = html.escape(line[3:].strip()), "" if is_open else " checked"
            lines.append(f'<label><input type="radio" name="section"{chosen}>{name}</label>')
            lines += ['<section tabindex="0">', ""]
            is_open = True
        else:
            lines.append(line)
    return "\n".join([*lines, *(["", "</section></fieldset>"] if is_open else [])])


def results_chart(checkpoint: str) -> str:
    """PSNR against rate of each codec over the pictures that the checkpoint was measured on, if it was."""
    try:
        published = get_curves(checkpoint)
    except ResidaeError as error:
        return alert(error)
    cards = ""
    for means in published:
        points = {name: [(p.bits_per_pixel, p.psnr) for p in curve] for name, curve in means.curves.items()}
        caption = means.title
        if means.settings:
            caption += f"; {OURS} also with {' and '.join(means.settings).replace(' steps', ' steps of refinement')}"
        heading = f'<h2>Measured quality</h2><p class="caption">{html.escape(caption)}</p>'
        chart = charts.rate_distortion_chart(points, None)
        cards += f'<div class="card"><div class="head">{heading}</div>{chart}</div>'
    return cards
