"""The column at the left: which picture, how it is compressed."""

import gradio as gr

from residae.ui.actions import Actions
from residae.ui.cache import CPU_SIDE, DEFAULT_QUALITY, EXAMPLES, FULL_SIZE
from residae.ui.components import example_gallery, slider
from residae.ui.state import CurrentResult
from residae.ui.work import Updates

SIDES = [(f"Up to {CPU_SIDE:,} px", CPU_SIDE), ("Full size", FULL_SIZE)]
SIDE_NOTE = f"Along the long side. On a CPU, {CPU_SIDE:,} px take seconds and many megapixels take minutes."


class Controls:
    """The column at the left.

    Shows the upload, the examples, the settings and what can be done with a result. It holds no state. `Page` connects
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
            self.actions = Actions(
                {"color": self.color, "side": self.side, "quality": self.quality, "exact": self.exact}
            )
        self.settings = [self.color, self.side, self.quality, self.exact]

    def restored(self, current: CurrentResult) -> Updates:
        """The settings of the current result."""
        quality = {self.quality: current.quality} if current.quality is not None else {}
        return {self.color: current.color, self.side: current.side, self.exact: current.quality is None, **quality}


def choose_example(event: gr.SelectData) -> tuple[str, None, None]:
    """The path of the picture to work on, the part of it, and the path of a discarded one: none."""
    return EXAMPLES[int(event.index)], None, None
