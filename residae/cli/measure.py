"""Commands that measure: evaluate and bench."""

import argparse
import importlib.util
import json
from pathlib import Path

from residae.cli import arguments
from residae.errors import ResidaeError
from residae.files import refuse_to_overwrite, write_file


def add_commands(commands: "arguments.Commands") -> None:
    """Add the parsers of these commands."""
    _add_evaluate(commands.add_parser("evaluate", help="quality and size over a folder of pictures"))
    _add_bench(commands.add_parser("bench", help="speed and memory of the network on this machine"))


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path)
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
    parser.add_argument("--color", action="store_true", help="measure R, G and B (default: luma)")
    parser.add_argument(
        "--ssimulacra2", action="store_true", help="measure SSIMULACRA 2, which takes seconds a picture"
    )
    parser.add_argument("--tsv", type=Path, metavar="FILE", help="also write each measurement to this file as it comes")
    parser.add_argument("--resume", action="store_true", help="continue --tsv FILE: measure only what it does not hold")
    arguments.add_json(parser)
    arguments.add_dtype(parser)
    arguments.add_checkpoint(parser)
    parser.set_defaults(command=_evaluate, refuse=parser.error)


def _evaluate(parsed: argparse.Namespace) -> None:
    if parsed.against and not parsed.quality and not parsed.target_bpp:
        parsed.refuse("baselines are measured at the bytes of our files: give --quality or --target-bpp")
    if parsed.resume and not parsed.tsv:
        parsed.refuse("--resume needs --tsv FILE")
    if parsed.ssimulacra2 and not importlib.util.find_spec("ssimulacra2"):
        raise ResidaeError(
            "SSIMULACRA 2 needs a package of its own: install residae with its extra, as residae[measure]."
        )
    if not parsed.folder.is_dir():
        raise ResidaeError(f"There is no folder {parsed.folder}.")
    if parsed.json:
        refuse_to_overwrite(parsed.json, parsed.force)
    from residae.evaluate import Setting, print_evaluation
    from residae.results import ResultsFile

    settings = [Setting(quality=quality) for quality in parsed.quality]
    settings += [Setting(bits_per_pixel=rate) for rate in parsed.target_bpp]
    results = ResultsFile(parsed.tsv, parsed.resume, parsed.force) if parsed.tsv else None
    print_evaluation(
        arguments.open_pipeline(parsed, parsed.dtype),
        parsed.folder,
        settings or [Setting()],
        parsed.against,
        color=parsed.color,
        ssimulacra2=parsed.ssimulacra2,
        results=results,
        json_path=parsed.json,
    )


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the GPU where there is one")
    arguments.add_dtype(parser)
    parser.add_argument(
        "--sizes",
        type=arguments.comma_separated(arguments.size),
        metavar="WxH,...",
        help="rising (default: 256x256,768x512,4096x4096)",
    )
    arguments.add_json(parser)
    parser.set_defaults(command=_bench)


def _bench(parsed: argparse.Namespace) -> None:
    from residae.bench import APP, SIZES, bench, startup
    from residae.model import ResidualAutoencoder

    if parsed.json:
        refuse_to_overwrite(parsed.json, parsed.force)
    print("This takes about two minutes, in which nothing else should run on the machine.", flush=True)
    sizes = parsed.sizes or SIZES
    measured = bench(ResidualAutoencoder(), parsed.device, sizes, parsed.dtype)
    has_page = APP.exists()  # it is not installed with the package
    page = startup() if has_page else None
    print(f"{measured.device}; matrix product {measured.product / 1e9:,.0f} GFLOP/s")
    print(f"{'picture':<15}{'way':<8}{'s':>8}{'GFLOP/s':>10}{'of product':>12}{'of plain':>10}{'peak MB':>9}")
    for run in measured.runs:
        plain = f"{run.ratio:.1f} x" if run.ratio else "-"
        print(
            f"{_pixels(run.height, run.width):<15}{run.way:<8}{run.seconds:>8.3f}{run.rate / 1e9:>10,.0f}"
            f"{100 * run.rate / measured.product:>10.0f} %{plain:>10}{run.memory / 1e6:>9,.0f}"
        )
    for size, run in zip(sizes, measured.runs[::2], strict=True):
        if size != (run.height, run.width):
            print(f"{_pixels(*size)} would take too long here.")
    if measured.overhead:
        print(f"A pixel of the last picture takes {measured.overhead:.2f} times as long as one of the picture before.")
    if has_page:
        print(f"The page answers {page:.1f} s after python app.py." if page else "The page did not answer.")
    if parsed.json:
        runs = [
            {"way": run.way, "height": run.height, "width": run.width, "seconds": run.seconds, "rate": run.rate}
            | {"ratio": run.ratio, "memory": run.memory}
            for run in measured.runs
        ]
        figures = {"device": measured.device, "product": measured.product, "overhead": measured.overhead}
        figures |= {"page": page} if has_page else {}
        figures["runs"] = runs
        write_file(parsed.json, json.dumps(figures).encode())


def _pixels(height: int, width: int) -> str:
    return f"{width:,} x {height:,}"
