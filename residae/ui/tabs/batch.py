"""The tab Batch: many pictures, one table, and all files in one archive."""

import csv
import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from residae.errors import ResidaeError
from residae.metrics import bits_per_pixel
from residae.progress import Progress, between
from residae.ui.cache import open_at_size
from residae.ui.components import MODEL, PLAIN, work_line
from residae.ui.store import get_pipeline, save_result
from residae.ui.text import alert, note, short
from residae.ui.work import Stopped, Updates, progress_reporter, report_errors, supersede_background

COLUMNS = ("Picture", "Width", "Height", "Bytes", "bpp", "PSNR, dB", "SSIM", "Encode, s", "Decode, s", "Note")
WIDTHS: list[str | int] = [140, 70, 74, 74, 76, 94, 76, 96, 98, 260]  # px
TYPES: Any = ["str", *["number"] * 8, "str"]
MOST = 200
FORMULA = ("=", "+", "-", "@")  # how one begins
NOTE = (
    f"Color, quality and working size are as on the other tabs. Up to {MOST} pictures at a time; what is done stays "
    "when you stop."
)


class Batch:
    def __init__(self, checkpoint: gr.Dropdown, settings: list[Any]) -> None:
        self.files = gr.File(label="Drop or choose many pictures", file_count="multiple", elem_id="batch", height=180)
        self.run = gr.Button("Compress them all", variant="primary", elem_id="batch-run")
        gr.HTML(note(NOTE))
        self.status = work_line("batch-status")
        self.table = gr.Dataframe(
            headers=[*COLUMNS],
            datatype=TYPES,
            column_widths=WIDTHS,
            interactive=False,
            wrap=True,
            elem_id="batch-table",
            max_height=560,
            label="Results",
            show_label=False,
        )
        with gr.Row():
            self.csv = gr.DownloadButton("Table as CSV", interactive=False, elem_id="batch-csv")
            self.zip = gr.DownloadButton("Files as ZIP", interactive=False, elem_id="batch-zip")
        self.run.click(supersede_background, **PLAIN).then(
            self.compress_all,
            [self.files, checkpoint, *settings],
            [self.table, self.status, self.csv, self.zip],
            show_progress_on=self.status,
            **MODEL,
        )

    def compress_all(
        self,
        paths: list[str] | None,
        checkpoint: str,
        color: bool,
        side: int,
        quality: float,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Compress and rebuild each picture; a bad one gets its sentence in the table."""
        if not paths:
            yield {self.status: alert("Choose some pictures first.")}
            return
        work = self._rows(paths[:MOST], checkpoint, color, side, quality, progress_reporter(progress, request))
        yield from report_errors(self.status, work)

    def _rows(
        self, paths: list[str], checkpoint: str, color: bool, side: int, quality: float, tell: Progress
    ) -> Iterator[Updates]:
        rows: list[list[Any]] = []
        none_yet = {button: gr.DownloadButton(interactive=False) for button in (self.csv, self.zip)}
        yield {self.table: [], self.status: "", **none_yet}
        with tempfile.TemporaryFile() as file:
            with zipfile.ZipFile(file, "w") as archive:
                try:
                    for number, path in enumerate(paths):
                        part = between(tell, number / len(paths), (number + 1) / len(paths))
                        row, data = measured(path, checkpoint, color, side, quality, part)
                        rows.append(row)
                        if data:
                            archive.writestr(f"{number + 1:03}-{short(Path(path).stem)}.rae", data)
                        yield {self.table: rows, self.status: f"<p>{number + 1} of {len(paths)} done.</p>"}
                except Stopped:
                    yield {self.status: f"<p>Stopped after {len(rows)} of {len(paths)}.</p>"}
            file.seek(0)
            yield self._kept(rows, file.read())

    def _kept(self, rows: list[list[Any]], archive: bytes) -> Updates:
        updates = {}
        for button, data, name in (
            (self.csv, as_csv(rows).encode(), "residae.csv"),
            (self.zip, archive, "residae.zip"),
        ):
            path = save_result(data, name)
            updates[button] = gr.DownloadButton(value=path, interactive=bool(rows))
        return updates


def as_csv(rows: list[list[Any]]) -> str:
    """The table as text, in which no file's name is a formula to a spreadsheet."""
    text = io.StringIO()
    safe = ([f"'{c}" if isinstance(c, str) and c.startswith(FORMULA) else c for c in row] for row in rows)
    csv.writer(text).writerows([COLUMNS, *safe])
    return text.getvalue()


def measured(
    path: str, checkpoint: str, color: bool, side: int, quality: float, progress: Progress | None
) -> tuple[list[Any], bytes | None]:
    """A row of the table, and the file that it is about."""
    name = short(Path(path).name)
    try:
        report = get_pipeline(checkpoint).reconstruct(open_at_size(path, side), color, quality, progress)
    except ResidaeError as error:
        return [name, *[None] * 8, str(error)], None
    encoding, data = report.encoding, report.compressed.data if report.compressed else b""
    size, rate = len(data), bits_per_pixel(len(data), encoding.width, encoding.height)
    quality_figures = [round(report.psnr, 2), round(report.ssim, 4)]
    times = [round(encoding.seconds, 2), round(report.decoding.seconds, 2)]
    figures = [encoding.width, encoding.height, size, round(rate, 4), *quality_figures, *times]
    return [name, *figures, " ".join(report.notices)], data
