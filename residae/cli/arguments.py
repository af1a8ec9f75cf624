"""Arguments that several commands share, and types of arguments."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from residae import options
from residae.distributed import Processes
from residae.errors import ResidaeError
from residae.files import is_standard_output
from residae.geometry import MAX_SCALE, MIN_SCALE, STRIDE
from residae.quality import MAX_QUALITY

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from residae.baselines import Baseline
    from residae.pipeline import Pipeline

    Commands = _SubParsersAction[argparse.ArgumentParser]

T = TypeVar("T")
SCALES = f"{MIN_SCALE:g} to {MAX_SCALE:g}"


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add `--checkpoint`."""
    parser.add_argument("--checkpoint", help="folder or Hub id (default: $RESIDAE_CHECKPOINT, or the project's own)")


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """Add `--dtype`, the precision of the network."""
    choices = ("bfloat16", "int8", "float32")
    parser.add_argument("--dtype", choices=choices, help="default: the fastest without visible loss")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`, where the network runs."""
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the GPU where there is one")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json FILE`, and `--force` to replace it."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")


def open_pipeline(parsed: argparse.Namespace, processes: Processes) -> "Pipeline":
    """The pipeline of `--checkpoint` in `--dtype` on the device of this process; the first process opens it first.

    Args:
        parsed: With the arguments of `add_checkpoint` and `add_dtype`.
        processes: All of those that open it.

    Raises:
        CheckpointError: The checkpoint cannot be opened.
        ResidaeError: There is no such device, or it cannot compute in this precision.
    """
    from residae.pipeline import Pipeline  # imports torch

    return processes.first_alone(lambda: Pipeline.open(parsed.checkpoint, processes.device, parsed.dtype))


def check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse a file whose name has the suffix of another format. Other targets, such as /dev/null, have no format.

    Args:
        path: Where a result is to be written.
        suffixes: Those of its format, in lower case with the dot. A name without a suffix is accepted as well.

    Raises:
        ResidaeError: The name has such a suffix.
    """
    is_file = True
    with suppress(OSError):  # no file can have this name, as writing it will say
        is_file = path.is_file() or not path.exists()
    if is_file and path.suffix.lower() not in ("", *suffixes):
        raise ResidaeError(f"{path}: a result can be named {', '.join(suffixes)}, but not {path.suffix}.")


def text_beside(outputs: Iterable[Path | None]) -> AbstractContextManager[object]:
    """Print text on standard error within the block if one of the outputs, if not None, is standard output."""
    is_taken = any(is_standard_output(path) for path in outputs if path)
    return redirect_stdout(sys.stderr) if is_taken else nullcontext()


def within(low: float, high: float) -> Callable[[str], float]:
    """The type of a number from `low` to `high`.

    Args:
        low: The smallest number that is accepted.
        high: The largest.

    Returns:
        A function of the text, which raises ArgumentTypeError.
    """

    def parse(text: str) -> float:
        value = number(float, text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not within {low:g} to {high:g}")
        return value

    return parse


quality = within(0, MAX_QUALITY)
share = within(0, 1)


def positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    """The type of a positive `kind`, int or float, below 2^53: a float cannot count bytes beyond that.

    Returns:
        As `within`.
    """

    def parse(text: str) -> float:
        value = number(kind, text)
        if not 0 < value < 2**53:
            raise argparse.ArgumentTypeError(f"{text} is not above 0, or is too large")
        return value

    return parse


def size(text: str) -> tuple[int, int]:
    """(height, width) from `WxH`, both multiples of STRIDE.

    Raises:
        ArgumentTypeError: The text has another form, or a length is not such a multiple.
    """
    lengths = [int(number(int, length)) for length in text.split("x")]
    if len(lengths) != 2 or min(lengths) < 1 or any(length % STRIDE for length in lengths):
        raise argparse.ArgumentTypeError(f"{text} is not a width and a height that are multiples of {STRIDE}")
    width, height = lengths
    return height, width


def baseline(text: str) -> "Baseline":
    """A codec to compare with, such as `jpeg2000`, or `avif:2` at an effort.

    Raises:
        ArgumentTypeError: There is no such codec or effort.
    """
    from residae.baselines import find_baseline

    try:
        return find_baseline(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def number(kind: Callable[[str], float], text: str) -> float:
    """A number of this `kind`, int or float.

    Args:
        kind: The function that reads it.
        text: As it was given.

    Raises:
        ArgumentTypeError: The text is not such a number.
    """
    return option(lambda text: options.number(kind, text))(text)


def option(parse: Callable[[str], T]) -> Callable[[str], T]:
    """The type of an argument that a function of `residae.options` reads.

    Returns:
        A function of the text, which raises ArgumentTypeError where `parse` raises OptionError.
    """

    def read(text: str) -> T:
        try:
            return parse(text)
        except options.OptionError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def comma_separated(kind: Callable[[str], object]) -> Callable[[str], list[object]]:
    """The type of a list whose items are of type `kind`, with commas between them."""
    return lambda text: [kind(part.strip()) for part in text.split(",")]


def runtime(text: str) -> str:
    """The name of an inference runtime, one of `residae.runtimes.RUNTIMES`.

    Raises:
        ArgumentTypeError: There is no such runtime.
    """
    from residae.runtimes import RUNTIMES  # imports torch, which other commands may not need

    if text not in RUNTIMES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a runtime: choose {' or '.join(RUNTIMES)}")
    return text
