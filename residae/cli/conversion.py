"""What compress and decompress share: find files, convert each to a file of its own, and print the sums.

A hundred thousand files may be given. They are shared between the processes of `accelerate launch`, if there are any.
"""

import argparse
import functools
import os
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple

from residae.cli import arguments
from residae.cli.exit_codes import BAD_INPUT, exit_code
from residae.distributed import Processes
from residae.errors import ResidaeError
from residae.files import (
    STREAM,
    InputFile,
    check_target,
    find_files,
    is_folder,
    is_same_file,
    is_standard_output,
    write_file,
)

if TYPE_CHECKING:
    from residae.pipeline import Pipeline
    from residae.progress import Progress

MAX_COLLISIONS = 5  # that are printed


class Formats(NamedTuple):
    """What a conversion reads and writes.

    Attributes:
        found: Suffixes of the files that are taken of a folder.
        written: Suffixes that the name of a result may have; the first is that of results without a name of their own.
    """

    found: Collection[str]
    written: Sequence[str]


class Job(NamedTuple):
    """One file to convert, and where the result is written."""

    source: Path
    output: Path


class Result(NamedTuple):
    """The result of one conversion.

    Attributes:
        data: Content of the file.
        description: For the line that is printed.
        pixels: Of the picture.
        rae_bytes: Size of the `.rae` file, which is read or written.
    """

    data: bytes
    description: str
    pixels: int
    rae_bytes: int


@dataclass(frozen=True)
class Plan:
    """All that a command is to do, known before anything is done.

    Attributes:
        jobs: In order.
        force: Whether existing files are replaced.
        skipped: Number of files whose results exist already, with `--skip-existing`.
        failed: Number of files that cannot be converted, of which the user was told.
    """

    jobs: Sequence[Job]
    force: bool
    skipped: int
    failed: int


@dataclass
class Sums:
    """Sums over files that were converted, and the exit code of the first failure."""

    done: int = 0
    failed: int = 0
    pixels: int = 0
    rae_bytes: int = 0
    code: int = 0

    def add(self, other: "Sums") -> None:
        """Add the sums of another process. The code of this one's first failure stays."""
        self.done += other.done
        self.failed += other.failed
        self.pixels += other.pixels
        self.rae_bytes += other.rae_bytes
        self.code = self.code or other.code


def add_conversion(parser: argparse.ArgumentParser, output: str) -> None:
    """Add the arguments of a command that converts files.

    Args:
        parser: Of the command.
        output: What a result is, for `--help`.
    """
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="+",
        metavar="IN",
        help="files, folders with all that is below them except linked folders, patterns in quotes such as "
        "'pictures/**/*.png', or - for standard input",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help=f"{output}, - for standard output, or a folder, ending in / if new (default: beside each input)",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--force", action="store_true", help="replace files that exist")
    existing.add_argument(
        "--skip-existing", action="store_true", help="leave out inputs whose results exist: continues a stopped run"
    )
    arguments.add_checkpoint(parser)
    arguments.add_dtype(parser)
    arguments.add_device(parser)


def convert_files(
    parsed: argparse.Namespace, formats: Formats, convert: Callable[["Pipeline", Job, "Progress"], Result]
) -> int:
    """Convert files, each to a file of its own, and print the sums. One that fails is reported, and the next follows.

    Args:
        parsed: With the arguments of `add_conversion`.
        formats: What is read and written.
        convert: Given the pipeline, a job and a progress callback, returns the result.

    Returns:
        The exit code: in the first process that of a failure, if there was one in any process; else 0.

    Raises:
        CheckpointError: The checkpoint cannot be opened.
        ResidaeError: The results would replace each other or an input, or would have names of other formats.
    """
    processes = Processes.join(parsed.device)
    plan = processes.from_first(lambda: _make_plan(parsed, formats))
    total = Sums(failed=plan.failed, code=BAD_INPUT if plan.failed else 0)
    if plan.jobs:
        pipeline = arguments.open_pipeline(parsed, processes)
        for part in processes.gather(_convert_share(pipeline, plan, convert, processes)):
            total.add(part)
    if not processes.is_first:
        return 0
    if total.done + total.failed + plan.skipped > 1:
        with arguments.text_beside(job.output for job in plan.jobs if job.output == STREAM):
            _print_sums(total, plan.skipped)
    return total.code


