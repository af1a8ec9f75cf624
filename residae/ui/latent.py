"""The tab Latent: the channels that are all the decoder gets to see."""

from typing import Any

import gradio as gr

from residae import views
from residae.session import Encoding
from residae.ui.desk import Shown
from residae.ui.widgets import picture
from residae.ui.words import channel_numbers

PLANES = ("Luma", "Blue chroma", "Red chroma")
NOTE = (
    "Each square is one cell of 16 × 16 pixels of its plane. All channels share one scale, centred on each one's mean: "
    "the vivid ones vary most. Choose one to see it on its own scale."
)


class Latent:
    def __init__(self, shown: gr.State) -> None:
        self.plane = gr.Radio(PLANES[:1], value=PLANES[0], show_label=False, container=False, visible=False)
        with gr.Row():
            self.tiles = gr.Gallery(
                format="png",
                columns=4,
                allow_preview=False,
                show_label=False,
                label="Latent channels",
                buttons=[],
                elem_id="latents",
            )
            with gr.Column():
                self.channel = picture("channel", "Channel", "The chosen latent channel, enlarged")
                self.figures = gr.HTML(elem_id="channel-figures")
                gr.HTML(f'<p class="note">{NOTE}</p>')
        self.encoded = [self.plane, self.tiles, self.channel, self.figures]
        self.plane.input(self.show_plane, [shown, self.plane], [self.tiles, self.channel, self.figures])
        self.tiles.select(self.show_channel, [shown, self.plane], [self.channel, self.figures])

    def show(self, encoding: Encoding) -> dict[Any, Any]:
        """What changes with the picture."""
        planes = PLANES[: len(encoding.latents)]
        return {
            self.plane: gr.Radio(planes, value=planes[0], visible=len(planes) > 1),
            self.tiles: _tiles(encoding, planes[0]),
            **self._enlarged(encoding, planes[0], 0),
        }

    def show_plane(self, shown_now: Shown | None, name: str) -> dict[Any, Any]:
        if not shown_now:
            return {}
        return {self.tiles: _tiles(shown_now.encoding, name), **self._enlarged(shown_now.encoding, name, 0)}

    def show_channel(self, shown_now: Shown, name: str, event: gr.SelectData) -> dict[Any, Any]:
        return self._enlarged(shown_now.encoding, name, int(event.index))

    def _enlarged(self, encoding: Encoding, name: str, index: int) -> dict[Any, Any]:
        values = encoding.latents[PLANES.index(name)][index]
        return {self.channel: views.latent_channel(values), self.figures: channel_numbers(index, values)}


def _tiles(encoding: Encoding, name: str) -> list[tuple[Any, str]]:
    pictures = views.latent_tiles(encoding.latents[PLANES.index(name)])
    return [(picture, f"Channel {number}") for number, picture in enumerate(pictures, start=1)]
