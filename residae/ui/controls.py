"""The column at the left: which picture, how it is compressed, and its file."""

from contextlib import suppress
from pathlib import Path

import gradio as gr

from residae.errors import ResidaeError
from residae.pipeline import Reconstruction
from residae.ui.cache import CPU_SIDE, DEFAULT_QUALITY, EXAMPLES, FULL_SIZE, default_side
from residae.ui.components import example_gallery, slider
from residae.ui.state import CurrentResult
from residae.ui.store import save_result
from residae.ui.text import kilobytes, short_name
from residae.ui.work import Updates

SIDES = [(f"Up to {CPU_SIDE:,} px", CPU_SIDE), ("Full size", FULL_SIZE)]
SIDE_NOTE = f"Along the long side. On a CPU, {CPU_SIDE:,} px take seconds and many megapixels take minutes."


class Controls:
    """The column at the left.

    Shows the upload, the examples, the settings and the download of the `.rae` file. It holds no state. `Page` connects
    its events, which reconstruct the picture that was chosen.
    """

    def __init__(self) -> None:
        self.upload = gr.File(label="Drop, paste or choose a picture", elem_id="upload", height=110)
        self.examples = example_gallery("Or choose an example", "{}", "examples")
        self.color = gr.Radio([("Color", True), ("Gray", False)], value=True, label="Color mode", elem_id="color")
        self.quality = slider(0, 100, value=DEFAULT_QUALITY, step=1, label="Quality", elem_id="quality")
        self.exact = gr.Checkbox(label="Decode the unquantized latent", elem_id="exact")
        self.side = gr.Radio(SIDES, value=CPU_SIDE, label="Working size", info=SIDE_NOTE, elem_id="side")
        with gr.Row(elem_id="actions"):
            self.download = gr.DownloadButton("Download .rae", interactive=False, elem_id="download")
        self.settings = [self.color, self.side, self.quality, self.exact]

    def restored(self, current: CurrentResult) -> Updates:
        """The settings of the current result."""
        quality = {self.quality: current.quality} if current.quality is not None else {}
        return {self.color: current.color, self.side: current.side, self.exact: current.quality is None, **quality}

    def offer_file(self, report: Reconstruction, path: str) -> Updates:
        """Offer the file that the picture was decoded from, under the name of the picture file `path`."""
        if not report.compressed:
            return {self.download: gr.DownloadButton("No file to download", value=None, interactive=False)}
        file = save_result(report.compressed.data, f"{short_name(Path(path).stem)}.rae")
        label = f"Download .rae, {kilobytes(len(report.compressed.data))}"
        return {self.download: gr.DownloadButton(label, value=file, interactive=True)}


def choose_example(event: gr.SelectData) -> tuple[str, None]:
    """The path of the picture to work on, and that of a discarded one: none."""
    return EXAMPLES[int(event.index)], None


def first_visit(checkpoint: str) -> tuple[str, int]:
    """The picture and the working size that a visit starts with."""
    with suppress(ResidaeError):
        return EXAMPLES[0], default_side(checkpoint)
    return EXAMPLES[0], CPU_SIDE  # reconstructing it meets the same error, and shows it
