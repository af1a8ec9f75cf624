"""A batch of pictures with malicious names: neither the table nor the archive contains them."""

import codecs
import csv
import io
import math
import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from visitor import VISIT

from residae.codec import read_info
from residae.image import Pixels, open_picture, write_png
from residae.ui import cache
from residae.ui.cache import Settings
from residae.ui.tabs.batch import COLUMNS, BatchTab, as_csv, compress_one, draw_table, progress_note
from residae.ui.text import MAX_NAME, short_name
from residae.ui.work import Cancelled, Left, Stopped, Work

NAMES = [
    '=HYPERLINK("http:evil","here")',
    "+1",
    "-1",
    "@SUM(A1)",
    "＝1+1",
    "a;=1+1",
    "..",
    "..\\..\\evil",
    "C:\\evil",
    "CON",
    "two\nlines",
    "\u202egnp",  # right to left from here
    "<img src=x onerror=alert(1)>",
    "\udcff",  # a byte that is no UTF-8
    "x" * 240,
    "\N{GRINNING FACE}" * 60,
]


@pytest.fixture
def compressed(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, smooth: Callable[[int, int, int], Pixels]
) -> tuple[bytes, zipfile.ZipFile]:
    """The table as CSV and the archive, for pictures of those names and a file that is not a picture."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(checkpoint))
    in_process = SimpleNamespace(  # it is the names that matter
        open_picture=lambda path, _: open_picture(path), read_sizes=lambda paths, _: [None] * len(paths)
    )
    monkeypatch.setattr(cache, "DECODER", in_process)
    paths = [tmp_path / f"{name}.png" for name in NAMES]
    for number, path in enumerate(paths):
        path.write_bytes(write_png(smooth(20, 20 + number, number)))
    paths.append(tmp_path / "=none.png")
    paths[-1].write_bytes(b"<html>")
    with gr.Blocks():
        batch = BatchTab()
    first, *_, last = batch.compress_each([Settings(str(path), "tiny") for path in paths], 0, Work(VISIT))
    assert first[batch.table] == draw_table([])  # the results of an earlier batch are cleared at once
    assert not first[batch.csv].interactive
    assert not first[batch.zip].interactive
    return Path(last[batch.csv].value["path"]).read_bytes(), zipfile.ZipFile(last[batch.zip].value["path"])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no files of such names")
def test_names_of_a_batch_are_harmless(compressed: tuple[bytes, zipfile.ZipFile]) -> None:
    data, archive = compressed
    assert data.startswith(codecs.BOM_UTF8)  # else Excel reads it in the code page of the system
    head, *rows = csv.reader(io.StringIO(data.decode("utf-8-sig")))
    assert tuple(head) == COLUMNS
    assert [len(row) for row in rows] == [len(COLUMNS)] * (len(NAMES) + 1)
    for name, *figures, _ in rows:
        assert name[0] not in "=+-@＝＋－＠"
        assert name.isprintable()
        assert not set(name) & set('<>"/\\:')
        assert len(name) <= MAX_NAME + 1
        assert all(figures) or "none" in name
    assert rows[-1][-1].startswith("The file is not a picture")
    assert len(archive.namelist()) == len(NAMES)
    for number, entry in enumerate(archive.infolist()):
        assert re.fullmatch(r"\d{3}-[^/\\:]{1,40}\.rae", entry.filename)
        assert entry.filename.isprintable()
        assert read_info(archive.read(entry)).width == 20 + number


def test_a_batch_can_be_refined(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, smooth: Callable[[int, int, int], Pixels]
) -> None:
    picture_file = tmp_path / "picture.png"
    picture_file.write_bytes(write_png(smooth(53, 75, 0)))
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(checkpoint))
    settings = Settings(str(picture_file), "tiny", quality=100)
    with Work(VISIT) as work:
        plain, refined, again = (compress_one(settings, steps, 0, work, None)[1] for steps in (0, 5, 5))
    assert plain
    assert refined
    assert plain != refined
    assert again == refined


@pytest.mark.parametrize(("end", "offers"), [(Cancelled, True), (Left, False)])
def test_the_finished_files_are_offered_unless_the_visitor_left(
    end: type[Stopped],
    offers: bool,
    tmp_path: Path,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    smooth: Callable[[int, int, int], Pixels],
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(checkpoint))
    picture_file = tmp_path / "picture.png"
    picture_file.write_bytes(write_png(smooth(53, 75, 0)))
    with gr.Blocks():
        batch = BatchTab()
    work = Work(VISIT)
    updates = batch.compress_each([Settings(str(picture_file), "tiny")] * 2, 0, work)
    next(updates)
    assert next(updates)[batch.table].count('<th scope="row">') == 1
    work.cancel(end)
    assert [batch.zip in update for update in updates] == ([False, True] if offers else [])
    assert (tmp_path / "files").exists() == offers


def test_the_table_has_a_line_for_each_note_and_escapes_what_others_wrote() -> None:
    figures = [1024, 683, 12345, 0.1412, math.inf, math.nan, 0.5, 1.25]
    table = draw_table([["<b>.png", *figures, "Changed & shrunk."], ["c.png", *[None] * 8, "No picture."]])
    assert re.findall('<th scope="row">(.*?)</th>', table) == ["&lt;b&gt;.png", "c.png"]
    cells = re.findall("<td>(.*?)</td>", table)
    assert cells == ["1,024", "683", "12,345", "0.141", "∞", "–", "0.5", "1.2", *["–"] * 8]
    assert len(re.findall('<th scope="col">', table)) == 9
    assert re.findall('<td colspan="9"><p class="note">(.*?)</p>', table) == ["Changed &amp; shrunk.", "No picture."]


def test_a_picture_without_a_file_is_counted_and_marked_as_failed() -> None:
    done, failed = ["a.png", 60, 40, 700, 2.3, 30.0, 0.9, 0.1, 0.1, ""], ["b.png", *[None] * 8, "No picture."]
    assert progress_note([done], 2) == "<p>1 of 2 compressed.</p>"
    assert progress_note([done, failed], 2) == "<p>1 compressed, 1 failed.</p>"
    assert re.findall("<tbody([^>]*)>", draw_table([done, failed])) == ["", ' class="failed"']


def test_negative_numbers_stay_numbers() -> None:
    assert as_csv([["a", -1.5]]).splitlines()[1] == '"a",-1.5'


def test_a_name_stays_one_cell_where_semicolons_separate_cells() -> None:
    row = [*csv.reader(io.StringIO(as_csv([["a;=1+1", -1.5]])), delimiter=";")][1]
    assert row == ["a;=1+1,-1.5"]


@pytest.mark.parametrize("name", NAMES)
def test_a_short_name_can_be_shown_and_written(name: str) -> None:
    assert len(short_name(name)) <= MAX_NAME
    assert short_name(name).isprintable()
    assert short_name(name).encode()


def test_a_batch_keeps_to_a_size_of_the_file(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, smooth: Callable[[int, int, int], Pixels]
) -> None:
    picture_file = tmp_path / "picture.png"
    picture_file.write_bytes(write_png(smooth(53, 75, 0)))
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(checkpoint))
    limited = Settings(str(picture_file), "tiny", scale="auto", quality=None, max_bytes=600)
    with Work(VISIT) as work:
        assert len(compress_one(limited, 5, 0, work, None)[1] or b"") in range(1, 601)
        assert "takes at least" in compress_one(replace(limited, max_bytes=1), 0, 0, work, None)[0][-1]
