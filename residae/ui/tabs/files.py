"""The tab Files: from .rae files to their pictures, and what is inside."""

import html
from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from residae import charts
from residae.errors import ResidaeError
from residae.progress import Progress, between
from residae.ui.components import MODEL, PLAIN, work_line
from residae.ui.store import get_pipeline, read_upload
from residae.ui.text import alert, channel_sentence, contents, short
from residae.ui.viewer import light_table, pane, table
from residae.ui.work import Updates, progress_reporter, report_errors, supersede_background


class Files:
    def __init__(self, checkpoint: gr.Dropdown) -> None:
        self.rae = gr.File(label="Drop or choose .rae files", file_count="multiple", elem_id="rae", height=110)
        self.status = work_line("files-status")
        self.table = light_table("opened", "A .rae file becomes its picture here.")
        self.pictures = gr.File(label="The pictures, as PNG", file_count="multiple", visible=False, elem_id="pictures")
        self.figures = gr.HTML(elem_id="opened-figures", apply_default_css=False)
        self.rae.upload(supersede_background, **PLAIN).then(
            self.open,
            [self.rae, checkpoint],
            [self.rae, self.table, self.figures, self.pictures, self.status],
            show_progress_on=self.status,
            trigger_mode="multiple",  # or files that come while others are opened would be lost
            **MODEL,
        )

    def open(
        self,
        paths: list[str],
        checkpoint: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """The pictures in .rae files, one after the other; a bad one is named, and does not keep the others."""
        work = self._opened(paths, checkpoint, progress_reporter(progress, request, "Decoding."))
        yield from report_errors(self.status, work)

    def _opened(self, paths: list[str], checkpoint: str, tell: Progress) -> Iterator[Updates]:
        panes: list[dict[str, object]] = []
        shown, details, files, failures = [], "", [], ""
        for number, path in enumerate(paths):
            name, part = short(Path(path).name), between(tell, number / len(paths), (number + 1) / len(paths))
            try:
                data = read_upload(path)
                info, decoding = get_pipeline(checkpoint).read(data, part)
            except ResidaeError as error:
                failures += alert(f"{name}: {error}")
                continue
            shown.append({"name": name, "panes": [len(panes)], "size": [info.width, info.height]})
            panes.append(opened := pane(short(Path(path).stem), f"The picture in {name}", decoding.pixels))
            files.append(opened["picture"]["path"])
            details += f"<h3>{html.escape(name)}</h3>" + contents(info) + inside(data, checkpoint)
            yield {self.table: table(panes, shown, (info.height, info.width), 1, fresh=True), self.figures: details}
        done = f"<p>{len(files)} {'file' if len(files) == 1 else 'files'} opened.</p>" if files else ""
        yield {self.rae: None, self.status: done + failures}
        if files:
            yield {self.pictures: gr.File(files, visible=True)}


def inside(data: bytes, checkpoint: str) -> str:
    """Where the bits of a file went."""
    codec = get_pipeline(checkpoint).codec
    opened = codec.decompress(data)
    bits = codec.channel_bits(opened.symbols, opened.info.quality).sum(0)
    return channel_sentence(bits) + charts.channel_chart(bits, None)
