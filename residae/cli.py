"""The command line: arguments, one call, print."""

import argparse
import importlib.util
import io
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from tqdm import tqdm

from residae import malloc
from residae.errors import CheckpointError, OutOfMemoryError, ResidaeError
from residae.train import __main__ as training

if TYPE_CHECKING:
    from residae.codec import Codec, Compressed
    from residae.evaluate import Score
    from residae.pipeline import Encoding, Pipeline
    from residae.progress import Progress

BAD_INPUT, BAD_CHECKPOINT, OUT_OF_MEMORY = 1, 3, 4  # exit codes; argparse itself leaves with 2
STOPPED = 128  # plus the number of the signal, as shells have it
PIPE_CLOSED = STOPPED + 13  # SIGPIPE, for which Windows has no name
DEFAULT_QUALITY = 80.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Told to stop, it leaves no unfinished file behind."""
    malloc.tune_malloc()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text
    try:
        try:
            return _run(arguments)
        finally:
            _flush()
    except BrokenPipeError:  # who reads, such as `head`, has enough
        return PIPE_CLOSED
    except OSError as error:  # that no sentence of ours is about, such as of a path or a full disk
        print(f"residae: {error}", file=sys.stderr)
        return BAD_INPUT


def _flush() -> None:
    """What is printed, while it can still be told if that goes wrong."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python tries again when it ends
        raise


