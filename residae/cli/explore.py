"""Commands that show what the page shows: reconstruct, with edits of the latent and maps, and compare."""

import argparse
import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residae import options
from residae.cli import arguments
from residae.cli.encoding import (
    add_encoding,
    check_scale,
    describe,
    encode,
    open_picture,
    print_notices,
)
from residae.distributed import Processes
from residae.errors import ResidaeError
from residae.files import STREAM, check_target, is_same_file, is_standard_output, write_file
from residae.progress import Progress, split

if TYPE_CHECKING:
    from residae.codec import Compressed
    from residae.edit import Edits
    from residae.pipeline import Reconstruction

BLEND_SHARE = 0.5


def add_commands(commands: "arguments.Commands") -> None:
    """Add the parsers of these commands."""
    _add_reconstruct(commands.add_parser("reconstruct", help="what is left of a picture, with edits and maps"))
    _add_compare(commands.add_parser("compare", help="one picture by all codecs at equal bytes"))


def _add_reconstruct(parser: argparse.ArgumentParser) -> None:
    _add_picture(parser)
    rate = add_encoding(parser)
    rate.add_argument("--unquantized", action="store_true", help="decode the latent as it is, without a file")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="write the picture; - for a PNG on the output")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    maps = parser.add_argument_group("maps")
    maps.add_argument("--error-map", type=Path, metavar="FILE", help="write a map of the error")
    maps.add_argument("--signed", action="store_true", help="map the signed error of luma: blue dark, orange bright")
    maps.add_argument(
        "--map-scale",
        type=arguments.positive(float),
        metavar="LEVELS",
        help="error in gray levels at which the map saturates (default: one that 99 %% of the pixels do not exceed)",
    )
    maps.add_argument("--channel-map", type=Path, metavar="FILE", help="write the channels of luma, side by side")
    edits = parser.add_argument_group("edits", "of the latent that is decoded, in this order; channels count from 1")
    edits.add_argument("--blend", type=Path, metavar="PICTURE", help="blend in the latent of another picture")
    edits.add_argument(
        "--blend-share", type=arguments.share, metavar="S", help=f"its share, 0 to 1 (default: {BLEND_SHARE:g})"
    )
    channels = edits.add_mutually_exclusive_group()
    numbers = arguments.option(options.channels)
    channels.add_argument("--mute", type=numbers, default=[], metavar="N,...", help="mute these channels")
    channels.add_argument("--solo", type=numbers, default=[], metavar="N,...", help="mute all channels but these")
    edits.add_argument(
        "--gain",
        type=arguments.option(options.gains),
        default={},
        metavar="N=G,...",
        help="multiply the deviations of channel N from its mean by G",
    )
    unit = "standard deviations of each channel"
    edits.add_argument(
        "--step", type=arguments.positive(float), default=0.0, metavar="S", help=f"round to multiples of S {unit}"
    )
    edits.add_argument(
        "--noise", type=arguments.positive(float), default=0.0, metavar="S", help=f"add Gaussian noise of S {unit}"
    )
    parser.set_defaults(command=_reconstruct, refuse=parser.error)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    _add_picture(parser)
    add_encoding(parser)
    parser.add_argument(
        "--slow-avif",
        action="store_true",
        help="let AVIF encode a picture of up to a megapixel again at its slowest and best speed",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="write the picture of each codec as PNG")
    arguments.add_json(parser)
    parser.set_defaults(command=_compare, refuse=parser.error)


