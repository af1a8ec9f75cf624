"""Read and write whole files, and find them, with errors that say what went wrong in one sentence.

The path `-` means standard input or standard output.
"""

import errno
import glob
import os
import re
import stat
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePath
from typing import NamedTuple

from residae.errors import ResidaeError

MAX_BYTES = 10**9  # of a file that is read whole: far more than the `.rae` file of the largest picture takes
STREAM = Path("-")  # standard input, or standard output; a file of that name is ./-


class InputFile(NamedTuple):
    """A file that a command was given.

    Attributes:
        path: Of the file.
        name: Its path below the folder or the fixed part of the pattern that it was found by, with slashes; the name
            alone of a file that was named itself.
    """

    path: Path
    name: str


def read_file(path: Path, most: int = -1) -> bytes:
    """Read a file, or standard input.

    Args:
        path: Of the file.
        most: How many bytes are read at most; all if it is negative, of a file of up to MAX_BYTES.

    Returns:
        The content, or its first `most` bytes.

    Raises:
        ResidaeError: It cannot be read, or is too large.
    """
    try:
        if path == STREAM:
            return sys.stdin.buffer.read(most)
        with path.open("rb") as file:
            if most < 0 and os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise ResidaeError(f"{path} is larger than the limit of {MAX_BYTES / 10**9:g} GB.")
            return file.read(most)
    except OSError as error:
        raise ResidaeError(f"{path} cannot be read: {error.strerror}.") from error


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; its folder is created if need be, also where a symbolic link leads to it.

    The content is written under a temporary name first. An existing file keeps its mode and its owner; where that
    takes more rights than there are, or it has other names (hard links), it is overwritten in place instead. A symbolic
    link stays, and the file that it leads to is written. A FIFO or a device is written to.

    Args:
        path: Of the file; `-` for standard output.
        data: All of its content.

    Raises:
        BrokenPipeError: Nobody reads standard output any more.
        ResidaeError: It cannot be written.
    """
    if is_standard_output(path):
        _write_standard_output(data)
        return
    try:
        existing, target = _status(path), Path(os.path.realpath(path))
        if not existing:
            target.parent.mkdir(parents=True, exist_ok=True)
        if existing and not stat.S_ISREG(existing.st_mode):
            _write_special(path, data)
        elif not _replace(target, data, existing):
            path.write_bytes(data)
    except OSError as error:
        unread = error.errno == errno.ENXIO and existing and stat.S_ISFIFO(existing.st_mode)
        reason = "no program reads from it" if unread else error.strerror
        raise ResidaeError(f"{path} cannot be written: {reason}.") from error


def check_target(path: Path, force: bool) -> None:
    """Check that a file can be written, before the work whose result it is to hold.

    Args:
        path: Of the file.
        force: Whether it may replace an existing one. FIFOs and devices are not replaced, but written to.

    Raises:
        ResidaeError: It exists and `force` is not set, it is a folder, or its name or its folder do not permit it.
    """
    if is_standard_output(path):
        return
    try:
        existing = _status(path)
    except OSError as error:  # for example, the name is too long
        raise ResidaeError(f"{path} cannot be written: {error.strerror}.") from error
    if existing and stat.S_ISDIR(existing.st_mode):
        raise ResidaeError(f"{path} cannot be written: it is a folder.")
    if existing and stat.S_ISREG(existing.st_mode) and not force:
        raise ResidaeError(f"{path} exists already: give another name, or replace it with --force.")
    if existing and os.access(path, os.W_OK):
        return
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    folder = next(parent for parent in target.parents if parent.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ResidaeError(f"{path} cannot be written: you may not write to {target if existing else folder}.")


def is_standard_output(path: Path) -> bool:
    """Whether writing to the path would write to standard output, as `-` and `/dev/stdout` do.

    Args:
        path: It need not exist; `-` is standard output.
    """
    try:
        return path == STREAM or os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError, AttributeError):  # there is no such file, or no standard output
        return False


def is_same_file(path: Path, other: Path) -> bool:
    """Whether both paths lead to one existing file, however they are spelled.

    Args:
        path: It need not exist.
        other: It need not exist.
    """
    try:
        return path.samefile(other)
    except OSError:  # at least one of them does not exist
        return False


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder, as far as is known.

    Args:
        path: It may be one that no file can have, or behind a folder that is closed, where `Path.is_dir` raises errors.
    """
    return stat.S_ISDIR(_mode(path))


