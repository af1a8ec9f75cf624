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
RUNTIMES = ("openvino", "onnxruntime")  # of `residae.runtimes`, which imports torch


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
    """Add `--json FILE` and `--force`."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")


def open_pipeline(parsed: argparse.Namespace, processes: Processes) -> "Pipeline":
    """The pipeline of `--checkpoint` in `--dtype` on the device of this process; the first process opens it first."""
    from residae.pipeline import Pipeline  # imports torch

    return processes.first_alone(lambda: Pipeline.open(parsed.checkpoint, processes.device, parsed.dtype))


def check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse a file whose name has the suffix of another format. Other targets, such as /dev/null, have no format.

    Raises:
        ResidaeError: It has.
    """
    is_file = True
    with suppress(OSError):  # no file can have this name, as writing it will say
        is_file = path.is_file() or not path.exists()
    if is_file and path.suffix.lower() not in ("", *suffixes):
        raise ResidaeError(f"{path}: a result can be named {', '.join(suffixes)}, but not {path.suffix}.")


def text_beside(outputs: Iterable[Path | None]) -> AbstractContextManager[object]:
    """Print text on standard error while one of the outputs is standard output."""
    is_taken = any(is_standard_output(path) for path in outputs if path)
    return redirect_stdout(sys.stderr) if is_taken else nullcontext()


def within(low: float, high: float) -> Callable[[str], float]:
    """The type of a number from `low` to `high`."""

    def parse(text: str) -> float:
        value = number(float, text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not within {low:g} to {high:g}")
        return value

    return parse


quality = within(0, MAX_QUALITY)
share = within(0, 1)


def positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    """The type of a positive `kind`, int or float, below 2^53: a float cannot count bytes beyond that."""

    def parse(text: str) -> float:
        value = number(kind, text)
        if not 0 < value < 2**53:
            raise argparse.ArgumentTypeError(f"{text} is not above 0, or is too large")
        return value

    return parse


def size(text: str) -> tuple[int, int]:
    """(height, width) from `WxH`, both multiples of STRIDE."""
    lengths = [int(number(int, length)) for length in text.split("x")]
    if len(lengths) != 2 or min(lengths) < 1 or any(length % STRIDE for length in lengths):
        raise argparse.ArgumentTypeError(f"{text} is not a width and a height that are multiples of {STRIDE}")
    width, height = lengths
    return height, width


def baseline(text: str) -> "Baseline":
    """A codec to compare with, such as `jpeg2000`, or `avif:2` at an effort."""
    from residae.baselines import find_baseline

    try:
        return find_baseline(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def number(kind: Callable[[str], float], text: str) -> float:
    """A number of this `kind`, int or float."""
    return option(lambda text: options.number(kind, text))(text)


def option(parse: Callable[[str], T]) -> Callable[[str], T]:
    """The type of an argument that a function of `residae.options` reads."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except options.OptionError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def comma_separated(kind: Callable[[str], object]) -> Callable[[str], list[object]]:
    """The type of a list whose items are of type `kind`."""
    return lambda text: [kind(part.strip()) for part in text.split(",")]


def runtime(text: str) -> str:
    """The name of an inference runtime."""
    if text not in RUNTIMES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a runtime: choose {' or '.join(RUNTIMES)}")
    return text
