"""What programs may call, by name: with gradio_client, over HTTP, and as MCP tools.

The docstrings of the four are what an MCP client reads. Its pictures come as `data:` URLs: the guard in front of the
page lets nothing be fetched from elsewhere.
"""

import functools
import html
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import gradio as gr

from residae.compare import compare as codecs_at_equal_bytes
from residae.errors import ResidaeError
from residae.image import write_png
from residae.metrics import bits_per_pixel
from residae.pipeline import Reconstruction
from residae.ui.cache import DEFAULT_QUALITY, open_at_size
from residae.ui.components import MODEL
from residae.ui.store import default_checkpoint, get_pipeline, read_upload, save_result


def add_endpoints() -> None:
    """/reconstruct, /compress, /decompress and /compare, with the default checkpoint; nothing of them is seen."""
    with gr.Column(visible=False):
        picture = gr.File(label="Picture: PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or JPEG 2000")
        rae = gr.File(label="A .rae file")
        color = gr.Checkbox(value=True, label="Color; without it luma alone")
        quality = gr.Number(DEFAULT_QUALITY, label="Quality, 0 to 100", minimum=0, maximum=100)
        side = gr.Number(0, label="Long side worked at, px; 0 for all of it", minimum=0, precision=0)
        budget = gr.Number(0, label="At most so many bytes; 0 for the quality", minimum=0, precision=0)
        png, file = gr.File(label="The reconstruction, as PNG"), gr.File(label="The .rae file")
        figures, table = gr.JSON(label="Figures"), gr.JSON(label="One entry for each codec")
        for function, inputs, outputs in (
            (reconstruct, [picture, color, quality, side], [png, figures]),
            (compress, [picture, color, quality, budget, side], [file, figures]),
            (decompress, [rae], [png, figures]),
            (compare, [picture, color, quality, side], [table]),
        ):
            gr.Button().click(_with_sentences(function), inputs, outputs, api_name=function.__name__, **PUBLIC)


PUBLIC = MODEL | {"api_visibility": "public"}


def reconstruct(
    picture: str, color: bool = True, quality: float = DEFAULT_QUALITY, side: int = 0
) -> tuple[str, dict[str, Any]]:
    """Send a picture through the network and back, by way of a file of that quality.

    Args:
        picture: Picture to reconstruct; as an MCP tool's argument, a data: URL of up to 700 kB.
        color: In color, or its luma alone.
        quality: Quality of the file in between, 0 to 100.
        side: Long side to work at in pixels; 0 for the picture's own.
    """
    report = _examined(picture, color, quality, side)
    return save_result(write_png(report.decoding.pixels), "reconstruction.png"), _figures(report)


def compress(
    picture: str, color: bool = True, quality: float = DEFAULT_QUALITY, max_bytes: int = 0, side: int = 0
) -> tuple[str, dict[str, Any]]:
    """Compress a picture to a .rae file.

    Args:
        picture: Picture to compress; as an MCP tool's argument, a data: URL of up to 700 kB.
        color: In color, or its luma alone.
        quality: Quality of the file, 0 to 100; not used with `max_bytes`.
        max_bytes: The best file that is no larger; 0 for `quality`.
        side: Long side to work at in pixels; 0 for the picture's own.
    """
    pipeline = get_pipeline(default_checkpoint())
    encoding = pipeline.encode(open_at_size(picture, side), color)
    file = pipeline.write_within(encoding, max_bytes) if max_bytes else pipeline.write(encoding, quality)
    size, rate = len(file.data), bits_per_pixel(len(file.data), encoding.width, encoding.height)
    figures = {"bytes": size, "bits_per_pixel": rate, "quality": file.quality}
    return save_result(file.data, "picture.rae"), {"width": encoding.width, "height": encoding.height, **figures}


def decompress(file: str) -> tuple[str, dict[str, Any]]:
    """Rebuild the picture in a .rae file.

    Args:
        file: What `compress` has made with this checkpoint; as an MCP tool's argument, a data: URL of up to 700 kB.
    """
    info, decoding = get_pipeline(default_checkpoint()).read(read_upload(file))
    return save_result(write_png(decoding.pixels), "picture.png"), asdict(info)


def compare(picture: str, color: bool = True, quality: float = DEFAULT_QUALITY, side: int = 0) -> list[dict[str, Any]]:
    """The network, JPEG, WebP, AVIF and JPEG 2000 at the bytes of the network's file: sizes, PSNR, SSIM and MS-SSIM.

    A codec that cannot keep the picture in so few has no figures.

    Args:
        picture: Picture to compare on; as an MCP tool's argument, a data: URL of up to 700 kB.
        color: In color, or its luma alone.
        quality: Quality of the network's file, 0 to 100.
        side: Long side to work at in pixels; 0 for the picture's own.
    """
    report = _examined(picture, color, quality, side)
    first = next(codecs_at_equal_bytes(get_pipeline(default_checkpoint()), report))
    return [
        {"codec": c.name}
        if c.pixels is None
        else {"codec": c.name, "bytes": c.bytes, "psnr": c.psnr, "ssim": c.ssim, "ms_ssim": c.ms_ssim}
        for c in first.results
    ]


def _examined(picture: str, color: bool, quality: float, side: int) -> Reconstruction:
    return get_pipeline(default_checkpoint()).reconstruct(open_at_size(picture, side), color, quality)


def _figures(report: Reconstruction) -> dict[str, Any]:
    size, encoding = len(report.compressed.data) if report.compressed else 0, report.encoding
    rate = bits_per_pixel(size, encoding.width, encoding.height)
    measured = {"bytes": size, "bits_per_pixel": rate, "psnr": report.psnr, "ssim": report.ssim}
    return {"width": encoding.width, "height": encoding.height, **measured, "notices": list(report.notices)}


def _with_sentences(function: Callable[..., Any]) -> Callable[..., Any]:
    """An error that the caller can act on reaches it as a sentence."""

    @functools.wraps(function)
    def call(*values: Any) -> Any:
        if None in values:
            missing = "A file" if values[0] is None else "A value"
            raise gr.Error(f"{missing} is missing.", print_exception=False)
        try:
            return function(*values)
        except ResidaeError as error:
            raise gr.Error(html.escape(str(error)), print_exception=False) from error

    return call
