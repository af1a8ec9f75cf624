"""Commands on files: compress, decompress and info."""

import argparse
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from residae.cli import arguments
from residae.cli.conversion import Formats, Job, Result, add_conversion, convert_files
from residae.cli.encoding import add_encoding, check_scale, describe, encode, open_picture, print_notices
from residae.files import read_file

if TYPE_CHECKING:
    from residae.codec import Codec
    from residae.pipeline import Pipeline
    from residae.progress import Progress

RAE = ".rae"


def add_commands(commands: "arguments.Commands") -> None:
    """Add the parsers of these commands."""
    _add_compress(commands.add_parser("compress", help="pictures to .rae files"))
    _add_decompress(commands.add_parser("decompress", help=".rae files to pictures"))
    _add_info(commands.add_parser("info", help="what is in a .rae file"))


def _add_compress(parser: argparse.ArgumentParser) -> None:
    add_conversion(parser, "the .rae file")
    add_encoding(parser)
    parser.set_defaults(command=_compress, refuse=parser.error)


def _compress(parsed: argparse.Namespace) -> int:
    from residae.image import SUFFIXES
    from residae.image.process import DecoderProcess

    def convert(pipeline: "Pipeline", job: Job, progress: "Progress") -> Result:
        picture = open_picture(decoder, job.source, parsed.crop)
        print_notices(job.source, picture, parsed.color)
        encoding, compressed = encode(pipeline, picture, parsed, progress)
        pixels = encoding.width * encoding.height
        return Result(compressed.data, describe(encoding, compressed), pixels, len(compressed.data))

    check_scale(parsed)
    with closing(DecoderProcess()) as decoder:
        return convert_files(parsed, Formats(SUFFIXES, [RAE]), convert)


def _add_decompress(parser: argparse.ArgumentParser) -> None:
    add_conversion(parser, "the picture, in the format of its suffix")
    parser.set_defaults(command=_decompress)


def _decompress(parsed: argparse.Namespace) -> int:
    from residae.image import WRITTEN, write_picture

    def convert(pipeline: "Pipeline", job: Job, progress: "Progress") -> Result:
        info, decoding = pipeline.read(read_file(job.source), progress)
        data = write_picture(decoding.pixels, job.output.suffix)
        description = f"{info.width} x {info.height}, {'color' if info.color else 'gray'}"
        return Result(data, description, info.width * info.height, info.file_bytes)

    return convert_files(parsed, Formats([RAE], [*WRITTEN]), convert)


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
