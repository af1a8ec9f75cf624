"""Commands that measure: evaluate and bench."""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from tqdm import tqdm

from residae.cli import arguments
from residae.errors import ResidaeError
from residae.files import refuse_to_overwrite, write_file

if TYPE_CHECKING:
    from residae.evaluate import Score


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
        help="from files of quality Q",
    )
    parser.add_argument(
        "--target-bpp",
        type=arguments.comma_separated(arguments.positive(float)),
        default=[],
        metavar="B,...",
        help="from files within B bits per pixel; a row of dashes where a picture takes more",
    )
    parser.add_argument(
        "--against",
        type=arguments.comma_separated(str),
        default=[],
        metavar="jpeg,...",
        help="baselines at the same bytes",
    )
    arguments.add_json(parser)
    arguments.add_dtype(parser)
    arguments.add_checkpoint(parser)
    parser.set_defaults(command=_evaluate, refuse=parser.error)


def _evaluate(parsed: argparse.Namespace) -> None:
    from residae.baselines import CODECS
    from residae.evaluate import evaluate, files

    names = {name.lower().replace(" ", ""): name for name in CODECS}
    for name in parsed.against:
        if name not in names:
            parsed.refuse(f"there is no codec {name!r} among the baselines: {', '.join(names)}")
    if parsed.against and not parsed.quality and not parsed.target_bpp:
        parsed.refuse("baselines are measured at the bytes of our files: give --quality or --target-bpp")
    if not parsed.folder.is_dir():
        raise ResidaeError(f"There is no folder {parsed.folder}.")
    if parsed.json:
        refuse_to_overwrite(parsed.json, parsed.force)
    baselines = [names[name] for name in parsed.against]
    settings = [f"quality {q:g}" for q in parsed.quality] + [f"{rate:g} bpp" for rate in parsed.target_bpp]
    settings = settings or ["unquantized"]

    pipeline = arguments.open_pipeline(parsed, parsed.dtype)
    print(f"{pipeline.name} on {pipeline.engine.description}; luma; PSNR in dB, network in s, coding in ms")
    columns = ("bytes", "bpp", "PSNR", "SSIM", *baselines, "encode", "decode", "coding", "parsing")
    print(f"{'picture':<12}{'setting':<13}" + "".join(f"{column:>{_width(column)}}" for column in columns))
    scores: list[Score] = []
    total = len(settings) * len(files(parsed.folder))
    with tqdm(total=total, disable=None, bar_format="{percentage:.0f} %|{bar}| {remaining}") as bar:

        def left_out(path: Path, error: ResidaeError) -> None:
            tqdm.write(f"residae: {path} is left out: {error}", file=sys.stderr)
            bar.update(len(settings))

        for score in evaluate(pipeline, parsed.folder, parsed.quality, parsed.target_bpp, baselines, left_out):
            setting = settings[len(scores) % len(settings)]
            scores.append(score)
            tqdm.write(f"{score.name[:11]:<12}{setting:<13}" + _cells(columns, _figures(score)))
            sys.stdout.flush()
            bar.update()
    for offset, setting in enumerate(settings):
        rows = [_figures(score) for score in scores[offset :: len(settings)] if not math.isnan(score.psnr)]
        print(f"{f'mean of {len(rows)}':<12}{setting:<13}" + _cells(columns, _means(rows)))
        _print_overhead(scores[offset :: len(settings)])
    if parsed.json:
        entries = [_entry(score, settings[i % len(settings)]) for i, score in enumerate(scores)]
        write_file(parsed.json, json.dumps(entries, allow_nan=False).encode())


def _figures(score: "Score") -> dict[str, float]:
    """What the table shows of a score, by column; without what it does not have, such as the SSIM of 8 x 8 pixels."""
    figures = {"PSNR": score.psnr, "SSIM": score.ssim, "encode": score.encoding, "decode": score.decoding}
    if score.file:
        figures |= {"bytes": score.file.bytes, "bpp": score.bits_per_pixel}
        figures |= {"coding": 1000 * score.file.coding, "parsing": 1000 * score.file.parsing}
    figures |= {name: point.psnr for name, point in score.baselines.items() if point}
    return {name: value for name, value in figures.items() if not math.isnan(value)}


def _entry(score: "Score", setting: str) -> dict[str, object]:
    """A score for JSON: what the table shows of it and of its baselines, and what of them it has no room for."""
    entry: dict[str, object] = {"name": score.name, "width": score.width, "height": score.height, "setting": setting}
    if score.file:
        entry["quality"] = score.file.quality
    entry |= _as_json({name: value for name, value in _figures(score).items() if name not in score.baselines})
    for name, point in score.baselines.items():
        entry[name] = point and _as_json({"bpp": point.bits_per_pixel, "PSNR": point.psnr, "SSIM": point.ssim})
    return entry


def _as_json(figures: dict[str, float]) -> dict[str, float | None]:
    """Without what is no number; null for infinity, which is the PSNR of an exact copy and which JSON has not."""
    return {name: None if math.isinf(value) else value for name, value in figures.items() if not math.isnan(value)}


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Of what every row has: a baseline that failed with one picture has no mean to be compared with."""
    common = set[str]().union(*rows).intersection(*rows)
    return {name: fmean(row[name] for row in rows) for name in common}


def _cells(columns: Iterable[str], figures: dict[str, float]) -> str:
    digits = {"bytes": 0, "bpp": 4, "SSIM": 4, "coding": 1, "parsing": 1}
    cells = (f"{figures[name]:,.{digits.get(name, 2)}f}" if name in figures else "-" for name in columns)
    return "".join(f"{cell:>{_width(name)}}" for name, cell in zip(columns, cells, strict=True))


def _width(column: str) -> int:
    return max(8, len(column) + 2)


def _print_overhead(scores: Sequence["Score"]) -> None:
    """What the container and the contexts are worth, over all files."""
    from residae.codec.coder import static_bits

    files = [score.file for score in scores if score.file]
    if not files:
        return
    total, ideal = sum(file.bytes for file in files), sum(file.ideal_bytes for file in files)
    static = static_bits([file.luma for file in files]) / 8
    excess = max(0.0, *(file.bytes - 1.01 * file.ideal_bytes for file in files))
    print(
        f"  {total:,} bytes; by the tables at best {ideal:,.0f}, and each file within 1 % + {excess:.0f} bytes of that"
    )
    if static:  # nothing, where each channel has one symbol throughout
        saved = 100 * (1 - ideal / static)
        print(f"  contexts save {saved:.1f} % on the best static tables, one per channel: {static:,.0f}")


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
