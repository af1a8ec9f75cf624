"""Commands that measure: evaluate and bench."""

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from residae import options
from residae.cli import arguments
from residae.cli.exit_codes import exit_code
from residae.distributed import Processes
from residae.errors import ResidaeError
from residae.files import InputFile, check_target, is_same_file, write_file

if TYPE_CHECKING:
    from residae.results import ResultsFile

BENCH_SIZES = ((256, 256), (512, 768), (4096, 4096))  # height and width in pixels


def add_commands(commands: "arguments.Commands") -> None:
    """Add the parsers of these commands."""
    _add_evaluate(commands.add_parser("evaluate", help="quality and size over a folder of pictures"))
    _add_bench(commands.add_parser("bench", help="speed and memory of the network on this machine"))


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="+",
        metavar="IN",
        help="pictures, folders with all that is below them except linked folders, patterns in quotes such as "
        "'pictures/**/*.png', or - for standard input",
    )
    parser.add_argument(
        "--quality",
        type=arguments.comma_separated(arguments.quality),
        default=[],
        metavar="Q,...",
        help="measure files of quality Q (default: measure the unquantized latent)",
    )
    parser.add_argument(
        "--target-bpp",
        type=arguments.comma_separated(arguments.positive(float)),
        default=[],
        metavar="B,...",
        help="measure the best files within B bits per pixel",
    )
    parser.add_argument(
        "--against",
        type=arguments.comma_separated(arguments.baseline),
        default=[],
        metavar="jpeg,avif:2,...",
        help="compare with these codecs at the same bytes: jpeg, webp, avif, jpeg2000, jpegxl; a number sets the "
        "method of WebP, the speed of AVIF or the effort of JPEG XL",
    )
    parser.add_argument(
        "--scale",
        type=arguments.option(options.scale),
        metavar="S",
        help=f"encode at this scale, {arguments.SCALES}, or auto (default: auto with --target-bpp, else 1)",
    )
    parser.add_argument(
        "--refine", type=arguments.positive(int), default=0, metavar="STEPS", help="refine each file by so many steps"
    )
    parser.add_argument("--color", action="store_true", help="measure R, G and B (default: luma)")
    parser.add_argument(
        "--ssimulacra2", action="store_true", help="measure SSIMULACRA 2, which takes seconds a picture"
    )
    parser.add_argument("--tsv", type=Path, metavar="FILE", help="also write each measurement to this file as it comes")
    parser.add_argument("--resume", action="store_true", help="continue --tsv FILE: measure only what it does not hold")
    arguments.add_json(parser)
    arguments.add_dtype(parser)
    arguments.add_device(parser)
    arguments.add_checkpoint(parser)
    parser.set_defaults(command=_evaluate, refuse=parser.error)


def _evaluate(parsed: argparse.Namespace) -> int:
    if parsed.against and not parsed.quality and not parsed.target_bpp:
        parsed.refuse("baselines are measured at the bytes of our files: give --quality or --target-bpp")
    if parsed.scale == "auto" and (parsed.quality or not parsed.target_bpp):
        parsed.refuse("--scale auto goes by the size of the file: give --target-bpp and no --quality")
    if parsed.refine and not parsed.quality and not parsed.target_bpp:
        parsed.refuse("files are refined: give --quality or --target-bpp")
    if parsed.resume and not parsed.tsv:
        parsed.refuse("--resume needs --tsv FILE")
    if parsed.ssimulacra2 and not importlib.util.find_spec("ssimulacra2"):
        raise ResidaeError(
            "SSIMULACRA 2 needs a package of its own: install residae with its extra, as residae[measure]."
        )
    from residae.evaluate import Setting, picture_files, print_evaluation
    from residae.results import ResultsFile, as_json

    scale = None if parsed.scale == "auto" else parsed.scale
    settings = [Setting(quality=quality, scale=scale, steps=parsed.refine) for quality in parsed.quality]
    settings += [Setting(bits_per_pixel=rate, scale=scale, steps=parsed.refine) for rate in parsed.target_bpp]
    absent: list[ResidaeError] = []

    def prepare() -> "tuple[list[InputFile], ResultsFile | None]":
        if parsed.json:
            if parsed.tsv and os.path.realpath(parsed.json) == os.path.realpath(parsed.tsv):
                raise ResidaeError("--json and --tsv name one file: give each its own.")
            check_target(parsed.json, parsed.force)
        files = picture_files(parsed.inputs, lambda _, error: absent.append(error))
        last = None if files else absent.pop()
        for error in absent:
            print(f"residae: {error}", file=sys.stderr)
        if last:
            raise last
        for target in filter(None, (parsed.json, parsed.tsv)):
            if any(is_same_file(target, file.path) for file in files):
                raise ResidaeError(f"{target} is an input: give the result another name.")
        return files, ResultsFile(parsed.tsv, parsed.resume, parsed.force) if parsed.tsv else None

    processes = Processes.join(parsed.device)
    files, results = processes.from_first(prepare)
    with arguments.text_beside([parsed.json]):
        rows, failures = print_evaluation(
            arguments.open_pipeline(parsed, processes),
            files,
            settings or [Setting(scale=scale)],
            parsed.against,
            color=parsed.color,
            ssimulacra2=parsed.ssimulacra2,
            results=results,
            processes=processes,
        )
    if not processes.is_first:
        return 0
    if parsed.json and rows:
        write_file(parsed.json, as_json(rows))
    return next(map(exit_code, [*absent, *failures]), 0)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    arguments.add_device(parser)
    arguments.add_dtype(parser)
    parser.add_argument(
        "--sizes",
        type=arguments.comma_separated(arguments.size),
        metavar="WxH,...",
        help=f"default: {','.join(f'{width}x{height}' for height, width in BENCH_SIZES)}",
    )
    parser.add_argument(
        "--against",
        type=arguments.comma_separated(arguments.runtime),
        metavar="openvino,onnxruntime",
        help="compare with these runtimes on the CPU instead, speed and PSNR on an example picture",
    )
    arguments.add_json(parser)
    parser.set_defaults(command=_bench, refuse=parser.error)


def _bench(parsed: argparse.Namespace) -> None:
    from residae.bench import print_bench, print_comparison

    if parsed.against and (parsed.sizes or parsed.dtype or parsed.device == "cuda"):
        parsed.refuse("--against compares all precisions on the CPU at one size: leave out --device, --dtype, --sizes")
    if parsed.json:
        check_target(parsed.json, parsed.force)
    with arguments.text_beside([parsed.json]):
        if parsed.against:
            figures = print_comparison(parsed.against)
        else:
            figures = print_bench(parsed.device, parsed.sizes or BENCH_SIZES, parsed.dtype)
    if parsed.json:
        write_file(parsed.json, json.dumps(figures).encode())