def _run(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="residae", description="A pipeline for one residual autoencoder.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_compress(commands.add_parser("compress", help="pictures to .rae files"))
    _add_decompress(commands.add_parser("decompress", help=".rae files to PNG pictures"))
    _add_info(commands.add_parser("info", help="what is in a .rae file"))
    _add_evaluate(commands.add_parser("evaluate", help="quality and size over a folder of pictures"))
    _add_fit(commands.add_parser("fit", help="fit the codec tables of a checkpoint to a folder of pictures"))
    _add_bench(commands.add_parser("bench", help="speed and memory of the network on this machine"))
    _add_train(commands.add_parser("train", help="train a checkpoint on a folder of pictures"))
    _add_page(commands.add_parser("page", help="the page in the browser, as app.py serves it"))
    _add_deploy(commands.add_parser("deploy", help="create or update a Space on the Hugging Face Hub"))
    parsed = parser.parse_args(arguments)
    try:
        with _stopped_by_sigterm():
            code: int | None = parsed.command(parsed)
            return code or 0
    except ResidaeError as error:
        print(f"residae: {error}", file=sys.stderr)
        return _exit_code(error)
    except KeyboardInterrupt:
        return STOPPED + signal.SIGINT


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """As an exception, that passes every `finally` on its way."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(STOPPED + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _exit_code(error: ResidaeError) -> int:
    kinds = {CheckpointError: BAD_CHECKPOINT, OutOfMemoryError: OUT_OF_MEMORY}
    return next((code for kind, code in kinds.items() if isinstance(error, kind)), BAD_INPUT)


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", help="folder or Hub id (default: $RESIDAE_CHECKPOINT, or the project's own)")


def _add_dtype(parser: argparse.ArgumentParser) -> None:
    choices = ("bfloat16", "int8", "float32")
    parser.add_argument("--dtype", choices=choices, help="default: the fastest at no visible loss")


def _open_pipeline(parsed: argparse.Namespace, dtype: str | None = None) -> "Pipeline":
    from residae.pipeline import Pipeline  # imports torch, which takes seconds that --help need not

    return Pipeline.open(parsed.checkpoint, dtype=dtype)


# Files in, files out


def _add_conversion(parser: argparse.ArgumentParser, output: str) -> None:
    parser.add_argument("inputs", type=Path, nargs="+", metavar="IN")
    parser.add_argument(
        "-o", "--output", help=f"{output}, or a folder, ending in / if new (default: beside each input)"
    )
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    _add_checkpoint(parser)


def _convert(parsed: argparse.Namespace, suffix: str, convert: Callable[[Path, "Progress"], tuple[bytes, str]]) -> int:
    """Write what `convert` makes of each input; a bad one is reported, and does not keep the others from their turn.

    Returns the exit code.
    """
    target = Path(parsed.output) if parsed.output else None
    into_folder = target and (len(parsed.inputs) > 1 or target.is_dir() or parsed.output.endswith(("/", os.sep)))
    failure: ResidaeError | None = None
    written: list[Path] = []
    with tqdm(total=len(parsed.inputs), disable=None, bar_format="{desc} {percentage:.0f} %|{bar}| {remaining}") as bar:
        for number, path in enumerate(parsed.inputs):

            def tell(share: float, number: int = number) -> None:
                bar.update(number + share - bar.n)

            bar.set_description_str(path.name)
            try:
                if not path.name:
                    raise ResidaeError("This is a folder, not a file.")
                output = path.with_suffix(suffix)
                if target:
                    output = target / output.name if into_folder else target
                if _is_same(output, path):
                    raise ResidaeError("The result would have the same name: give it another with -o.")
                _refuse_to_overwrite(output, parsed.force)
                if any(_is_same(output, other) for other in written):
                    raise ResidaeError(f"{output} is what another input has just become: give it another name.")
                data, words = convert(path, tell)
                _write(output, data)
                written.append(output)
                tqdm.write(f"{path} -> {output}: {words}")
            except CheckpointError:
                raise
            except ResidaeError as error:
                tqdm.write(f"residae: {path}: {error}", file=sys.stderr)
                failure = failure or error
    return _exit_code(failure) if failure else 0


def _write(path: Path, data: bytes) -> None:
    """Write whole or not at all, under a temporary name first."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise ResidaeError(f"{path} cannot be written: {error.strerror}.") from error


def _is_same(path: Path, other: Path) -> bool:
    """Whether both are one file, however they are spelled."""
    try:
        return path.samefile(other)
    except OSError:  # there is no such file, at least
        return False


def _refuse_to_overwrite(path: Path, force: bool) -> None:
    try:
        exists = path.exists()
    except OSError as error:  # such as a name that is too long
        raise ResidaeError(f"{path} cannot be written: {error.strerror}.") from error
    if exists and not force:
        raise ResidaeError(f"{path} exists already: give another name, or replace it with --force.")


def _add_compress(parser: argparse.ArgumentParser) -> None:
    _add_conversion(parser, "the .rae file")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--quality", type=_quality, default=DEFAULT_QUALITY, help="0 to 100 (default: %(default)g)")
    rate.add_argument("--target-bpp", type=_positive(float), metavar="B", help="the best within so many bits per pixel")
    rate.add_argument("--max-bytes", type=_positive(int), metavar="N", help="the best within so many bytes")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--gray", dest="color", action="store_false", default=None, help="luma alone")
    mode.add_argument("--color", action="store_true", default=None, help="(default: as the picture is)")
    parser.set_defaults(command=_compress)


def _compress(parsed: argparse.Namespace) -> int:
    from residae.image import open_picture
    from residae.metrics import bits_per_pixel

    pipeline = _open_pipeline(parsed)

    def convert(path: Path, progress: "Progress") -> tuple[bytes, str]:
        picture = open_picture(path)
        for notice in picture.notices:
            tqdm.write(f"{path}: {notice}", file=sys.stderr)
        color = picture.pixels.ndim == 3 if parsed.color is None else parsed.color
        encoding = pipeline.encode(picture, color, progress)
        compressed = _within_rate(parsed, pipeline, encoding)
        size = len(compressed.data)
        rate = bits_per_pixel(size, picture.width, picture.height)
        return compressed.data, f"{size:,} bytes, {rate:.3f} bits per pixel, quality {compressed.quality:g}"

    return _convert(parsed, ".rae", convert)


def _within_rate(parsed: argparse.Namespace, pipeline: "Pipeline", encoding: "Encoding") -> "Compressed":
    max_bytes = parsed.max_bytes
    if parsed.target_bpp:
        max_bytes = int(parsed.target_bpp * encoding.width * encoding.height / 8)
    if max_bytes is not None:
        return pipeline.write_within(encoding, max_bytes)
    return pipeline.write(encoding, parsed.quality)


def _add_decompress(parser: argparse.ArgumentParser) -> None:
    _add_conversion(parser, "the PNG")
    parser.set_defaults(command=_decompress)


def _decompress(parsed: argparse.Namespace) -> int:
    from residae.image import write_png

    pipeline = _open_pipeline(parsed)

    def convert(path: Path, progress: "Progress") -> tuple[bytes, str]:
        info, decoding = pipeline.read(_read(path), progress)
        return write_png(decoding.pixels), f"{info.width} x {info.height}, {'color' if info.color else 'gray'}"

    return _convert(parsed, ".png", convert)


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.rae")
    _add_checkpoint(parser)
    parser.set_defaults(command=_info)


def _info(parsed: argparse.Namespace) -> None:
    from residae.codec import read_info
    from residae.codec.tables import PLANES

    data = _read(parsed.file)
    info = read_info(data)
    print(f"picture     {info.width} x {info.height}, {'color' if info.color else 'gray'}")
    print(f"file        {info.file_bytes:,} bytes, {info.bits_per_pixel:.3f} bits per pixel, quality {info.quality:g}")
    print(f"checkpoint  {info.name} ({info.fingerprint})")
    codec = _find_codec(parsed.checkpoint)
    matches = codec is not None and codec.fingerprint.hex() == info.fingerprint
    if codec is None:
        print("            no checkpoint is at hand, so that the bytes of each channel are unknown")
    elif not matches:
        print(f"            other than the one at hand, {codec.name} ({codec.fingerprint.hex()})")
    for number, size in enumerate(info.plane_bytes):
        print(f"{PLANES[number]:<12}{size:,} bytes")
    if codec and matches:
        bits = codec.channel_bits(codec.decompress(data).symbols, info.quality)
        print("channel     " + "".join(f"{name:>9}" for name in PLANES[: len(bits)]) + "  bytes")
        for channel, row in enumerate(bits.T / 8, start=1):
            print(f"{channel:>7}     " + "".join(f"{value:>9.1f}" for value in row))


def _find_codec(checkpoint: str | None) -> "Codec | None":
    """The codec of a checkpoint; None where no checkpoint was named and none is at hand."""
    from residae.checkpoint import Checkpoint, open_codec

    if not checkpoint and not Checkpoint.find():
        return None
    return open_codec(checkpoint)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ResidaeError(f"{path} cannot be read: {error.strerror}.") from error


# Measures


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quality", type=_list(_quality), default=[], metavar="Q,...", help="from files of quality Q")
    parser.add_argument(
        "--target-bpp",
        type=_list(_positive(float)),
        default=[],
        metavar="B,...",
        help="from files within B bits per pixel; a row of dashes where a picture takes more",
    )
    parser.add_argument(
        "--against", type=_list(str), default=[], metavar="jpeg,...", help="baselines at the same bytes"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores there, too")
    parser.add_argument("--force", action="store_true", help="replace that file if it exists")
    _add_dtype(parser)
    _add_checkpoint(parser)
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
        _refuse_to_overwrite(parsed.json, parsed.force)
    baselines = [names[name] for name in parsed.against]
    settings = [f"quality {q:g}" for q in parsed.quality] + [f"{rate:g} bpp" for rate in parsed.target_bpp]
    settings = settings or ["unquantized"]

    pipeline = _open_pipeline(parsed, parsed.dtype)
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
        _write(parsed.json, json.dumps(entries, allow_nan=False).encode())


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
    _add_dtype(parser)
    parser.add_argument(
        "--sizes", type=_list(_size), metavar="WxH,...", help="rising (default: 256x256,768x512,4096x4096)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--force", action="store_true", help="replace that file if it exists")
    parser.set_defaults(command=_bench)


def _bench(parsed: argparse.Namespace) -> None:
    from residae.bench import APP, SIZES, bench, startup
    from residae.model import ResidualAutoencoder

    if parsed.json:
        _refuse_to_overwrite(parsed.json, parsed.force)
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
        _write(parsed.json, json.dumps(figures).encode())


def _pixels(height: int, width: int) -> str:
    return f"{width:,} x {height:,}"


# Making checkpoints


def _add_fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="pictures to learn from: the training data")
    parser.add_argument(
        "--pictures", type=_positive(int), default=64, help="how many, drawn evenly (default: %(default)s)"
    )
    parser.add_argument("--checkpoint", required=True, type=Path, help="folder of the checkpoint that gets the tables")
    parser.set_defaults(command=_fit)


def _fit(parsed: argparse.Namespace) -> None:
    from residae.train.tables import fit_checkpoint

    with tqdm(total=1.0, disable=None, bar_format="{percentage:.0f} %|{bar}| {remaining}") as bar:
        fit_checkpoint(parsed.checkpoint, parsed.folder, parsed.pictures, lambda share: bar.update(share - bar.n))
    print(f"{parsed.checkpoint} has new tables. Files that were written with others do not open with them.")


def _add_train(parser: argparse.ArgumentParser) -> None:
    training.add_arguments(parser)
    parser.set_defaults(command=training.run)


# The page, here and on the Hub


def _add_page(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_page)
    parser.add_argument("--mcp", action="store_true", help="offer its endpoints as MCP tools too, at /gradio_api/mcp/")


def _page(parsed: argparse.Namespace) -> None:
    if not importlib.util.find_spec("gradio"):
        raise ResidaeError("The page needs Gradio: install residae with its extra, as residae[ui].")
    if parsed.mcp and not importlib.util.find_spec("mcp"):
        raise ResidaeError("MCP needs a package of its own: install residae with its extra, as residae[mcp].")
    from residae.ui.launch import main

    main(parsed.mcp)


def _add_deploy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repository", metavar="OWNER/NAME", help="the Space, which then holds the project and no more")
    parser.add_argument("--model", action="store_true", help="the weights as well, to the model of the same name")
    parser.add_argument("--hardware", help="such as cpu-basic, zero-a10g (ZeroGPU) or t4-small (default: as it was)")
    parser.add_argument("--private", action="store_true", default=None, help="for the owner's eyes, if it is new")
    parser.add_argument("--dry-run", action="store_true", help="list what would be sent, and send nothing")
    parser.set_defaults(command=_deploy)


def _deploy(parsed: argparse.Namespace) -> None:
    from residae.deploy import send, shipments

    for shipment in shipments(parsed.repository, parsed.model):
        sizes = shipment.sizes()
        print(f"{shipment.kind} {shipment.repository}: {len(sizes)} files, {sum(sizes.values()):,} bytes")
        if parsed.dry_run:
            for path, size in sizes.items():
                print(f"{size:>12,}  {path}")
        else:
            print(send(shipment, parsed.hardware, parsed.private))


# Types of arguments


def _quality(text: str) -> float:
    value = _number(float, text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"quality is 0 to 100, not {text}")
    return value


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = _number(kind, text)
        if not 0 < value < 2**53:  # beyond, a float counts no bytes
            raise argparse.ArgumentTypeError(f"{text} is not above 0, or is too large")
        return value

    return parse


def _size(text: str) -> tuple[int, int]:
    """Height and width of `width`x`height`."""
    lengths = [int(_number(int, length)) for length in text.split("x")]
    if len(lengths) != 2 or min(lengths) < 1 or any(length % 16 for length in lengths):
        raise argparse.ArgumentTypeError(f"{text} is not a width and a height that are multiples of 16")
    width, height = lengths
    return height, width


def _number(kind: Callable[[str], float], text: str) -> float:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a {'whole ' if kind is int else ''}number") from None


def _list(kind: Callable[[str], object]) -> Callable[[str], list[object]]:
    return lambda text: [kind(part.strip()) for part in text.split(",")]
