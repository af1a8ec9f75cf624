"""The tab Batch: many pictures, one table, and all files in one archive."""

import csv
import html
import io
import json
import math
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from residae.errors import ResidaeError
from residae.geometry import Scale
from residae.metrics import bits_per_pixel
from residae.pipeline import network_pixels
from residae.progress import Progress, between
from residae.ui.budget import ShareError
from residae.ui.cache import Settings, open_at_size, read_sizes
from residae.ui.components import NETWORK_EVENT, QUICK_EVENT, number_field, status_line
from residae.ui.controls import UNQUANTIZED, read_settings
from residae.ui.refinement import MAX_STEPS
from residae.ui.store import get_pipeline, save_result
from residae.ui.text import alert, note, short_name
from residae.ui.work import Left, Stopped, Updates, Work, report_errors, supersede_background

COLUMNS = ("Name", "Width", "Height", "Bytes", "Rate, bpp", "PSNR, dB", "SSIM", "Encode, s", "Decode, s", "Note")
FORMATS = (",", ",", ",", ".3f", ".2f", ".4f", ".1f", ".1f")  # of the figures, which are between name and note
MAX_PICTURES = 200
FORMULA_MARKS = tuple("=+-@＝＋－＠")  # a spreadsheet takes text that starts with one for a formula
ADVICE = "fewer pictures, a smaller working size, or fewer steps"
NOTE = (
    f"Uses the settings on this page. Up to {MAX_PICTURES} pictures at a time. When you stop, the finished ones are "
    "kept."
)
# An error of the attempt before gives way to the note
DISMISS_ALERT = f"""(status) => status.includes('role="alert"') ? {json.dumps(note(NOTE))} : status"""


