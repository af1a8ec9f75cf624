"""The files of a checkpoint, in a folder or in a model repository on the Hugging Face Hub.

    config.json          constructor arguments of the network
    model*.safetensors   weights in one or more shards; convolution kernels in half precision, the rest in float32
    codec.safetensors    the codec's tables (`residae.codec.Tables`), if they have been fitted

Importing this module imports no torch: `residae info` reads checkpoints without it.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, cast

from numpy.typing import NDArray
from safetensors import SafetensorError, numpy, safe_open

from residae.codec.rae import FINGERPRINT_BYTES
from residae.errors import CheckpointError
from residae.files import is_folder, write_file

if TYPE_CHECKING:
    from torch import Tensor, nn

CONFIG = "config.json"
WEIGHTS = "model*.safetensors"
TABLES = "codec.safetensors"
MAX_SHARD_SIZE = "100MB"
TYPES = {4: "F16", 0: "I64"}  # of stored convolution kernels and counters by their dimensions; F32 for the rest
ARGUMENTS = ("base_channels", "latent_channels")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"  # how a pointer file of Git LFS begins


def find_folder(source: str | Path) -> Path:
    """Find the folder of a checkpoint, or download the model from the Hub.

    Args:
        source: A folder, or `owner/name` or `owner/name@revision` on the Hub.

    Returns:
        The folder itself, or that of the model in the Hub's cache, brought up to date if the Hub can be reached.

    Raises:
        CheckpointError: There is no such folder, and the Hub has no such model, or cannot be reached.
    """
    if is_folder(Path(source)):
        return Path(source)
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repo_id, _, revision = str(source).partition("@")
    try:
        if repo_id.count("/") != 1:
            raise HFValidationError("a Hub id is owner/name")
        return _snapshot(repo_id, revision or None)
    except HFValidationError as error:
        raise CheckpointError(f"There is no checkpoint folder {source}.") from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{source} is neither a folder nor in the cache, and the Hugging Face Hub cannot be reached."
        ) from error
    except HfHubHTTPError as error:
        raise CheckpointError(
            f"{source} is not a folder, and the Hugging Face Hub refuses it: check the name and your access to it."
        ) from error
    except OSError as error:
        if (certificates := os.environ.get("SSL_CERT_FILE")) and not _holds_certificates(certificates):
            raise CheckpointError(
                f"{source} cannot be downloaded: SSL_CERT_FILE names {certificates}, which cannot be read."
            ) from error
        reason = error.strerror or error
        raise CheckpointError(f"{source} cannot be kept in the cache, {constants.HF_HUB_CACHE}: {reason}.") from error


def _snapshot(repo_id: str, revision: str | None) -> Path:
    """The folder in the Hub's cache, downloaded if it is missing or outdated and the Hub can be reached."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is httpx's, or httpx2's
        HfHubHTTPError,
        HTTPError,
    )

    wanted = [CONFIG, WEIGHTS, TABLES, "README.md", "*.jpg"]
    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=wanted))
    except HfHubHTTPError:
        raise
    except HTTPError:  # after a proxy error or a broken connection the client does not try its cache
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=wanted, local_files_only=True))


def _holds_certificates(path: str) -> bool:
    """Whether the file can be read as certificates, as the Hub's client reads that of SSL_CERT_FILE."""
    import ssl  # here, because `residae info` is to start fast

    try:
        ssl.create_default_context(cafile=path)
    except OSError:  # SSLError is one as well
        return False
    return True


def read_config(folder: Path) -> dict[str, int]:
    """The constructor arguments of the network in `folder`.

    Args:
        folder: Of the checkpoint.

    Raises:
        CheckpointError: `config.json` is missing, is not JSON, or does not hold exactly these arguments.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} is not a checkpoint: it has no {CONFIG}.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON.") from error
    valid = isinstance(config, dict) and all(type(config.get(name)) is int and config[name] > 0 for name in ARGUMENTS)
    if not valid or set(config) - set(ARGUMENTS):
        raise CheckpointError(f"{path} must give {' and '.join(ARGUMENTS)} as positive whole numbers, and no more.")
    return cast(dict[str, int], config)


def read_tensors(folder: Path, framework: Literal["pt", "numpy"]) -> dict[str, Any]:
    """Every tensor of the weights in `folder` by name.

    Args:
        folder: Of the checkpoint.
        framework: `pt` for torch tensors on the CPU, `numpy` for arrays.

    Returns:
        As stored: float16 convolution kernels, int64 counters, the rest in float32.

    Raises:
        CheckpointError: There are no weights, a file is damaged, or a tensor comes twice or in another type. The
            fingerprint is of the bytes as stored, so that they must be those that `write` would store.
    """
    shards = sorted(folder.glob(WEIGHTS))
    if not shards:
        raise CheckpointError(f"{folder} has no weights ({WEIGHTS}).")
    tensors: dict[str, Any] = {}
    for shard in shards:
        with _readable(shard), safe_open(shard, framework) as file:
            for name in file.keys():  # noqa: SIM118  # the file is no dictionary
                if name in tensors:
                    raise CheckpointError(f"{folder} has the tensor {name} twice: remove files of other weights.")
                entry = file.get_slice(name)
                stored, expected = entry.get_dtype(), TYPES.get(len(entry.get_shape()), "F32")
                if stored != expected:
                    raise CheckpointError(
                        f"{folder}: the tensor {name} is stored as {stored} instead of {expected}: load the weights "
                        "into a ResidualAutoencoder, and save that with save_pretrained."
                    )
                tensors[name] = file.get_tensor(name)
    return tensors


def read_tables(folder: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of the codec's tables in `folder` by name; None where there are no tables.

    Args:
        folder: Of the checkpoint.

    Raises:
        CheckpointError: The file is damaged.
    """
    path = folder / TABLES
    if not path.exists():
        return None
    with _readable(path):
        return numpy.load_file(path)