def _make_plan(parsed: argparse.Namespace, formats: Formats) -> Plan:
    """Find the files, choose the names of the results, and report what cannot be done."""
    failed: list[Path] = []

    def report(path: Path, reason: object) -> None:
        print(f"residae: {path}: {reason}", file=sys.stderr)
        failed.append(path)

    files = find_files(parsed.inputs, formats.found, report)
    jobs = _name_results(files, parsed, formats)
    _refuse_collisions(jobs)
    for job in jobs[:1]:  # only the result of a single job can have a name that was given
        arguments.check_suffix(job.output, formats.written)
    possible, skipped = [], 0
    for job in jobs:
        try:
            if parsed.skip_existing and job.output.is_file() and not is_standard_output(job.output):
                skipped += 1
                continue
            check_target(job.output, parsed.force)
            possible.append(job)
        except ResidaeError as error:
            report(job.source, error)
        except OSError as error:  # of `is_file`: for example, the name is too long
            report(job.source, f"{job.output} cannot be written: {error.strerror}.")
    return Plan(possible, parsed.force, skipped, len(failed))


def _convert_share(
    pipeline: "Pipeline",
    plan: Plan,
    convert: Callable[["Pipeline", Job, "Progress"], Result],
    processes: Processes,
) -> Sums:
    """Do the jobs of this process."""
    from tqdm import tqdm  # here, so that `bench` runs where PyTorch is and tqdm is not

    jobs, sums = processes.share(plan.jobs), Sums()
    form = "{desc} {percentage:.0f} %|{bar}| {remaining}"
    with tqdm(total=len(jobs), disable=None if processes.is_first else True, bar_format=form) as bar:
        for index, job in enumerate(jobs):

            def advance(share: float, index: int = index) -> None:
                bar.update(index + share - bar.n)

            bar.set_description_str(job.source.name)
            try:
                check_target(job.output, plan.force)  # another program may have written it meanwhile
                result = convert(pipeline, job, advance)
                write_file(job.output, result.data)
            except ResidaeError as error:
                tqdm.write(f"residae: {job.source}: {error}", file=sys.stderr)
                sums.add(Sums(failed=1, code=exit_code(error)))
                continue
            sums.add(Sums(1, 0, result.pixels, result.rae_bytes))
            with tqdm.external_write_mode(), arguments.text_beside([job.output]):
                print(f"{job.source} -> {job.output}: {result.description}\n", end="")  # processes share the terminal
    return sums


def _print_sums(sums: Sums, skipped: int) -> None:
    columns = {"done": sums.done, "skipped": skipped, "failed": sums.failed}
    columns |= {"pixels": sums.pixels, ".rae bytes": sums.rae_bytes}
    rate = 8 * sums.rae_bytes / max(1, sums.pixels)
    print("".join(f"{name:>16}" for name in [*columns, "bits per pixel"]))
    print("".join(f"{value:>16,}" for value in columns.values()) + f"{rate:>16.4f}")


def _name_results(files: Sequence[InputFile], parsed: argparse.Namespace, formats: Formats) -> list[Job]:
    target = Path(parsed.output) if parsed.output else None
    suffix, *_ = formats.written
    alone = len(parsed.inputs) == 1 and [file.path for file in files] == parsed.inputs  # no folder and no pattern
    if target == STREAM:
        if not alone:
            raise ResidaeError("Standard output holds one result: give one input, or name a folder with -o.")
        return [Job(files[0].path, STREAM)]
    if target and not (parsed.output.endswith(("/", os.sep)) or is_folder(target)):
        if alone:
            return [Job(files[0].path, target)]
        if target.suffix.lower() in (*formats.found, *formats.written):
            raise ResidaeError(f"{target} is the name of one file: give one input, or end the name of a folder in /.")
    if target:
        return [Job(file.path, target / PurePath(file.name).with_suffix(suffix)) for file in files]
    return [Job(file.path, STREAM if file.path == STREAM else file.path.with_suffix(suffix)) for file in files]


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    """Refuse to begin where a result would replace another one or an input, however their paths are spelled."""
    resolve_folder = functools.cache(os.path.realpath)

    def resolve(path: Path) -> str:
        is_link = False
        with suppress(OSError):  # no file can have this name
            is_link = path.is_symlink()
        return os.path.realpath(path) if is_link else f"{resolve_folder(path.parent)}{os.sep}{path.name}"

    sources = {resolve(job.source) for job in jobs}
    outputs: dict[str, Job] = {}
    collisions = []
    for job in jobs:
        if is_standard_output(job.output):
            continue
        name = resolve(job.output)
        other = outputs.setdefault(name, job)
        if is_same_file(job.output, job.source):
            collisions.append(f"{job.source}: The result would have the same name: give it another with -o.")
        elif name in sources:
            collisions.append(f"{job.source}: The result would replace {job.output}, which is an input as well.")
        elif other is not job:
            collisions.append(f"{job.source}: The result would replace that of {other.source}: {job.output}.")
    if collisions:
        for collision in collisions[:MAX_COLLISIONS]:
            print(f"residae: {collision}", file=sys.stderr)
        raise ResidaeError(
            f"Nothing is done, because of {len(collisions):,} such name{'s' if len(collisions) > 1 else ''}: "
            "rename the inputs, or give them in several commands with different folders."
        )
