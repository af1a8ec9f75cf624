"""The tab Open a file: from a .rae file to its picture."""

from pathlib import Path
from typing import Any

import gradio as gr

from residae.errors import ResidaeError
from residae.ui.desk import laboratory, told
from residae.ui.widgets import picture
from residae.ui.words import alert, contents


class Files:
    def __init__(self) -> None:
        self.rae = gr.File(label="Drop or choose a .rae file", elem_id="rae", height=130)
        self.figures = gr.HTML(elem_id="opened-figures")
        self.opened = picture("opened", "Picture in the file", "The picture in the file", ("fullscreen", "download"))
        self.rae.upload(
            self.open,
            self.rae,
            [self.rae, self.opened, self.figures],
            show_progress_on=self.figures,
            concurrency_id="model",
        )

    def open(self, path: str, progress: gr.Progress = gr.Progress()) -> dict[Any, Any]:  # noqa: B008
        """The picture in a .rae file."""
        try:
            info, decoding = laboratory().decompress(Path(path).read_bytes(), told(progress))
        except ResidaeError as error:
            return {self.rae: None, self.figures: alert(error)}
        return {self.rae: None, self.opened: decoding.pixels, self.figures: contents(info)}
