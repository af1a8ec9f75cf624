"""The column at the left: the picture, how it is worked on, and its file."""

from contextlib import suppress
from pathlib import Path

import gradio as gr

from residae.errors import ResidaeError
from residae.pipeline import Reconstruction
from residae.ui.cache import CPU_SIDE, DEFAULT_QUALITY, EXAMPLES, FULL_SIZE, default_side
from residae.ui.components import our_pictures, slider
from residae.ui.state import CurrentResult
from residae.ui.store import save_result
from residae.ui.text import kilobytes, short
from residae.ui.work import Updates

SIZES = [("Up to 1,024 px", CPU_SIDE), ("Full size", FULL_SIZE)]
SIZE_NOTE = "Along the long side. A CPU takes seconds for 1,024 px, and minutes for pictures of many megapixels."


class Controls:
    def __init__(self) -> None:
        self.upload = gr.File(label="Drop, paste or choose a picture", elem_id="upload", height=110)
        self.examples = our_pictures("Or take one of ours", "{}", "examples")
        self.color = gr.Radio([("Color", True), ("Gray", False)], value=True, label="Work in", elem_id="color")
        self.quality = slider(0, 100, value=DEFAULT_QUALITY, step=1, label="Quality of the file", elem_id="quality")
        self.exact = gr.Checkbox(label="Skip the file: decode the unquantized latent", elem_id="exact")
        self.download = gr.DownloadButton("Download .rae", interactive=False, elem_id="download")
        self.side = gr.Radio(SIZES, value=CPU_SIDE, label="Working size", info=SIZE_NOTE, elem_id="side")
        self.settings = [self.color, self.side, self.quality, self.exact]

    def of(self, shown: CurrentResult) -> Updates:
        """As they were for what is shown."""
        rate = {self.quality: shown.quality} if shown.quality is not None else {}
        return {self.color: shown.color, self.side: shown.side, self.exact: shown.quality is None, **rate}

    def file_to_keep(self, report: Reconstruction, path: str) -> Updates:
        """The very file that the picture of that path was rebuilt from, under its name."""
        if not report.compressed:
            label = "No file to download"
            return {self.download: gr.DownloadButton(label, value=None, interactive=False)}
        file = save_result(report.compressed.data, f"{short(Path(path).stem)}.rae")
        label = f"Download .rae, {kilobytes(len(report.compressed.data))}"
        return {self.download: gr.DownloadButton(label, value=file, interactive=True)}


def pick_example(event: gr.SelectData) -> tuple[str, None]:
    """The path of a picture to work on, and of none that was discarded."""
    return EXAMPLES[int(event.index)], None


def first_visit(checkpoint: str) -> tuple[str, int]:
    with suppress(ResidaeError):
        return EXAMPLES[0], default_side(checkpoint)
    return EXAMPLES[0], CPU_SIDE  # the example will meet the same error, and show it