class BatchTab:
    """The tab Batch.

    Shows a table with a row for each picture, to download as CSV, and the files, to download as ZIP. It holds no state.
    A button compresses the pictures that were uploaded.
    """

    def __init__(self) -> None:
        self.upload = gr.File(label="Drop or choose many pictures", file_count="multiple", elem_id="batch", height=138)
        with gr.Row(elem_id="batch-options", elem_classes=["card"]):
            self.refine = number_field(
                0,
                MAX_STEPS,
                value=0,
                label="Steps of refinement",
                info="Each step improves every file and takes as long as a few decodes. 20 give most of the gain.",
                precision=0,
                elem_id="batch-refine",
            )
            self.run = gr.Button("Compress all", variant="primary", elem_id="batch-run")
        self.status = status_line("batch-status", note(NOTE))
        self.table = gr.HTML(draw_table([]), elem_id="batch-table", apply_default_css=False)
        with gr.Row():
            self.csv = gr.DownloadButton("Table as CSV", interactive=False, elem_id="batch-csv")
            self.zip = gr.DownloadButton("Files as ZIP", interactive=False, elem_id="batch-zip")

    def wire(self, checkpoint: gr.Dropdown, settings: list[Any]) -> None:
        """Connect the events.

        Args:
            checkpoint: The choice of checkpoint of the tab The model.
            settings: The components that `read_settings` reads, from `color` to `size`.
        """
        again = [self.upload.upload, *(setting.input for setting in settings)]
        gr.on(again, None, self.status, self.status, js=DISMISS_ALERT, **QUICK_EVENT)
        self.run.click(supersede_background, **QUICK_EVENT).then(
            self.compress_all,
            [self.upload, checkpoint, *settings, self.refine],
            [self.table, self.status, self.csv, self.zip],
            show_progress_on=self.status,
            **NETWORK_EVENT,
        )

    def compress_all(
        self,
        paths: list[str] | None,
        checkpoint: str,
        color: bool,
        side: int,
        scale: Scale,
        rate: str,
        quality: float,
        size: float,
        refine: int,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[Updates]:
        """Compress and decode each picture. For one that cannot be opened, the table says why.

        The arguments from `checkpoint` to `size` are the values of the controls.

        Args:
            paths: Paths of the uploaded pictures, of which the first MAX_PICTURES are compressed; None if there are
                none.
            checkpoint: As in `read_settings`.
            color: As in `read_settings`.
            side: As in `read_settings`.
            scale: As in `read_settings`.
            rate: As in `read_settings`.
            quality: As in `read_settings`.
            size: As in `read_settings`.
            refine: Steps of refinement of each file, 0 to MAX_STEPS.
            request: From Gradio; it names the session.
            progress: From Gradio; it shows the progress in `status`.

        Yields:
            As `compress_each`; a sentence in `status` where there is nothing to do.
        """
        if not paths:
            yield {self.status: alert("Choose some pictures first.")}
            return
        if rate == UNQUANTIZED:
            yield {self.status: alert("Without quantization there are no files: choose a quality or a file size.")}
            return
        pictures = [
            read_settings(path, None, checkpoint, color, side, scale, rate, quality, size)
            for path in paths[:MAX_PICTURES]
        ]
        work = Work(request, progress, "Compressing.", advice=ADVICE)
        yield from report_errors(self.status, self.compress_each(pictures, refine, work))

    def compress_each(self, pictures: list[Settings], refine: int, work: Work) -> Iterator[Updates]:
        """Clear the results of an earlier batch, add a row for each picture, then offer the table and the archive.

        Args:
            pictures: One or more, all with one checkpoint and one working size.
            refine: Steps of refinement of each file.
            work: Not begun yet. It gives way to other visitors after each picture.

        Yields:
            Updates of `table`, `status`, `csv` and `zip`. The finished pictures are offered also when the work is ended
            early, unless the visitor left.

        Raises:
            ResidaeError: The checkpoint cannot be loaded, the result cannot be written, or too much work waits already.
        """
        rows: list[list[Any]] = []
        no_downloads = {button: gr.DownloadButton(interactive=False) for button in (self.csv, self.zip)}
        yield {self.table: draw_table(rows), self.status: "", **no_downloads}
        with tempfile.TemporaryFile() as file:
            with zipfile.ZipFile(file, "w") as archive:
                try:
                    with work:
                        expected = expected_work(pictures, refine)
                        on_gpu = get_pipeline(pictures[0].checkpoint).engine.on_gpu
                        work.charge(sum(expected), on_gpu, len(pictures))
                        for number, settings in enumerate(pictures):
                            part = between(work, number / len(pictures), (number + 1) / len(pictures))
                            row, data = compress_one(settings, refine, expected[number], work, part)
                            rows.append(row)
                            if data:
                                archive.writestr(f"{number + 1:03}-{short_name(Path(settings.path).stem)}.rae", data)
                            yield {self.table: draw_table(rows), self.status: progress_note(rows, len(pictures))}
                            work.give_way()
                except Left:
                    return  # nobody takes the finished ones
                except Stopped:
                    yield {self.status: progress_note(rows, len(pictures), "Stopped: ")}
                except ShareError as error:
                    yield {self.status: progress_note(rows, len(pictures)) + alert(error)}
            file.seek(0)
            yield {
                button: gr.DownloadButton(value=save_result(data, name), interactive=bool(rows))
                for button, data, name in (
                    (self.csv, as_csv(rows).encode(), "residae.csv"),
                    (self.zip, file.read(), "residae.zip"),
                )
            }


def progress_note(rows: list[list[Any]], pictures: int, beginning: str = "") -> str:
    """How many pictures are compressed, and how many failed, as HTML.

    Args:
        rows: Of the pictures that are done, their cells as COLUMNS.
        pictures: How many there are.
        beginning: Of the sentence.
    """
    failed = sum(map(is_failed, rows))
    compressed = f"{len(rows) - failed}" if len(rows) == pictures else f"{len(rows) - failed} of {pictures}"
    return f"<p>{beginning}{compressed} compressed{f', {failed} failed' if failed else ''}.</p>"


def is_failed(row: list[Any]) -> bool:
    """Whether a row, with its cells as COLUMNS, is of a picture that has no file."""
    return row[COLUMNS.index("Bytes")] is None


def draw_table(rows: list[list[Any]]) -> str:
    """The table as HTML, in which the note is a line of its own below the name and the figures.

    Args:
        rows: Their cells, as COLUMNS.
    """
    name, *figures, _ = COLUMNS
    head = "".join(f'<th scope="col">{column}</th>' for column in (name, *figures))
    body = ""
    for row in rows:
        name, *values, note_text = row
        cells = "".join(f"<td>{figure(value, spec)}</td>" for value, spec in zip(values, FORMATS, strict=True))
        kind = ' class="failed"' if is_failed(row) else ""
        body += f'<tbody{kind}><tr><th scope="row">{html.escape(name)}</th>{cells}</tr>'
        if note_text:
            body += f'<tr><td colspan="{1 + len(figures)}">{note(note_text)}</td></tr>'
        body += "</tbody>"
    return f'<table class="figures"><thead><tr>{head}</tr></thead>{body}</table>'


def figure(value: float | None, spec: str) -> str:
    """A figure of the table.

    Args:
        value: None where there is no file, and not a number where it cannot be measured.
        spec: How it is formatted.
    """
    if value is None or math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else format(value, spec)


def as_csv(rows: list[list[Any]]) -> str:
    """The table as CSV, with a byte order mark, without which Excel does not read it as UTF-8.

    Text that a spreadsheet would take for a formula gets an apostrophe in front. Text is in quotes, so that it stays
    one cell also where cells are separated by semicolons.
    """
    text = io.StringIO("\N{BYTE ORDER MARK}")
    text.seek(0, io.SEEK_END)
    safe = ([f"'{c}" if isinstance(c, str) and c.startswith(FORMULA_MARKS) else c for c in row] for row in rows)
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC).writerows([COLUMNS, *safe])
    return text.getvalue()


