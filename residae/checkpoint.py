"""A checkpoint: the weights of a network and the codec's tables that belong to them.

`residae.weights` describes the files. Importing this module imports no torch.
"""

import base64
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from residae import weights
from residae.codec import Codec, Tables
from residae.errors import CheckpointError
from residae.files import is_folder

if TYPE_CHECKING:
    from residae.model import ResidualAutoencoder

PACKAGE = Path(__file__).resolve().parent
FOLDERS = (PACKAGE.parent / "checkpoints", PACKAGE / "checkpoints")  # of a checkout, and of an installed package
DEFAULT = "residae-16c"
PLACEHOLDER = "OWNER/NAME"  # in a model card, where the name of its repository on the Hub belongs
VARIABLE = "RESIDAE_CHECKPOINT"  # environment variable that names another default


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A network and the codec tables fitted to it.

    Attributes:
        network: In eval mode, on the CPU.
        tables: The codec's tables, or None where none were fitted: then the codec uses `Tables.default`.
        name: For people; `.rae` files hold its first 12 bytes.
    """

    network: "ResidualAutoencoder"
    tables: Tables | None = None
    name: str = ""

    @classmethod
    def open(cls, source: str | Path | None = None) -> Self:
        """Load a checkpoint.

        Args:
            source: A folder, or a model on the Hub as `owner/name` or `owner/name@revision`; the default checkpoint
                (see `default`) if it is None.

        Returns:
            The checkpoint, with its network on the CPU in eval mode.

        Raises:
            CheckpointError: Nothing is there, or it is not a checkpoint of this network.
        """
        from residae.model import ResidualAutoencoder

        source = source or default()
        folder = weights.find_folder(source)
        network = ResidualAutoencoder.from_pretrained(folder)
        return cls(network, _read_tables(folder, network.latent_channels), name_of(source))

    @staticmethod
    def find() -> dict[str, str | Path]:
        """The checkpoints that can be named: folder or Hub id by name, the default first.

        They are the one in the environment variable RESIDAE_CHECKPOINT, if it is set, and those of the project.
        """
        named = os.environ.get(VARIABLE)
        folders = [path.parent for root in FOLDERS for path in sorted(root.glob("*/config.json"))]
        found: dict[str, str | Path] = {name_of(named): named} if named else {}
        for folder in sorted(folders, key=lambda folder: folder.name != DEFAULT):
            found.setdefault(folder.name, folder)
        return found

    @cached_property
    def fingerprint(self) -> bytes:
        """The 8 bytes by which files name this checkpoint; see `residae.weights.fingerprint`."""
        arrays = {
            name: weights.to_storage(tensor.detach()).cpu().numpy()
            for name, tensor in self.network.state_dict().items()
        }
        return weights.fingerprint(self.network.config, arrays, self._codec_tables.arrays())

    @property
    def codec(self) -> Codec:
        """The codec that reads and writes this checkpoint's files."""
        return Codec(self._codec_tables, self.fingerprint, self.name)

    @property
    def _codec_tables(self) -> Tables:
        return self.tables or Tables.default(self.network.latent_channels)

    def save(self, folder: str | Path, max_shard_size: str = weights.MAX_SHARD_SIZE) -> None:
        """Write the checkpoint to a folder. Other files there, such as a model card, stay.

        Args:
            folder: Created if it does not exist.
            max_shard_size: The most that one file of weights may take, such as `100MB`.
        """
        tables = self.tables.arrays() if self.tables else None
        weights.write(folder, self.network.config, self.network.state_dict(), tables, max_shard_size)


def name_of(source: str | Path) -> str:
    """The name of a checkpoint, for people.

    Args:
        source: As in `Checkpoint.open`.

    Returns:
        That of the folder itself, whichever path leads to it; of a model on the Hub the revision, such as the tag of a
        release, or without one the name of the repository.
    """
    if is_folder(Path(source)):
        return Path(source).resolve().name
    repository, _, revision = str(source).partition("@")
    return revision or Path(repository).name


def default() -> str | Path:
    """The default checkpoint: the one in the environment variable RESIDAE_CHECKPOINT, else the project's.

    Raises:
        CheckpointError: There is neither.
    """
    for source in Checkpoint.find().values():
        return source
    raise CheckpointError(
        "There are no weights here: name a folder with a checkpoint, or a model on the Hub as OWNER/NAME, with "
        f"--checkpoint or in {VARIABLE}."
    )


def open_codec(source: str | Path | None = None) -> Codec:
    """The codec of a checkpoint, without its network and without importing torch.

    Args:
        source: As in `Checkpoint.open`.

    Raises:
        CheckpointError: As `Checkpoint.open`; but the weights are not compared with the network.
    """
    source = source or default()
    folder = weights.find_folder(source)
    config = weights.read_config(folder)
    tables = _read_tables(folder, config["latent_channels"]) or Tables.default(config["latent_channels"])
    arrays = weights.read_tensors(folder, "numpy")
    return Codec(tables, weights.fingerprint(config, arrays, tables.arrays()), name_of(source))


def read_card(source: str | Path) -> str:
    """The model card of a checkpoint as Markdown, without its front matter; a sentence where there is none.

    JPEG files beside the card become part of the text, as `data:` URLs.

    Args:
        source: A folder, or a model on the Hub, as in `Checkpoint.open`.
    """
    try:
        folder = weights.find_folder(source)
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, CheckpointError):
        return "This checkpoint has no model card."
    for path in folder.glob("*.jpg"):
        data = base64.b64encode(path.read_bytes()).decode()
        text = text.replace(f"]({path.name})", f"](data:image/jpeg;base64,{data})")
    return text.split("\n---\n", 1)[-1] if text.startswith("---\n") else text


def _read_tables(folder: Path, channels: int) -> Tables | None:
    arrays = weights.read_tables(folder)
    if arrays is None:
        return None
    path = folder / weights.TABLES
    try:
        tables = Tables(**arrays)
    except TypeError as error:
        raise CheckpointError(f"{path} must hold the arrays of the codec's tables, and no other.") from error
    if tables.channels != channels:
        raise CheckpointError(f"{path} is for {tables.channels} latent channels, the network has {channels}.")
    return tables
