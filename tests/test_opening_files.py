"""The tab Files: `.rae` files of one name, and an end in the middle."""

import re
from dataclasses import replace
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

import gradio as gr
import pytest
from visitor import SILENT, VISIT

from residae.ui.state import CurrentResult
from residae.ui.tabs.files import FilesTab
from residae.ui.work import Updates, cancel, let_go


@pytest.fixture
def files(current: CurrentResult, tmp_path: Path) -> list[str]:
    """Paths of two files of one name."""
    assert current.compressed
    paths = [tmp_path / folder / "x.rae" for folder in "ab"]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(current.compressed.data)
    return list(map(str, paths))


@pytest.fixture
def tab() -> FilesTab:
    with gr.Blocks():
        return FilesTab()


def views(tab: FilesTab, update: Updates) -> list[str]:
    return [view["name"] for view in update[tab.table]["views"]]


def test_each_of_several_files_of_one_name_can_be_chosen(tab: FilesTab, files: list[str]) -> None:
    *_, second, _ = tab.decode(files, "tiny", (), VISIT, SILENT)
    assert views(tab, second) == ["x.rae", "x.rae (2)"]


def test_what_was_opened_before_a_stop_can_be_downloaded(tab: FilesTab, files: list[str]) -> None:
    updates = tab.decode(files, "tiny", (), VISIT, SILENT)
    assert next(updates) == {tab.upload: None}
    opened = next(updates)
    assert views(tab, opened) == ["x.rae"]
    address = re.search('href="gradio_api/file=([^"]+)" download="x.png"', opened[tab.figures])
    assert address
    assert Path(unquote(address[1])).read_bytes().startswith(b"\x89PNG")
    cancel(VISIT)
    (status,) = updates
    assert status == {tab.status: "<p>Stopped: 1 of 2 files opened.</p>"}


def test_a_damaged_file_is_refused_with_what_to_do(tab: FilesTab, files: list[str], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.rae"
    damaged.write_bytes(Path(files[0]).read_bytes()[:-9])
    *_, status = tab.decode([str(damaged)], "tiny", (), VISIT, SILENT)
    assert "damaged.rae: The file is damaged or cut short: save or copy it again." in status[tab.status]


def test_a_file_that_cannot_be_opened_leaves_what_is_shown_and_says_so(tab: FilesTab, tmp_path: Path) -> None:
    damaged = tmp_path / "b.rae"
    damaged.write_bytes(b"no such file")
    for shown, sentence in (((), ""), (("a.rae",), "<p>Still showing a.rae.</p>")):
        *updates, last = tab.decode([str(damaged)], "tiny", shown, VISIT, SILENT)
        assert last[tab.status].endswith(f"</p>{sentence}")
        assert not any(tab.table in update for update in updates)


def test_nothing_is_said_to_a_visitor_who_left(tab: FilesTab, files: list[str]) -> None:
    updates = tab.decode(files, "tiny", (), VISIT, SILENT)
    list(islice(updates, 2))
    let_go(VISIT.session_hash)
    assert [*updates] == [{tab.status: gr.skip()}]


def test_the_file_of_the_overview_can_be_opened(tab: FilesTab, current: CurrentResult) -> None:
    _, opened, status = tab.decode_current(current, (), VISIT, SILENT)
    assert views(tab, opened) == ["picture.rae"]
    assert status == {tab.status: "<p>1 file opened.</p>"}


def test_without_a_file_in_the_overview_it_is_said_where_to_get_one(tab: FilesTab, current: CurrentResult) -> None:
    for shown in (None, replace(current, compressed=None)):
        (update,) = tab.decode_current(shown, (), VISIT, SILENT)
        assert "choose a quality or a file size" in update[tab.status]