def expected_work(pictures: Sequence[Settings], refine: int) -> list[float]:
    """The work of each picture by the size that its header states, in `network_pixels`; 0 where it states none.

    Args:
        pictures: One or more, all with one working size.
        refine: Steps of refinement of each file.
    """
    sizes = read_sizes([settings.path for settings in pictures], pictures[0].side)
    return [
        network_pixels(*size, settings.color, settings.scale, max_bytes=settings.max_bytes, refine=refine)
        for size, settings in zip(sizes, pictures, strict=True)
    ]


def compress_one(
    settings: Settings, refine: int, expected: float, work: Work, progress: Progress | None
) -> tuple[list[Any], bytes | None]:
    """Compress and decode a picture, whose expected work is charged already.

    Args:
        settings: What the file is made from.
        refine: Steps of refinement.
        expected: Work that is charged already. If the picture takes over a tenth more, the difference is charged as
            well.
        work: The work that this is part of, which is charged.
        progress: Called with the share done, in (0, 1]; it may raise to stop the work.

    Returns:
        The row of the table, as COLUMNS, and the content of the `.rae` file; None where the picture cannot be opened or
        made so small.

    Raises:
        ShareError: The page does not allow so much work at a time.
    """
    name, pipeline = short_name(Path(settings.path).name), get_pipeline(settings.checkpoint)
    try:
        picture = open_at_size(settings.path, settings.side)
        color = picture.keeps_color(settings.color)
        shape, most = (picture.height, picture.width), settings.max_bytes
        pixels = network_pixels(*shape, color, settings.scale, max_bytes=most, refine=refine)
        if pixels > 1.1 * expected:  # its header did not say so
            work.charge(pixels - expected, pipeline.engine.on_gpu)
        report = pipeline.reconstruct(
            picture,
            color,
            settings.quality,
            progress,
            settings.scale,
            refine,
            settings.max_bytes,
        )
    except ShareError:
        raise
    except ResidaeError as error:
        return [name, *[None] * 8, str(error)], None
    encoding, data = report.encoding, report.compressed.data if report.compressed else b""
    rate = bits_per_pixel(len(data), encoding.width, encoding.height)
    size = [encoding.width, encoding.height, len(data), round(rate, 4)]
    distortion = [round(report.psnr, 2), round(report.ssim, 4)]
    times = [round(encoding.seconds, 2), round(report.decoding.seconds, 2)]
    return [name, *size, *distortion, *times, " ".join(report.notices)], data