class _readable:  # noqa: N801  # used as a context manager
    """Raise CheckpointError where a safetensors file cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, (SafetensorError, OSError)):
            if _is_lfs_pointer(self.path):
                raise CheckpointError(
                    f"{self.path} is a Git LFS pointer instead of the weights: fetch them with `git lfs pull`."
                ) from error
            raise CheckpointError(f"{self.path} is damaged or not a safetensors file.") from error


def _is_lfs_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        return False


def write(
    folder: str | Path,
    config: Mapping[str, int],
    state: Mapping[str, "Tensor"],
    tables: Mapping[str, NDArray[Any]] | None = None,
    max_shard_size: str = MAX_SHARD_SIZE,
) -> None:
    """Write a checkpoint to `folder`, replacing the weights and tables there; other files stay.

    All files are first written to a temporary folder, so that the old ones survive a full disk. Each then takes the
    place of the old one as `write_file` does it: links are followed, modes stay.

    Args:
        folder: Created if it does not exist.
        config: Constructor arguments of the network.
        state: Its `state_dict`; convolution kernels are stored in float16.
        tables: The codec's tables (`Tables.arrays`); None to write none, which removes those there.
        max_shard_size: The most that one file of weights may take, such as `100MB`.

    Raises:
        ResidaeError: A file cannot be written.
    """
    from huggingface_hub import save_torch_state_dict

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: to_storage(tensor) for name, tensor in state.items()}
    with TemporaryDirectory(dir=folder, prefix=".saving-") as temporary:
        (Path(temporary) / CONFIG).write_text(json.dumps(dict(config), indent=2) + "\n", encoding="utf-8")
        save_torch_state_dict(tensors, temporary, max_shard_size=max_shard_size)
        if tables:
            numpy.save_file(dict(tables), Path(temporary) / TABLES)
        files = sorted(Path(temporary).iterdir(), key=lambda file: file.stat().st_size, reverse=True)
        for file in files:  # the largest first: once it is written, there is room for the others
            write_file(folder / file.name, file.read_bytes())
            file.unlink()
        for old in {*folder.glob(f"{WEIGHTS}*"), folder / TABLES} - {folder / file.name for file in files}:
            old.unlink(missing_ok=True)  # shards or tables of other weights


def write_tables(folder: str | Path, tables: Mapping[str, NDArray[Any]]) -> None:
    """Write the codec's tables to `folder`, which holds the weights already. They are replaced as `write_file` does it.

    Args:
        folder: Of the checkpoint.
        tables: `Tables.arrays`.

    Raises:
        ResidaeError: They cannot be written.
    """
    write_file(Path(folder) / TABLES, numpy.save(dict(tables)))


def load_strictly(network: "nn.Module", tensors: Mapping[str, "Tensor"], source: str) -> None:
    """Load `tensors` into `network`.

    Args:
        network: Its parameters and buffers are overwritten.
        tensors: One for each name in its `state_dict`, of the same shape.
        source: Where the tensors come from, for the error message.

    Raises:
        CheckpointError: A tensor is missing, unexpected, or of another shape.
    """
    expected = network.state_dict()
    for name in sorted(expected.keys() - tensors.keys()):
        raise CheckpointError(f"{source} lacks the tensor {name}.")
    for name in sorted(tensors.keys() - expected.keys()):
        raise CheckpointError(f"{source} has a tensor that the network does not know: {name}.")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            shapes = f"{tuple(tensor.shape)} instead of {tuple(expected[name].shape)}"
            raise CheckpointError(f"{source}: the tensor {name} has the shape {shapes}.")
    network.load_state_dict(tensors)


def to_storage(tensor: "Tensor") -> "Tensor":
    """Convert a tensor to the precision of the files: float16 for convolution kernels, float32 for the rest.

    Args:
        tensor: A convolution kernel if it has four dimensions. One of whole numbers, a counter, stays as it is.
    """
    if not tensor.is_floating_point():
        return tensor
    return tensor.half() if tensor.ndim == 4 else tensor.float()


def fingerprint(
    config: Mapping[str, int], arrays: Mapping[str, NDArray[Any]], tables: Mapping[str, NDArray[Any]]
) -> bytes:
    """The 8 bytes by which a `.rae` file names its checkpoint. Computing them takes about 0.1 s.

    They begin the SHA-256 of the constructor's arguments and of every array, as stored, with its name, type and shape.

    Args:
        config: Constructor arguments of the network.
        arrays: Its weights as `to_storage` gives them.
        tables: The codec's tables (`Tables.arrays`).
    """
    named: Iterable[tuple[str, NDArray[Any]]] = {
        **arrays,
        **{f"{TABLES}/{name}": array for name, array in tables.items()},
    }.items()
    digest = hashlib.sha256(json.dumps({name: config[name] for name in ARGUMENTS}).encode())
    for name, array in sorted(named):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.digest()[:FINGERPRINT_BYTES]
