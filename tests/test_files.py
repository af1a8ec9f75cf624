"""Files are written whole or not at all, and what exists keeps its nature; files are found by folder and pattern."""

import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from residae import files
from residae.cli import _exit_on_signals
from residae.errors import ResidaeError
from residae.files import check_target, find_files, read_file, write_file

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may do so")
not_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")


@contextmanager
def _reader(fifo: Path) -> Iterator[int]:
    """A reader of a FIFO."""
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@posix
def test_a_fifo_is_written_to(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    check_target(fifo, force=False)
    with _reader(fifo) as descriptor:
        write_file(fifo, b"new")
        assert os.read(descriptor, 9) == b"new"
    with pytest.raises(ResidaeError, match="no program reads from it"):
        write_file(fifo, b"new")  # and does not wait for a reader without end
    assert stat.S_ISFIFO(fifo.stat().st_mode)


@posix
def test_more_than_a_fifo_holds_is_written_to_it(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    data = os.urandom(2**18)
    child = os.fork()
    if not child:
        os._exit(0 if fifo.read_bytes() == data else 1)
    while True:
        try:
            write_file(fifo, data)
            break
        except ResidaeError:
            continue  # until the child has opened it
    assert os.waitpid(child, 0)[1] == 0


@root
def test_a_device_is_written_to(tmp_path: Path) -> None:
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        device.write_bytes(b"")
    except PermissionError:
        pytest.skip("no devices in this container")
    check_target(device, force=False)
    write_file(device, b"new")
    assert stat.S_ISCHR(device.stat().st_mode)


@posix
def test_a_device_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    for path in (Path("/dev/null"), tmp_path / "link"):
        check_target(path, force=False)
        write_file(path, b"new")
    assert (tmp_path / "link").is_symlink()


@posix
@pytest.mark.parametrize("old", [b"old", None], ids=["existing", "dangling"])
def test_a_symbolic_link_is_followed(tmp_path: Path, old: bytes | None) -> None:
    (tmp_path / "folder").mkdir()
    real = tmp_path / "folder" / "real"
    if old:
        real.write_bytes(old)
    for name, to in (("link", "folder/real"), ("chain", "link")):
        (tmp_path / name).symlink_to(to)
    write_file(tmp_path / "chain", b"new")
    assert (tmp_path / "chain").readlink() == Path("link")
    assert (tmp_path / "link").readlink() == Path("folder/real")
    assert real.read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["chain", "folder", "link", "real"]


@posix
def test_a_link_into_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("new/folder/real")
    check_target(tmp_path / "link", force=False)
    write_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new" / "folder" / "real").read_bytes() == b"new"


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
def test_the_mode_stays(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_file(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_bytes() == b"new"


@posix
def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "new" / "file", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "file").stat().st_mode) == 0o640


@root
def test_the_owner_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o600)
    os.chown(path, 12345, 54321)
    write_file(path, b"new")
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12345, 54321, 0o600)


