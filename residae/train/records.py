"""What a run leaves beside its state: a log, and a note in each of its folders that says which run it is."""

import csv
import json
import uuid
from dataclasses import asdict
from pathlib import Path

from residae.errors import TrainingError
from residae.train.recipe import Recipe
from residae.train.validation import VALIDATION_COLUMNS
from residae.weights import CONFIG

COLUMNS = ("step", "minutes", "memory_gb", "train_psnr", "train_bpp", *VALIDATION_COLUMNS)
NOTE = "training.json"


class Log:
    """A CSV file with a row for every few steps.

    Args:
        path: Of the file, which the first row creates.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def cut(self, step: int) -> None:
        """Remove the rows after `step`, which a resumed run writes anew.

        Args:
            step: The step from which training resumes.
        """
        if not self.path.exists():
            return
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if _is_complete(row) and int(row["step"]) <= step]
        partial = self.path.with_suffix(".partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(self.path)

    def append(self, row: dict[str, str]) -> None:
        """Add a row, and print it.

        Args:
            row: Texts by name of the column, each of which is one of COLUMNS.
        """
        is_new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if is_new:
                writer.writeheader()
            writer.writerow(row)
        print(*(f"{name} {value}" for name, value in row.items()), sep="  ", flush=True)


def claim(run: Path) -> str:
    """The identity of the run whose folder this is; a new one if it has none yet.

    Args:
        run: Folder of the run; created if it does not exist.

    Returns:
        32 hexadecimal digits.
    """
    identity = read_identity(run)
    if identity is None:
        run.mkdir(parents=True, exist_ok=True)
        identity = uuid.uuid4().hex
        _write_note(run, {"run": identity})
    return identity


def read_identity(folder: Path) -> str | None:
    """The identity of the run that wrote into `folder`, by its note; None where there is no such note.

    Args:
        folder: Of a run or of a checkpoint; it need not exist.
    """
    try:
        return str(json.loads((folder / NOTE).read_text(encoding="utf-8"))["run"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_output(output: Path, run: Path) -> None:
    """Make sure that writing a checkpoint to `output` replaces none but the run's own.

    Args:
        output: Folder of the checkpoint; it need not exist.
        run: Folder of the run; it need not exist.

    Raises:
        TrainingError: `output` holds a checkpoint that another run wrote, or that no run signed.
    """
    identity = read_identity(output)
    if (output / CONFIG).exists() and (identity is None or identity != read_identity(run)):
        raise TrainingError(f"{output} holds a checkpoint that is not of this run: name another folder.")


def sign_output(output: Path, run: Path, recipe: Recipe, step: int, minutes: float) -> None:
    """Note in the folder of a checkpoint which run writes it, and how that was trained.

    It is to be called before the checkpoint is written, so that a run that is stopped in between still knows it as its
    own.

    Args:
        output: Folder of the checkpoint; created if it does not exist.
        run: Folder of the run.
        recipe: Of the run.
        step: Steps so far.
        minutes: Of training so far.
    """
    output.mkdir(parents=True, exist_ok=True)
    note = {"run": claim(run), "step": step, "minutes": round(minutes, 2), "recipe": asdict(recipe)}
    _write_note(output, note)


def _write_note(folder: Path, note: dict[str, object]) -> None:
    partial = folder / f".{NOTE}.partial"
    partial.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / NOTE)


def _is_complete(row: dict[str, str]) -> bool:
    """Whether a row of the log was written to its end; a kill may cut the last one."""
    return bool(row.get("step")) and None not in row.values()
