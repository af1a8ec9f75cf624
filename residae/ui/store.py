"""What the server holds: pipelines in memory, uploads and results on disk."""

import functools
import hashlib
import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from gradio.utils import get_upload_folder

from residae.checkpoint import DEFAULT, Checkpoint
from residae.errors import CodecError, ResidaeError
from residae.pipeline import Pipeline
from residae.ui.zero_gpu import ON_ZERO_GPU, ZeroGpuPipeline

Key = TypeVar("Key")
Value = TypeVar("Value")

_loading = threading.Lock()


class RecentlyUsed(Generic[Key, Value]):
    """Values by what they are made from. Beyond a number of bytes, those that were not used for longest are dropped."""

    def __init__(self, max_bytes: int) -> None:
        self._most = self._left = max_bytes
        self._values: dict[Key, tuple[Value, int]] = {}  # with the size of each, the last used last
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """The value that was kept, if it still is."""
        with self._lock:
            if key not in self._values:
                return None
            self._values[key] = kept = self._values.pop(key)
            return kept[0]

    def __contains__(self, key: Key) -> bool:
        """Whether a value is kept."""
        return key in self._values

    def keep(self, key: Key, value: Value, size: int) -> None:
        """Keep a value of so many bytes, unless it alone is too many.

        Args:
            key: What the value is made from. It replaces a value that was kept for the same key.
            value: What `get` returns. Threads share it, so nobody may change it.
            size: Bytes that the value takes. One with more than `max_bytes` is not kept.
        """
        if size > self._most:
            return
        with self._lock:
            self._left += self._values.pop(key, (None, 0))[1] - size
            self._values[key] = value, size
            while self._left < 0:
                self._left += self._values.pop(next(iter(self._values)))[1]


def default_checkpoint() -> str:
    """The name of the checkpoint that a visit starts with. If there is none, opening it says what to do."""
    return next(iter(Checkpoint.find()), DEFAULT)


def get_pipeline(checkpoint: str) -> Pipeline:
    """The pipeline of a checkpoint, loaded when it is first needed.

    Args:
        checkpoint: A name among `Checkpoint.find()`.

    Raises:
        CheckpointError: There is no such checkpoint, or it cannot be loaded.
    """
    with _loading:  # or two visitors would load it twice
        return _open_pipeline(checkpoint)


@functools.lru_cache(maxsize=4)
def _open_pipeline(checkpoint: str) -> Pipeline:
    kind = ZeroGpuPipeline if ON_ZERO_GPU else Pipeline
    return kind.open(Checkpoint.find().get(checkpoint))


def read_upload(path: str) -> bytes:
    """The content of an uploaded file.

    Raises:
        CodecError: The file was deleted, or is a folder.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CodecError("The file is no longer on the server: upload it again.") from error


def save_result(data: bytes, name: str) -> str:
    """Write a file that the page can serve. It is deleted at the age at which uploads are.

    Files lie in folders named for their content, so another visitor may be reading the same one. It is therefore
    written elsewhere and moved into place, where Gradio would overwrite it; which also renews its age.

    Args:
        data: Content of the file.
        name: Name of the file.

    Returns:
        Its path.

    Raises:
        ResidaeError: The file cannot be written.
    """
    folder = Path(get_upload_folder()) / hashlib.sha256(data).hexdigest()
    part = folder.parent / f"tmp{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        return str(part.replace(folder / name))
    except OSError as error:
        with suppress(OSError):
            part.unlink()  # half a file would only fill the full disk further
        raise ResidaeError(f"The result cannot be written on the server: {error.strerror}.") from error


def renew_result(path: str) -> bool:
    """Let a file of `save_result` be served as long as a new one.

    Args:
        path: That `save_result` returned.

    Returns:
        Whether it is still there.
    """
    try:
        os.utime(path)
    except OSError:
        return False
    return True
