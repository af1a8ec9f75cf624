"""Read and write whole files, with errors that say what went wrong in one sentence."""

import os
from pathlib import Path

from residae.errors import ResidaeError


def read_file(path: Path) -> bytes:
    """Read a file.

    Raises:
        ResidaeError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ResidaeError(f"{path} cannot be read: {error.strerror}.") from error


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, under a temporary name first; its folder is created if need be.

    Raises:
        ResidaeError: It cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise ResidaeError(f"{path} cannot be written: {error.strerror}.") from error


def refuse_to_overwrite(path: Path, force: bool) -> None:
    """Check that a file may be written.

    Raises:
        ResidaeError: The file exists and `force` is not set, or no file can have this name.
    """
    try:
        exists = path.exists()
    except OSError as error:  # for example, the name is too long
        raise ResidaeError(f"{path} cannot be written: {error.strerror}.") from error
    if exists and not force:
        raise ResidaeError(f"{path} exists already: give another name, or replace it with --force.")


def is_same_file(path: Path, other: Path) -> bool:
    """Whether both paths lead to one existing file, however they are spelled."""
    try:
        return path.samefile(other)
    except OSError:  # at least one of them does not exist
        return False
