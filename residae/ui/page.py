"""The page as a whole: controls, tabs, and what a picture or a rate sets going."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from residae.errors import ResidaeError
from residae.session import Report
from residae.ui.compare import Compare
from residae.ui.desk import CPU_SIDE, EXAMPLES, NO_LIMIT, QUALITY, Shown, examine, laboratory, open_fitted, saved, told
from residae.ui.error import Error
from residae.ui.files import Files
from residae.ui.latent import Latent
from residae.ui.server import DELETE_CACHE
from residae.ui.words import alert, heading, kilobytes, numbers, sentences

SIZES = [("Up to 1,024 px", CPU_SIDE), ("Full size", NO_LIMIT)]
SIZE_NOTE = "Along the long side. A CPU takes seconds for 1,024 px, and minutes for pictures of many megapixels."


def build() -> gr.Blocks:
    """The page, ready to launch."""
    with gr.Blocks(title="Residae", analytics_enabled=False, delete_cache=DELETE_CACHE, fill_width=True) as blocks:
        Page(blocks)
    return blocks  # type: ignore[no-any-return]


class Page:
    def __init__(self, blocks: gr.Blocks) -> None:
        self.source = gr.State()
        self.shown = gr.State()
        self.header = gr.HTML(heading())
        with gr.Row(elem_id="bench"):
            with gr.Column(scale=0, min_width=320, elem_id="controls"):
                self._lay_out_controls()
            with gr.Column(scale=1, elem_id="stage"):
                self.status = gr.HTML(elem_id="status")
                with gr.Tabs():
                    with gr.Tab("Compare"):
                        self.compare = Compare()
                    with gr.Tab("Error"):
                        self.error = Error()
                    with gr.Tab("Latent"):
                        self.latent = Latent(self.shown)
                    with gr.Tab("Open a file"):
                        Files()
                self.figures = gr.HTML(elem_id="figures")
        self._wire(blocks)

    def _lay_out_controls(self) -> None:
        self.upload = gr.File(label="Drop, paste or choose a picture", elem_id="upload", height=130)
        self.examples = gr.Gallery(
            [(path, Path(path).stem.capitalize()) for path in EXAMPLES],
            label="Or take one of ours",
            show_label=False,
            columns=5,
            height=66,
            object_fit="cover",
            allow_preview=False,
            buttons=[],
            elem_id="examples",
        )
        self.color = gr.Radio([("Colour", True), ("Gray", False)], value=True, label="Work in", elem_id="color")
        self.quality = gr.Slider(0, 100, value=QUALITY, step=1, label="Quality of the file", elem_id="quality")
        self.exact = gr.Checkbox(label="Skip the file: decode the unquantised latent", elem_id="exact")
        self.download = gr.DownloadButton("Download .rae", interactive=False, elem_id="download")
        self.side = gr.Radio(SIZES, value=CPU_SIDE, label="Working size", info=SIZE_NOTE, elem_id="side")

    def _wire(self, blocks: gr.Blocks) -> None:
        measured = [self.status, *self.compare.rated, *self.error.rated, self.figures, self.download]
        encoded = [self.header, self.compare.before, self.shown, *self.latent.encoded]
        settings = [self.source, self.color, self.side, self.quality, self.exact]
        # The last of several requests counts: none is dropped while another is worked on.
        work = {"show_progress_on": self.status, "concurrency_id": "model", "trigger_mode": "always_last"}
        anew = {"fn": self.show, "inputs": settings, "outputs": [*measured, *encoded], **work}
        self.upload.upload(self.take, self.upload, [self.upload, self.source], queue=False).then(**anew)
        self.examples.select(pick_example, outputs=self.source, queue=False).then(**anew)
        blocks.load(first_visit, outputs=[self.source, self.side], queue=False).then(**anew)
        gr.on([self.color.input, self.side.input], **anew)
        gr.on(
            [self.quality.release, self.exact.input],
            self.show_rate,
            [self.shown, self.quality, self.exact],
            measured,
            **work,
        )

    def show(
        self,
        path: str | None,
        color: bool,
        side: int,
        quality: float,
        exact: bool,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> dict[Any, Any]:
        """Put a picture through the network and fill the page with what came out."""
        if not path:
            return {self.status: ""}
        try:
            report = examine(path, color, side, None if exact else quality, told(progress))
        except ResidaeError as error:
            return {self.status: alert(error)}
        return {
            self.header: heading(f"{laboratory().name} · {laboratory().engine.description}"),
            self.compare.before: report.original,
            self.shown: Shown(path, side, report.encoding),
            **self.latent.show(report.encoding),
            **self.rated(report),
        }

    def show_rate(
        self,
        shown_now: Shown | None,
        quality: float,
        exact: bool,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> dict[Any, Any]:
        """The picture that is shown at another rate: decoded again, not encoded again."""
        if not shown_now:
            return {self.status: ""}
        try:
            compressed = None if exact else laboratory().compress(shown_now.encoding, quality)
            picture = open_fitted(shown_now.path, shown_now.side)
            report = laboratory().judge(picture, shown_now.encoding, compressed, told(progress))
        except ResidaeError as error:
            return {self.status: alert(error)}
        return self.rated(report)

    def rated(self, report: Report) -> dict[Any, Any]:
        """What changes with the rate: the reconstruction, and all that is measured on it."""
        return {
            **self.compare.rate(report),
            **self.error.rate(report),
            self.figures: numbers(report),
            self.status: sentences(report),
            self.download: self.file_to_keep(report),
        }

    def file_to_keep(self, report: Report) -> gr.DownloadButton:
        if not report.compressed:
            return gr.DownloadButton("No file of an unquantised latent", value=None, interactive=False)
        path = saved(report.compressed.data, "picture.rae")
        label = f"Download .rae, {kilobytes(len(report.compressed.data))}"
        return gr.DownloadButton(label, value=path, interactive=True)

    def take(self, path: str) -> dict[Any, Any]:
        """Keep the file in mind, and leave the drop zone ready for the next."""
        return {self.source: path, self.upload: None}


def pick_example(event: gr.SelectData) -> str:
    return EXAMPLES[int(event.index)]


def first_visit() -> tuple[str, int]:
    on_gpu = False
    with suppress(ResidaeError):  # the example will meet the same error, and show it
        on_gpu = laboratory().engine.on_gpu
    return EXAMPLES[0], NO_LIMIT if on_gpu else CPU_SIDE