def _add_picture(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("picture", type=Path, metavar="IN", help="a picture, or - for standard input")
    arguments.add_checkpoint(parser)
    arguments.add_dtype(parser)
    arguments.add_device(parser)


def _reconstruct(parsed: argparse.Namespace) -> None:
    from residae import heatmaps
    from residae.edit import edit_picture
    from residae.image import WRITTEN, write_picture
    from residae.image.process import DecoderProcess

    check_scale(parsed)
    if parsed.unquantized and parsed.refine:
        parsed.refuse("files are refined, and --unquantized makes none")
    if (parsed.signed or parsed.map_scale is not None) and not parsed.error_map:
        parsed.refuse("--signed and --map-scale need --error-map FILE")
    if parsed.blend_share is not None and not parsed.blend:
        parsed.refuse("--blend-share needs --blend PICTURE")
    outputs = [path for path in (parsed.output, parsed.error_map, parsed.channel_map) if path]
    _check_targets(outputs, filter(None, (parsed.picture, parsed.blend)), parsed.force)
    for path in outputs:
        arguments.check_suffix(path, [*WRITTEN])
    pipeline = arguments.open_pipeline(parsed, Processes(device=parsed.device))
    with closing(DecoderProcess()) as decoder:
        picture = open_picture(decoder, parsed.picture, parsed.crop)
        blended = open_picture(decoder, parsed.blend) if parsed.blend else None
    edits, color = _edits(parsed, pipeline.latent_channels), picture.keeps_color(parsed.color)
    settings: dict[str, Any] = {name: getattr(parsed, name) for name in ("scale", "target_bpp", "max_bytes", "refine")}
    quality = None if parsed.unquantized else parsed.quality
    with _progress() as progress:
        report, compressed = edit_picture(
            pipeline, picture, color, edits, blended, quality=quality, **settings, progress=progress
        )
    pictures = [report.decoding.pixels] if parsed.output else []
    with arguments.text_beside(outputs):
        print_notices(parsed.picture, picture, parsed.color)
        _print_figures(report, compressed)
        if parsed.error_map:
            pair = report.original, report.decoding.pixels
            scale = parsed.map_scale or heatmaps.error_scale(*pair)
            pictures.append(heatmaps.error_map(*pair, parsed.signed, scale))
            print(f"map         saturates at an error of {scale:g} gray levels")
    if parsed.channel_map:
        pictures.append(heatmaps.mosaic(heatmaps.latent_tiles(report.encoding.latents[0])))
    for path, pixels in zip(outputs, pictures, strict=True):
        write_file(path, write_picture(pixels, path.suffix))


def _edits(parsed: argparse.Namespace, channels: int) -> "Edits":
    """The edits that were asked for, of a latent with so many channels."""
    from residae.edit import Edits, channel_gains

    share = 0.0
    if parsed.blend:
        share = BLEND_SHARE if parsed.blend_share is None else parsed.blend_share
    gains = channel_gains(channels, parsed.mute, parsed.solo, parsed.gain)
    return Edits(gains, share, parsed.step, parsed.noise)


def _print_figures(report: "Reconstruction", compressed: "Compressed | None") -> None:
    from residae.heatmaps import where_error

    encoding = report.encoding
    print(f"picture     {encoding.width} x {encoding.height}, {'color' if len(encoding.latents) == 3 else 'gray'}")
    if compressed:
        print(f"file        {describe(encoding, compressed)}")
    print(f"PSNR        {report.psnr:.2f} dB")
    print(f"SSIM        {_cell(report.ssim)}")
    print(f"error       {where_error(report.original, report.decoding.pixels)}")


def _compare(parsed: argparse.Namespace) -> None:
    from residae.baselines import CODECS
    from residae.compare import OURS, compare_at_equal_bytes, with_best_speed
    from residae.image import write_png
    from residae.image.process import DecoderProcess
    from residae.pipeline import reference

    check_scale(parsed)
    files = {}
    if parsed.output:
        files = {name: parsed.output / f"{name.lower().replace(' ', '-')}.png" for name in (OURS, *CODECS)}
    _check_targets([*files.values(), *([parsed.json] if parsed.json else [])], [parsed.picture], parsed.force)
    pipeline = arguments.open_pipeline(parsed, Processes(device=parsed.device))
    with closing(DecoderProcess()) as decoder:
        picture = open_picture(decoder, parsed.picture, parsed.crop)
    with _progress() as progress:
        parts = split(progress, 2, 1, 5, 20 if parsed.slow_avif else 0)
        encoding, compressed = encode(pipeline, picture, parsed, parts[0])
        decoding = pipeline.decode(pipeline.stored(encoding, compressed), parts[1])
        original = reference(picture, len(encoding.latents) == 3)
        comparison = compare_at_equal_bytes(original, compressed, decoding, parts[2])
        if parsed.slow_avif:
            comparison = with_best_speed(comparison, parts[3])
    with arguments.text_beside([parsed.json]):
        print_notices(parsed.picture, picture, parsed.color)
        names = ("bytes", "bpp", "PSNR", "SSIM", "MS-SSIM", "SSIMULACRA2")
        print(f"{'codec':<18}" + "".join(f"{name:>12}" for name in names))
        for result in comparison.results:
            cells = "".join(f"{_cell(value):>12}" for value in result.figures().values())
            print(f"{f'{result.name} {result.effort}':<18}{cells}")
    for result in comparison.results:
        if files and result.pixels is not None:
            write_file(files[result.name], write_png(result.pixels))
    if parsed.json:
        write_file(parsed.json, json.dumps(comparison.rows()).encode())


def _cell(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _check_targets(paths: Sequence[Path], inputs: Iterable[Path], force: bool) -> None:
    """Refuse before any work what cannot be written, and a name that is that of an input or of another result."""
    for path, source in itertools.product(paths, inputs):
        if is_same_file(path, source):
            raise ResidaeError(f"{path} is an input: give the result another name.")
    for path in paths:
        check_target(path, force)
    if len({STREAM if is_standard_output(path) else os.path.realpath(path) for path in paths}) < len(paths):
        raise ResidaeError("Two results would have the same name: give each its own.")


@contextmanager
def _progress() -> Iterator[Progress]:
    """Draw a bar of the share that is done, if standard error is a terminal."""
    from tqdm import tqdm

    with tqdm(total=1.0, disable=None, leave=False, bar_format="{percentage:.0f} %|{bar}| {remaining}") as bar:
        yield lambda share: bar.update(share - bar.n)
