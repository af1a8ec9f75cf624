"""What compress, reconstruct and compare share: opening a picture, and encoding it as their options say."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from residae import options
from residae.cli import arguments
from residae.files import read_file
from residae.quality import DEFAULT_QUALITY, MAX_QUALITY

if TYPE_CHECKING:
    from argparse import _MutuallyExclusiveGroup

    from residae.codec import Compressed
    from residae.image import Picture
    from residae.image.process import DecoderProcess
    from residae.pipeline import Encoding, Pipeline
    from residae.progress import Progress


def add_encoding(parser: argparse.ArgumentParser) -> "_MutuallyExclusiveGroup":
    """Add the options of a picture and its encoding, and return the group of those that choose the size of the file."""
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument(
        "--quality",
        type=arguments.quality,
        default=float(DEFAULT_QUALITY),
        help=f"0 to {MAX_QUALITY} (default: {DEFAULT_QUALITY})",
    )
    rate.add_argument(
        "--target-bpp", type=arguments.positive(float), metavar="B", help="the best within so many bits per pixel"
    )
    rate.add_argument("--max-bytes", type=arguments.positive(int), metavar="N", help="the best within so many bytes")
    parser.add_argument(
        "--scale",
        type=arguments.option(options.scale),
        metavar="S",
        help=f"factor, {arguments.SCALES}, by which the picture is resampled before it is encoded; or auto, with a "
        "limit on the size: the factor that keeps most within it "
        "(default: auto with --target-bpp or --max-bytes, else 1)",
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
    mode.add_argument("--color", action="store_true", default=None, help="(default: unless every pixel is gray)")
    parser.add_argument(
        "--crop",
        type=arguments.option(options.crop),
        metavar="WxH+X+Y",
        help="use only W x H pixels, from column X and row Y on",
    )
    return rate


def check_scale(parsed: argparse.Namespace) -> None:
    """Exit with the usage where a scale is to be chosen by a size that was not given.

    Args:
        parsed: With the arguments of `add_encoding`, and as `refuse` the `error` of the parser.
    """
    if parsed.scale == "auto" and parsed.target_bpp is None and parsed.max_bytes is None:
        parsed.refuse("--scale auto goes by the size of the file: give --target-bpp or --max-bytes")


def open_picture(decoder: "DecoderProcess", path: Path, crop: tuple[int, int, int, int] | None = None) -> "Picture":
    """Open a picture file, or standard input, and cut it.

    Args:
        decoder: The process that opens it.
        path: Path of the file; STREAM for standard input.
        crop: (left, top, width, height) in pixels; None for the whole picture.

    Raises:
        ImageError: The picture cannot be opened, or does not contain the part.
        ResidaeError: The file cannot be read.
    """
    from residae import image

    picture = decoder.open_picture(read_file(path, image.MAX_FILE_BYTES + 1))
    return image.crop(picture, image.CropBox(*crop)) if crop else picture


def print_notices(path: Path, picture: "Picture", color: bool | None) -> None:
    """Print on standard error what is said about a picture.

    Args:
        path: Path of the picture, which begins each line.
        picture: A line is printed for each of its notices.
        color: Whether `--color` or `--gray` was given, of which a gray picture cannot follow the first.
    """
    from tqdm import tqdm

    from residae.pipeline import LUMA_ALONE

    for notice in (*picture.notices, *([LUMA_ALONE] if color and not picture.color else [])):
        tqdm.write(f"{path}: {notice}", file=sys.stderr)


def encode(
    pipeline: "Pipeline", picture: "Picture", parsed: argparse.Namespace, progress: "Progress | None"
) -> "tuple[Encoding, Compressed]":
    """Encode a picture and make its file, as the options of `add_encoding` say.

    Args:
        pipeline: That of the checkpoint and precision that were asked for.
        picture: Already cut, as by `open_picture`.
        parsed: With the arguments of `add_encoding`.
        progress: Called with the share done, in (0, 1]; it may raise to stop the work.

    Raises:
        CodecError: No file is so small.
        ImageError: The picture is over a limit after scaling.
    """
    return pipeline.encode_and_write(
        picture,
        picture.keeps_color(parsed.color),
        parsed.quality,
        parsed.scale,
        parsed.target_bpp,
        parsed.max_bytes,
        progress,
        parsed.refine,
    )


def describe(encoding: "Encoding", compressed: "Compressed") -> str:
    """Size, rate and settings of a file, in words.

    Args:
        encoding: The encoding in the file, which has the size of the picture and the scale.
        compressed: The file.
    """
    from residae.metrics import bits_per_pixel

    size = len(compressed.data)
    rate = bits_per_pixel(size, encoding.width, encoding.height)
    return f"{size:,} bytes, {rate:.3f} bits per pixel, quality {compressed.quality:g}, scale {encoding.scale:g}"