def find_files(
    arguments: Iterable[Path], suffixes: Collection[str], on_error: Callable[[Path, str], None]
) -> list[InputFile]:
    """The files that the arguments of a command stand for. Their names are held in memory, and they are not opened.

    Args:
        arguments: Each is a file; a folder, which stands for the files below it that have one of the suffixes, without
            hidden ones and those of linked folders; or a pattern such as `pictures/**/*.png`.
        suffixes: In lower case, such as `.png`.
        on_error: Called with the reason for a folder that cannot be read, an argument that stands for no file, and a
            FIFO, a socket or a device that was not named itself: reading it might never end.

    Returns:
        Each file once, in the order of the arguments; the files of a folder before those of its folders, by name.
    """
    found: dict[str, InputFile] = {}
    for argument in arguments:
        is_named = False
        if is_folder(argument):
            files, reason = _files_below(argument, suffixes, on_error), "There is no file of this kind in the folder."
        elif glob.has_magic(str(argument)) and not _mode(argument):
            files, reason = _matches(argument), "No file has such a name."
        else:
            files, reason, is_named = iter([InputFile(argument, argument.name)]), "", True
        empty = True
        for file in files:
            empty = False
            if is_named or not _is_special(file.path):
                found.setdefault(os.path.normpath(file.path), file)
            else:
                on_error(file.path, "This is not a regular file.")
        if empty:
            on_error(argument, reason)
    return [*found.values()]


def _files_below(folder: Path, suffixes: Collection[str], on_error: Callable[[Path, str], None]) -> Iterator[InputFile]:
    def report(error: OSError) -> None:
        on_error(Path(error.filename), f"The folder cannot be read: {error.strerror}.")

    for root, folders, names in os.walk(folder, onerror=report):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(root).relative_to(folder)
        for name in sorted(names):
            if not name.startswith(".") and PurePath(name).suffix.lower() in suffixes:
                yield InputFile(Path(root, name), (below / name).as_posix())


def _matches(pattern: Path) -> Iterator[InputFile]:
    """The files that a pattern matches, in order of path; hidden ones only where the pattern has a name with a dot."""
    first = next(index for index, part in enumerate(pattern.parts) if glob.has_magic(part))
    folder, below = Path(*pattern.parts[:first]), [_as_in_a_shell(part) for part in pattern.parts[first:]]
    hidden = any(part.startswith(".") for part in below)
    paths: list[Path] = []
    with suppress(OSError):  # a name in the pattern is one that no file can have
        paths = sorted(folder.glob(str(Path(*below))))
    for path in paths:
        name = path.relative_to(folder)
        if not is_folder(path) and (hidden or not any(part.startswith(".") for part in name.parts)):
            yield InputFile(path, name.as_posix())


def _is_special(path: Path) -> bool:
    """Whether a path leads to a FIFO, a socket or a device."""
    mode = _mode(path)  # where it is 0, reading the file will say why
    return mode != 0 and not stat.S_ISREG(mode)


def _mode(path: Path) -> int:
    """The kind and the permissions of a file, behind any symbolic link; 0 if there is none, or it cannot be known."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _as_in_a_shell(part: str) -> str:
    """A part of a pattern where `**` beside other characters means `*`, which pathlib refuses before Python 3.13."""
    return part if part == "**" else re.sub(r"\*{2,}", "*", part)


def _status(path: Path) -> os.stat_result | None:
    """What the system knows of a file, behind any symbolic link; None if there is none."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _replace(path: Path, data: bytes, existing: os.stat_result | None) -> bool:
    """Put a whole file in place of the existing one, if there is one. False, with nothing done, where it must stay."""
    if existing and existing.st_nlink > 1:
        return False
    partial = path.with_name(f".residae-{os.urandom(8).hex()}")  # not from its own name, which may be of any length
    mode = stat.S_IMODE(existing.st_mode) if existing else 0o666
    try:
        try:
            with open(partial, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
                file.write(data)
            if existing:
                created = partial.stat()
                if (created.st_uid, created.st_gid) != (existing.st_uid, existing.st_gid):
                    os.chown(partial, existing.st_uid, existing.st_gid)
                partial.chmod(mode)  # after the change of owner, which clears some bits
        except PermissionError:
            if existing:
                return False
            raise
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return True


def _write_special(path: Path, data: bytes) -> None:
    """Write to a FIFO or a device. Opening a FIFO that no program reads fails, where it would wait without end."""
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123
        os.set_blocking(descriptor, True)
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]


def _write_standard_output(data: bytes) -> None:
    if sys.stdout.isatty():
        raise ResidaeError("Standard output is a terminal: redirect it to a file or a program.")
    sys.stdout.flush()  # of text that came before
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
