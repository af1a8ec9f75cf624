"""The tab Files: decode `.rae` files, and show what they contain."""

import html
import itertools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from residae import charts
from residae.codec import read_info
from residae.errors import ResidaeError
from residae.progress import between, raise_if_cancelled
from residae.ui.budget import ShareError, file_work
from residae.ui.components import NETWORK_EVENT, QUICK_EVENT, status_line
from residae.ui.state import CurrentResult
from residae.ui.store import get_pipeline, read_upload, save_result
from residae.ui.text import (
    alert,
    channel_sentence,
    counted,
    file_figures,
    join_names,
    kilobytes,
    note,
    short_name,
)
from residae.ui.viewer import light_table, pane, table
from residae.ui.work import Left, Stopped, Updates, Work, report_errors, supersede_background

NOTE = (
    "Save .rae, Batch and the command line write such files. Here is what a file holds: the picture that it decodes "
    "to, what its header says, and which channels take its bits."
)


class FilesTab:
    """The tab Files.

    Shows the pictures in `.rae` files, what their headers say, and which channels take the bits; the pictures can be
    downloaded as PNG. It holds the names of the files that it shows. Uploading files decodes them, and a button decodes
    the file of the Overview.
    """

    def __init__(self) -> None:
        with gr.Row(elem_id="files-source"):
            self.upload = gr.File(label="Drop or choose .rae files", file_count="multiple", elem_id="rae", height=52)
            self.open_current = gr.Button("Open the Overview’s file", elem_id="open-current")
            self.status = status_line("files-status", note(NOTE))
        self.table = light_table("opened", "Pictures decoded from .rae files appear here.")
        self.figures = gr.HTML(elem_id="opened-figures", apply_default_css=False)
        self.shown = gr.State(())

    def wire(self, checkpoint: gr.Dropdown, current: gr.State) -> None:
        """Connect the events.

        Args:
            checkpoint: The choice of checkpoint of the tab The model, with which uploaded files are decoded.
            current: The result that the Overview shows.
        """
        decoding: dict[str, Any] = {
            "outputs": [self.upload, self.table, self.figures, self.shown, self.status],
            "show_progress_on": self.status,
            "trigger_mode": "multiple",  # files that come while others are decoded would otherwise be lost
            **NETWORK_EVENT,
        }
        for event, decode, inputs in (
            (self.upload.upload, self.decode, [self.upload, checkpoint, self.shown]),
            (self.open_current.click, self.decode_current, [current, self.shown]),
        ):
            event(supersede_background, **QUICK_EVENT).then(decode, inputs, **decoding)

    def decode_current(
        self,
        current: CurrentResult | None,
        shown: Sequence[str],
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Decode the file of the Overview.

        Args:
            current: The result that the Overview shows; None before the first.
            shown: As in `decode`.
            request: From Gradio; it names the session.
            progress: From Gradio; it shows the progress in `status`.

        Yields:
            As `decode`; a sentence in `status` where there is no file.
        """
        if current is None or current.compressed is None:
            refused = alert("The Overview has no file: choose a quality or a file size there.")
            yield {self.status: refused + still_showing(shown)}
            return
        name = f"{short_name(Path(current.settings.path).stem)}.rae"
        path = save_result(current.compressed.data, name)
        yield from self.decode([path], current.settings.checkpoint, shown, request, progress)

    def decode(
        self,
        paths: list[str],
        checkpoint: str,
        shown: Sequence[str],
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Decode files one after another. A file that cannot be decoded is named, and the others go on.

        Args:
            paths: Paths of the uploaded files.
            checkpoint: Name of the checkpoint that they are decoded with.
            shown: Names of the files that the tab shows, which stay if none of these can be decoded.
            request: From Gradio; it names the session.
            progress: From Gradio; it shows the progress in `status`.

        Yields:
            An empty `upload`, the light table, the figures and the names after each file, then `status`, also where the
            work is ended early, unless the visitor left.
        """
        work = Work(request, progress, "Decoding.", advice="fewer or smaller files")
        yield from report_errors(self.status, self._decode_each(paths, checkpoint, shown, work))

    def _decode_each(self, paths: list[str], checkpoint: str, shown: Sequence[str], work: Work) -> Iterator[Updates]:
        panes: list[dict[str, object]] = []
        views: list[dict[str, object]] = []
        figures, alerts, stopped = "", "", False
        yield {self.upload: None}
        try:
            with work:
                pipeline = get_pipeline(checkpoint)
                work.charge(sum(map(expected_work, paths)), pipeline.engine.on_gpu, len(paths))
                for number, path in enumerate(paths):
                    name = distinct(short_name(Path(path).name), [view["name"] for view in views])
                    part = between(work, number / len(paths), (number + 1) / len(paths))
                    try:
                        data = read_upload(path)
                        info, decoding = pipeline.read(data, part)
                    except ShareError:
                        raise
                    except ResidaeError as error:
                        alerts += alert(f"{name}: {error}")
                        continue
                    views.append({"name": name, "panes": [len(panes)], "size": [info.width, info.height]})
                    panes.append(opened := pane(short_name(Path(path).stem), f"The picture in {name}", decoding.pixels))
                    figures += file_heading(name, opened["picture"]["path"]) + file_figures(info, pipeline.ratio)
                    figures += draw_channels(data, checkpoint)
                    names = tuple(str(view["name"]) for view in views)
                    pictures = table(panes, views, (info.height, info.width), 1)
                    yield {self.table: pictures, self.figures: figures, self.shown: names}
                    work.give_way()
        except Left:
            raise  # nobody takes the opened ones
        except Stopped:
            stopped = True
        except ShareError as error:
            alerts += alert(error)
        done = f"<p>{counted(len(views), 'file')} opened.</p>" if views else ""
        if stopped:
            done = f"<p>Stopped: {len(views)} of {counted(len(paths), 'file')} opened.</p>"
        yield {self.status: done + alerts + ("" if views else still_showing(shown))}


def still_showing(names: Sequence[str]) -> str:
    """What stays where no file was opened, as HTML; empty where nothing does.

    Args:
        names: Of the files that are shown.
    """
    return f"<p>Still showing {html.escape(join_names(names))}.</p>" if names else ""


def file_heading(name: str, png: str) -> str:
    """The name of a file, beside a link to its picture, as HTML.

    Args:
        name: Of the file.
        png: Path of the picture, which the page serves.
    """
    size, address = kilobytes(Path(png).stat().st_size), f"gradio_api/file={quote(png)}"
    saved = html.escape(f"{Path(name).stem}.png")
    link = f'<a class="download-link" href="{address}" download="{saved}">Save as PNG, {size}</a>'
    return f'<div class="opened"><h3>{html.escape(name)}</h3>{link}</div>'


def distinct(name: str, taken: Collection[object]) -> str:
    """The name, with a number where it is taken: files of several folders may have one name.

    Args:
        name: Of a file.
        taken: Names of the files before it.
    """
    numbered = (f"{name} ({number})" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if one not in taken)


def expected_work(path: str) -> float:
    """The work of decoding a file, by its header, in `network_pixels`; 0 if it cannot be decoded."""
    raise_if_cancelled()
    try:
        return file_work(read_info(read_upload(path)))
    except ResidaeError:
        return 0


def draw_channels(data: bytes, checkpoint: str) -> str:
    """A sentence and a chart of the bits of each channel, over all planes.

    Args:
        data: Content of a `.rae` file.
        checkpoint: Name of the checkpoint that it was made with.

    Returns:
        HTML.

    Raises:
        CodecError: The file is damaged, or was made with another checkpoint.
    """
    codec = get_pipeline(checkpoint).codec
    opened = codec.decompress(data)
    bits = codec.channel_bits(opened.symbols, opened.info.quality).sum(0)
    return channel_sentence(bits) + charts.channel_chart(bits, None)
