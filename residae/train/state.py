"""The file of a training state: all that a run needs to go on after it was stopped.

It is a safetensors file with these tensors, in the order of their indices whatever memory format they are used in:

    network.NAME                 weights, by their names in a checkpoint
    rate.NAME                    the rate model, by the names in `residae.train.rate.RateModel`
    average.network.NAME         the moving average of both
    average.rate.NAME
    muon.PARAMETER.momentum      of each kernel that Muon trains, in its shape; PARAMETER is network.NAME
    adamw.PARAMETER.mean         of each other parameter, in its shape; PARAMETER is network.NAME or rate.NAME
    adamw.PARAMETER.square
    adamw.PARAMETER.step

and with the metadata `training_state`: JSON of the format's `version` and of `progress`, which has the fields of
`Progress`. No name depends on a class or on the order of parameters. Where a module gets another name, VERSION rises,
and RENAMED maps the names in older files.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from residae.errors import TrainingError

METADATA = "training_state"
VERSION = 1
RENAMED: dict[int, dict[str, str]] = {}  # beginnings of names in files of each older version -> today's


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        step: Steps of the optimizer.
        minutes: Of training, over all resumed runs.
        validated: The minute of the last validation.
        decay_step: The step at which the decay began; None in the stable phase.
        decay_from: The minute at which the decay begins by the recipe.
        decay_until: The minute at which the decay ends by the recipe.
    """

    step: int
    minutes: float
    validated: float
    decay_step: int | None
    decay_from: float
    decay_until: float


def write_state(path: Path, tensors: Mapping[str, Tensor], progress: Progress) -> None:
    """Write a state to `path`, completely or not at all.

    Args:
        path: In an existing folder; a file there is replaced.
        tensors: By the names that the module's docstring gives.
        progress: How far the run has come.
    """
    partial = path.with_suffix(".partial")
    metadata = {METADATA: json.dumps({"version": VERSION, "progress": asdict(progress)})}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata)
    partial.replace(path)


def read_progress(path: Path) -> Progress:
    """How far the run had come that wrote the state at `path`.

    Args:
        path: Of a file by `write_state`.

    Raises:
        TrainingError: It is damaged, or not a training state.
    """
    return _read_metadata(path)[1]


def read_state(path: Path) -> tuple[dict[str, Tensor], Progress]:
    """Read a training state.

    Args:
        path: Of a file by `write_state`.

    Returns:
        The tensors on the CPU by today's names, and the progress.

    Raises:
        TrainingError: It is damaged, not a training state, or of a newer version.
    """
    version, progress = _read_metadata(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise unusable(path) from error
    for older in range(version, VERSION):
        for old, new in RENAMED.get(older, {}).items():
            tensors = {
                new + name.removeprefix(old) if name.startswith(old) else name: tensor
                for name, tensor in tensors.items()
            }
    return tensors, progress


def unusable(path: Path) -> TrainingError:
    """The error for a state that cannot be used.

    Args:
        path: Of the state.

    Returns:
        The error, to be raised by the caller.
    """
    return TrainingError(f"{path} is damaged, or is the state of another network or optimizer.")


def _read_metadata(path: Path) -> tuple[int, Progress]:
    try:
        with safe_open(path, "pt") as file:
            metadata = json.loads((file.metadata() or {})[METADATA])
        version, progress = int(metadata["version"]), Progress(**metadata["progress"])
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise unusable(path) from error
    if version > VERSION:
        raise TrainingError(f"{path} was written by a newer version of this program: update it to resume.")
    return version, progress