@posix
@pytest.mark.parametrize("what", ["chown", "open"])
def test_a_file_is_overwritten_in_place_where_it_cannot_be_replaced(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Because its owner would change, or because the folder takes no other file."""
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    before = path.stat()
    own = os.getuid()
    monkeypatch.setattr(Path, "stat", _of_another(Path.stat, path, own))

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, what, refuse)
    write_file(path, b"new")
    monkeypatch.undo()
    assert path.stat().st_ino == before.st_ino
    assert path.read_bytes() == b"new"
    assert [*tmp_path.iterdir()] == [path]


def _of_another(status: object, path: Path, own: int) -> object:
    """`Path.stat`, but the owner of `path` is another."""

    def stat_of_another(asked: Path, **options: bool) -> os.stat_result:
        result: os.stat_result = status(asked, **options)  # type: ignore[operator]
        if asked != path:
            return result
        fields = list(result)
        fields[stat.ST_UID] = own + 1
        return os.stat_result(fields)

    return stat_of_another


@posix
def test_other_names_of_a_file_stay_its_names(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"old")
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    write_file(tmp_path / "one", b"new")
    assert (tmp_path / "two").read_bytes() == b"new"


@posix
def test_names_of_255_bytes(tmp_path: Path) -> None:
    for path in (tmp_path / ("x" * 255), tmp_path / ("é" * 127 + "x")):
        check_target(path, force=False)
        write_file(path, b"new")
        assert path.read_bytes() == b"new"
    with pytest.raises(ResidaeError, match="File name too long"):
        check_target(tmp_path / ("x" * 256), force=False)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("old", [b"old", None], ids=["existing", "new"])
def test_a_signal_leaves_no_part_of_a_file(
    tmp_path: Path, name: str, old: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(signal, name):
        pytest.skip("this system has no such signal")
    number = getattr(signal, name)
    path = tmp_path / "file"
    if old:
        path.write_bytes(old)
    replace = Path.replace

    def interrupted(partial: Path, target: Path) -> Path:
        assert partial.read_bytes() == b"new"
        signal.raise_signal(number)
        return replace(partial, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    handler = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
    before = signal.signal(number, handler)  # a shell starts background jobs without one, and nohup as well
    try:
        with pytest.raises((SystemExit, KeyboardInterrupt)), _exit_on_signals():
            write_file(path, b"new")
        assert signal.getsignal(number) == handler
    finally:
        signal.signal(number, before)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([old] if old else [])


@posix
def test_a_hangup_stays_ignored_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _exit_on_signals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(ResidaeError, match="exists already"):
        check_target(tmp_path / "file", force=False)
    check_target(tmp_path / "file", force=True)
    with pytest.raises(ResidaeError, match="it is a folder"):
        check_target(tmp_path, force=True)
    with pytest.raises(ResidaeError, match="cannot be written"):
        check_target(tmp_path / "file" / "below", force=True)
    check_target(tmp_path / "new" / "folder" / "file", force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@not_root
def test_a_folder_that_takes_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(0o500)
    with pytest.raises(ResidaeError, match="you may not write to"):
        check_target(folder / "new" / "file", force=False)


def test_reading_no_more_than_asked(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    assert read_file(tmp_path / "file") == b"0123456789"
    assert read_file(tmp_path / "file", 4) == b"0123"
    with pytest.raises(ResidaeError, match="cannot be read"):
        read_file(tmp_path / "absent")


def test_a_file_that_memory_might_not_hold_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of many it would end the run, with MemoryError or by the system."""
    (tmp_path / "file").write_bytes(b"0123456789")
    monkeypatch.setattr(files, "MAX_BYTES", 9)
    with pytest.raises(ResidaeError, match="larger than the limit"):
        read_file(tmp_path / "file")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder of pictures with a folder in it, other files, and hidden ones."""
    for name in ("b.png", "A.PNG", "text.md", "c/a.jpg", "c/d/z.png", ".hidden.png", ".git/e.png", "c/[1].png"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "tree"


def _found(*arguments: Path) -> tuple[list[str], list[str]]:
    """The names that are found, and the sentences on what is not."""
    errors: list[str] = []
    found = find_files(arguments, {".png", ".jpg"}, lambda path, reason: errors.append(f"{path.name}: {reason}"))
    assert all(file.path.as_posix().endswith(file.name) for file in found)
    return [file.name for file in found], errors


def test_the_files_of_a_folder(tree: Path) -> None:
    assert _found(tree) == (["A.PNG", "b.png", "c/[1].png", "c/a.jpg", "c/d/z.png"], [])
    assert _found(tree / ".git") == (["e.png"], [])


def test_a_file_is_taken_whatever_its_name(tree: Path) -> None:
    assert _found(tree / "text.md", tree / "absent", tree / "c" / "[1].png") == (["text.md", "absent", "[1].png"], [])


def test_the_files_of_a_pattern(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _found(tree / "*.png") == (["b.png"], [])
    assert _found(tree / "**" / "*.png") == (["b.png", "c/[1].png", "c/d/z.png"], [])
    assert _found(tree / "c" / "*" / "?.png") == (["d/z.png"], [])
    assert _found(tree / ".*.png") == ([".hidden.png"], [])
    assert _found(tree / "**.png") == (["b.png"], [])  # as in a shell; pathlib of Python 3.12 raises an error
    assert _found(tree / "*.gif") == ([], ["*.gif: No file has such a name."])
    monkeypatch.chdir(tree)
    assert _found(Path("c/*.jpg"), Path("*.md")) == (["a.jpg", "text.md"], [])


@posix
def test_names_that_no_file_can_have_do_not_end_the_search(tree: Path) -> None:
    """As those in a folder that may not be read, about which `Path.is_dir` raises an error."""
    long = "x" * 300
    (tree / "b.png").unlink()
    (tree / "b.png").symlink_to(long)
    names, errors = _found(tree / long, tree / long / "*.png", tree / "*" / long / "*", tree / "*.png")
    assert names == [long, "b.png"]
    assert errors == ["*.png: No file has such a name.", "*: No file has such a name."]


def test_each_file_comes_once(tree: Path) -> None:
    assert _found(tree / "b.png", tree, tree / "c" / ".." / "b.png", tree / "b*")[0][:3] == [
        "b.png",
        "A.PNG",
        "c/[1].png",
    ]
    assert len(_found(tree, tree / "c")[0]) == 5


@posix
def test_linked_folders_are_left_out_unless_they_are_named(tree: Path) -> None:
    before = _found(tree)
    (tree / "link").symlink_to("c")
    (tree / "c" / "loop").symlink_to("..")
    assert _found(tree) == before
    assert _found(tree / "**" / "z.png") == (["c/d/z.png"], [])
    assert _found(tree / "link") == (["[1].png", "a.jpg", "d/z.png"], [])


def test_a_folder_without_such_files(tree: Path) -> None:
    (tree / "empty").mkdir()
    assert _found(tree / "empty") == ([], ["empty: There is no file of this kind in the folder."])


@posix
def test_a_fifo_is_taken_only_if_it_was_named(tree: Path) -> None:
    """As the shell's <(command) is. One in a folder, to which nobody writes, would stop the run for good."""
    os.mkfifo(tree / "c" / "fifo.png")
    (tree / "c" / "gone.png").symlink_to("nowhere")
    names, errors = _found(tree, tree / "c" / "f*.png")
    assert names == ["A.PNG", "b.png", "c/[1].png", "c/a.jpg", "c/gone.png", "c/d/z.png"]
    assert errors == ["fifo.png: This is not a regular file."] * 2
    assert _found(tree / "c" / "fifo.png") == (["fifo.png"], [])


@not_root
def test_a_folder_that_cannot_be_read_is_reported(tree: Path) -> None:
    (tree / "c").chmod(0)
    names, errors = _found(tree)
    (tree / "c").chmod(0o700)
    assert names == ["A.PNG", "b.png"]
    assert errors == ["c: The folder cannot be read: Permission denied."]


def test_a_hundred_thousand_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take memory, and their contents none: nothing is opened."""
    walk = [(str(tmp_path), [], [f"{number:06}.png" for number in range(100_000)])]
    monkeypatch.setattr(os, "walk", lambda *_, **__: iter(walk))
    monkeypatch.setattr(Path, "open", None)
    found = find_files([tmp_path], {".png"}, lambda path, reason: None)
    assert len(found) == 100_000
    assert found[-1] == files.InputFile(tmp_path / "099999.png", "099999.png")
