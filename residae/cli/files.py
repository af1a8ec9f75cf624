"""Commands on files: compress, decompress and info."""

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from residae.cli import arguments
from residae.cli.exit_codes import exit_code
from residae.errors import CheckpointError, ResidaeError
from residae.files import is_same_file, read_file, refuse_to_overwrite, write_file

if TYPE_CHECKING:
    from residae.codec import Codec
    from residae.progress import Progress

DEFAULT_QUALITY = 80.0


def add_commands(commands: "arguments.Commands") -> None:
    """Add the parsers of these commands."""
    _add_compress(commands.add_parser("compress", help="pictures to .rae files"))
    _add_decompress(commands.add_parser("decompress", help=".rae files to PNG pictures"))
    _add_info(commands.add_parser("info", help="what is in a .rae file"))


def _add_conversion(parser: argparse.ArgumentParser, output: str) -> None:
    parser.add_argument("inputs", type=Path, nargs="+", metavar="IN")
    parser.add_argument(
        "-o", "--output", help=f"{output}, or a folder, ending in / if new (default: beside each input)"
    )
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    arguments.add_checkpoint(parser)


def _convert(parsed: argparse.Namespace, suffix: str, convert: Callable[[Path, "Progress"], tuple[bytes, str]]) -> int:
    """Convert each input and write the result. An input that fails is reported, and the next one follows.

    Args:
        parsed: With the arguments of `_add_conversion`.
        suffix: Of the names of the results.
        convert: Given an input and a progress callback, returns the content of the result and a description of it.

    Returns:
        The exit code of the first failure, or 0.

    Raises:
        CheckpointError: No input can be converted.
    """
    from tqdm import tqdm  # here, so that `bench` runs where PyTorch is and tqdm is not

    target = Path(parsed.output) if parsed.output else None
    into_folder = target and (len(parsed.inputs) > 1 or target.is_dir() or parsed.output.endswith(("/", os.sep)))
    failure: ResidaeError | None = None
    written: list[Path] = []
    with tqdm(total=len(parsed.inputs), disable=None, bar_format="{desc} {percentage:.0f} %|{bar}| {remaining}") as bar:
        for index, path in enumerate(parsed.inputs):

            def advance(share: float, index: int = index) -> None:
                bar.update(index + share - bar.n)

            bar.set_description_str(path.name)
            try:
                if not path.name:
                    raise ResidaeError("This is a folder, not a file.")
                output = path.with_suffix(suffix)
                if target:
                    output = target / output.name if into_folder else target
                if is_same_file(output, path):
                    raise ResidaeError("The result would have the same name: give it another with -o.")
                refuse_to_overwrite(output, parsed.force)
                if any(is_same_file(output, other) for other in written):
                    raise ResidaeError(f"{output} is the result of another input already: give it another name.")
                data, description = convert(path, advance)
                write_file(output, data)
                written.append(output)
                with tqdm.external_write_mode():
                    print(f"{path} -> {output}: {description}")
            except CheckpointError:
                raise
            except ResidaeError as error:
                tqdm.write(f"residae: {path}: {error}", file=sys.stderr)
                failure = failure or error
    return exit_code(failure) if failure else 0


def _add_compress(parser: argparse.ArgumentParser) -> None:
    _add_conversion(parser, "the .rae file")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--quality", type=arguments.quality, default=DEFAULT_QUALITY, help="0 to 100 (default: 80)")
    rate.add_argument(
        "--target-bpp", type=arguments.positive(float), metavar="B", help="the best within so many bits per pixel"
    )
    rate.add_argument("--max-bytes", type=arguments.positive(int), metavar="N", help="the best within so many bytes")
    parser.add_argument(
        "--scale",
        type=arguments.scale,
        metavar="S",
        help="factor, 0.5 to 4, by which the picture is resampled before it is encoded; or auto, with a limit on the "
        "size: the factor that keeps most within it (default: auto with --target-bpp or --max-bytes, else 1)",
    )
    parser.add_argument(
        "--refine",
        type=arguments.positive(int),
        default=0,
        metavar="STEPS",
        help="optimize the file for the picture in so many steps, 20 for most of the gain; a step takes as long as two "
        "to three decodes (default: none)",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--gray", dest="color", action="store_false", default=None, help="keep only luma")
    mode.add_argument("--color", action="store_true", default=None, help="(default: as the picture is)")
    parser.set_defaults(command=_compress, refuse=parser.error)


def _compress(parsed: argparse.Namespace) -> int:
    from tqdm import tqdm

    from residae.image.process import DecoderProcess
    from residae.metrics import bits_per_pixel

    if parsed.scale == "auto" and parsed.target_bpp is None and parsed.max_bytes is None:
        parsed.refuse("--scale auto goes by the size of the file: give --target-bpp or --max-bytes")
    pipeline = arguments.open_pipeline(parsed)

    def convert(path: Path, progress: "Progress") -> tuple[bytes, str]:
        picture = decoder.open_picture(path)
        for notice in picture.notices:
            tqdm.write(f"{path}: {notice}", file=sys.stderr)
        color = picture.pixels.ndim == 3 if parsed.color is None else parsed.color
        encoding, compressed = pipeline.encode_and_write(
            picture,
            color,
            parsed.quality,
            parsed.scale,
            parsed.target_bpp,
            parsed.max_bytes,
            progress,
            parsed.refine,
        )
        size = len(compressed.data)
        rate = bits_per_pixel(size, picture.width, picture.height)
        setting = f"quality {compressed.quality:g}, scale {encoding.scale:g}"
        return compressed.data, f"{size:,} bytes, {rate:.3f} bits per pixel, {setting}"

    with closing(DecoderProcess()) as decoder:
        return _convert(parsed, ".rae", convert)


def _add_decompress(parser: argparse.ArgumentParser) -> None:
    _add_conversion(parser, "the PNG")
    parser.set_defaults(command=_decompress)


def _decompress(parsed: argparse.Namespace) -> int:
    from residae.image import write_png

    pipeline = arguments.open_pipeline(parsed)

    def convert(path: Path, progress: "Progress") -> tuple[bytes, str]:
        info, decoding = pipeline.read(read_file(path), progress)
        return write_png(decoding.pixels), f"{info.width} x {info.height}, {'color' if info.color else 'gray'}"

    return _convert(parsed, ".png", convert)


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.rae")
    arguments.add_checkpoint(parser)
    parser.set_defaults(command=_info)


def _info(parsed: argparse.Namespace) -> None:
    from residae.codec import read_info
    from residae.codec.tables import PLANES
    from residae.geometry import latent_shape, scaled_shape

    data = read_file(parsed.file)
    info = read_info(data)
    print(f"picture     {info.width} x {info.height}, {'color' if info.color else 'gray'}")
    print(f"file        {info.file_bytes:,} bytes, {info.bits_per_pixel:.3f} bits per pixel, quality {info.quality:g}")
    height, width = scaled_shape(info.height, info.width, info.scale)
    rows, columns = latent_shape(info.height, info.width, info.scale)
    print(f"scale       {info.scale:g}: {width} x {height} for the network, {columns} x {rows} cells of the latent")
    print(f"checkpoint  {info.name} ({info.fingerprint})")
    codec = _find_codec(parsed.checkpoint)
    matches = codec is not None and codec.fingerprint.hex() == info.fingerprint
    if codec is None:
        print("            No checkpoint is at hand, so the bytes of each channel are unknown.")
    elif not matches:
        print(f"            other than the one at hand, {codec.name} ({codec.fingerprint.hex()})")
    for index, size in enumerate(info.plane_bytes):
        print(f"{PLANES[index]:<12}{size:,} bytes")
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
