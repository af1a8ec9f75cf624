"""A checkpoint is a folder, or a model repository on the Hugging Face Hub, that describes itself.

    config.json          constructor arguments of the network
    model*.safetensors   weights in one or more shards; convolution kernels in half precision, the rest in float32
    codec.safetensors    the codec's tables (`residae.entropy.Tables`), once they are fitted

Loading is strict: every tensor of the network is there once, in its shape, and no other; and so for the tables.
"""

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self, cast

import torch
from huggingface_hub import HfApi, constants, save_torch_state_dict, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is httpx's, or httpx2's
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
)
from safetensors import SafetensorError, numpy
from safetensors.torch import load_file
from torch import Tensor, nn

from residae import model
from residae.entropy import Tables
from residae.errors import CheckpointError

CONFIG = "config.json"
WEIGHTS = "model*.safetensors"
TABLES = "codec.safetensors"
FINGERPRINT_BYTES = 8
ARGUMENTS = ("base_channels", "latent_channels")


class ResidualAutoencoder(model.ResidualAutoencoder):
    """The network of `residae.model`, with weights that can be loaded, saved and shared.

    `tables` are those that the codec uses with these weights, or None where none were fitted.
    """

    tables: Tables | None = None

    @classmethod
    def from_pretrained(cls, source: str | Path) -> Self:
        """Load from a folder, or from the Hub as `owner/name` or `owner/name@revision`; in eval mode, on the CPU.

        A folder of that name comes first. What the Hub sent once is kept in its cache and used when there is no
        network. CheckpointError, naming the cause, when nothing is there or when any tensor is missing, unexpected or
        misshapen.
        """
        folder = _folder(source)
        try:
            network = cls(**_read_config(folder / CONFIG))
        except (ValueError, TypeError, RuntimeError) as error:  # a width beyond memory, or beyond 64 bits
            raise CheckpointError(f"{source}: {CONFIG} does not describe a network that can be built.") from error
        _load_strictly(network, _read_weights(folder), str(source))
        network.tables = _read_tables(folder / TABLES, network.latent_channels)
        return network.eval()

    def save_pretrained(self, folder: str | Path, max_shard_size: str = "100MB") -> None:
        """Write the network to `folder`, made if need be; other files there, such as a model card, stay.

        All is written aside first, so that a full disk costs nothing of what the folder held before.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arguments = {name: getattr(self, name) for name in ARGUMENTS}
        tensors = {name: _to_storage(tensor) for name, tensor in self.state_dict().items()}
        with TemporaryDirectory(dir=folder, prefix=".saving-") as aside:
            (Path(aside) / CONFIG).write_text(json.dumps(arguments, indent=2) + "\n", encoding="utf-8")
            save_torch_state_dict(tensors, aside, max_shard_size=max_shard_size)
            if self.tables:
                numpy.save_file(self.tables.arrays(), Path(aside) / TABLES)
            for old in (*folder.glob(f"{WEIGHTS}*"), folder / TABLES):
                old.unlink(missing_ok=True)  # shards of other weights, or tables that would suit these badly
            for new in Path(aside).iterdir():
                new.chmod(0o644)
                new.replace(folder / new.name)

    def save_tables(self, folder: str | Path) -> None:
        """Write the codec's tables beside the weights that are in `folder` already."""
        assert self.tables, "no tables to save"
        with TemporaryDirectory(dir=folder, prefix=".saving-") as aside:
            numpy.save_file(self.tables.arrays(), Path(aside) / TABLES)
            (Path(aside) / TABLES).chmod(0o644)
            (Path(aside) / TABLES).replace(Path(folder) / TABLES)

    def fingerprint(self) -> bytes:
        """8 bytes that tell checkpoints apart in compressed files; the same before saving and after loading.

        The first of the SHA-256 of the constructor's arguments, and of the weights as stored and the codec's tables,
        each with name and shape. Takes about 0.1 s.
        """
        arguments = {name: getattr(self, name) for name in ARGUMENTS}
        tables = self.tables or Tables.default(self.latent_channels)
        arrays = {name: _to_storage(tensor.detach()).cpu().numpy() for name, tensor in self.state_dict().items()}
        arrays |= {f"{TABLES}/{name}": array for name, array in tables.arrays().items()}
        digest = hashlib.sha256(json.dumps(arguments).encode())
        for name, array in sorted(arrays.items()):
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.digest()[:FINGERPRINT_BYTES]

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
        """Create or update the Hub repository `repo_id` (`owner/name`); return the address of the commit."""
        hub = HfApi(token=token)
        hub.create_repo(repo_id, private=private, exist_ok=True)
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            commit = hub.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message="Upload weights",
                delete_patterns=[f"{WEIGHTS}*", TABLES],  # what is left there would be loaded along with these
            )
            return str(commit)


def _folder(source: str | Path) -> Path:
    if Path(source).is_dir():
        return Path(source)
    repo_id, _, revision = str(source).partition("@")
    try:
        if repo_id.count("/") != 1:
            raise HFValidationError("a Hub id is owner/name")
        return _snapshot(repo_id, revision or None)
    except HFValidationError as error:
        raise CheckpointError(f"There is no checkpoint folder {source}.") from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{source} is no folder here and not in the cache, and the Hub cannot be reached to fetch it."
        ) from error
    except HfHubHTTPError as error:
        raise CheckpointError(
            f"{source} is no folder here, and the Hub does not give it out: check the name, and that you may read it."
        ) from error
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"{source} cannot be kept in the cache, {constants.HF_HUB_CACHE}: {reason}.") from error


def _snapshot(repo_id: str, revision: str | None) -> Path:
    """The folder in the Hub's cache, fetched where it is not there or not the latest, and the Hub answers."""
    wanted = [CONFIG, WEIGHTS, TABLES]
    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=wanted))
    except HfHubHTTPError:
        raise
    except HTTPError:  # a dead proxy or a connection cut in the middle, for which the client does not try its cache
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=wanted, local_files_only=True))


def _read_config(path: Path) -> dict[str, int]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} is not a checkpoint: it has no {CONFIG}.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON.") from error
    valid = isinstance(config, dict) and all(type(config.get(name)) is int and config[name] > 0 for name in ARGUMENTS)
    if not valid or set(config) - set(ARGUMENTS):
        raise CheckpointError(f"{path} must give {' and '.join(ARGUMENTS)} as positive whole numbers, and no more.")
    return cast(dict[str, int], config)


def _read_weights(folder: Path) -> dict[str, Tensor]:
    shards = sorted(folder.glob(WEIGHTS))
    if not shards:
        raise CheckpointError(f"{folder} has no weights ({WEIGHTS}).")
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        try:
            found = load_file(shard)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{shard} is damaged or not a safetensors file.") from error
        for name in sorted(found.keys() & tensors.keys()):
            raise CheckpointError(f"{folder} has the tensor {name} twice: remove files of other weights.")
        tensors |= found
    return tensors


def _read_tables(path: Path, channels: int) -> Tables | None:
    if not path.exists():
        return None
    try:
        tables = Tables(**numpy.load_file(path))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file.") from error
    except TypeError as error:
        raise CheckpointError(f"{path} must hold the arrays of the codec's tables, and no other.") from error
    if tables.channels != channels:
        raise CheckpointError(f"{path} is for {tables.channels} latent channels, the network has {channels}.")
    return tables


def _load_strictly(network: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
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


def _to_storage(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float16) if tensor.ndim == 4 else tensor
