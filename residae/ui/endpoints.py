"""What programs can call by name: with gradio_client, over HTTP, and as MCP tools.

An MCP client reads the docstrings of the four functions. It sends files as `data:` URLs, because the guard does not let
the server fetch files from other servers.
"""

import functools
import html
import inspect
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from typing import Any

import gradio as gr
from gradio.context import LocalContext

from residae.codec import read_info
from residae.compare import compare as compare_codecs
from residae.errors import ResidaeError
from residae.image import write_png
from residae.metrics import bits_per_pixel
from residae.pipeline import Reconstruction
from residae.progress import between
from residae.quality import DEFAULT_QUALITY, MAX_QUALITY
from residae.ui.budget import file_work, network_pixels
from residae.ui.cache import MAX_STEPS, open_at_size
from residae.ui.components import NETWORK_EVENT
from residae.ui.store import default_checkpoint, get_pipeline, read_upload, save_result
from residae.ui.work import Stopped, Work


def add_endpoints() -> None:
    """Add /reconstruct, /compress, /decompress and /compare, with the default checkpoint, as invisible components."""
    with gr.Column(visible=False):
        picture = gr.File(label="Picture: PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or JPEG 2000")
        rae = gr.File(label="A .rae file")
        color = gr.Checkbox(value=True, label="Color; otherwise luma only")
        quality = gr.Number(DEFAULT_QUALITY, label=f"Quality, 0 to {MAX_QUALITY}", minimum=0, maximum=MAX_QUALITY)
        side = gr.Number(0, label="Working size: long side in px; 0 for full size", minimum=0, precision=0)
        budget = gr.Number(0, label="Largest file in bytes; 0 to use the quality", minimum=0, precision=0)
        refine = gr.Number(0, label="Steps of refinement", minimum=0, maximum=MAX_STEPS, precision=0)
        png, file = gr.File(label="The reconstruction, as PNG"), gr.File(label="The .rae file")
        figures, table = gr.JSON(label="Figures"), gr.JSON(label="One entry for each codec")
        for function, inputs, outputs in (
            (reconstruct, [picture, color, quality, side, refine], [png, figures]),
            (compress, [picture, color, quality, budget, side, refine], [file, figures]),
            (decompress, [rae], [png, figures]),
            (compare, [picture, color, quality, side], [table]),
        ):
            gr.Button().click(_as_handler(function), inputs, outputs, api_name=function.__name__, **PUBLIC_EVENT)


PUBLIC_EVENT = NETWORK_EVENT | {"api_visibility": "public"}


def reconstruct(
    work: Work, picture: str, color: bool = True, quality: float = DEFAULT_QUALITY, side: int = 0, refine: int = 0
) -> tuple[str, dict[str, Any]]:
    """Compress a picture, decompress it again, and measure the difference.

    Args:
        picture: Picture file; from an MCP client, a data: URL of up to 700 kB.
        color: Whether to keep color; otherwise only luma is kept.
        quality: Quality of the compressed file, 0 to 100.
        side: Long side in pixels to reduce the picture to first; 0 for full size.
        refine: Steps in which the file is optimized for the picture, 0 to 200; each takes as long as a few decodes.
    """
    report = _report(work, picture, color, quality, side, refine)
    return save_result(write_png(report.decoding.pixels), "reconstruction.png"), _figures(report)


def compress(
    work: Work,
    picture: str,
    color: bool = True,
    quality: float = DEFAULT_QUALITY,
    max_bytes: int = 0,
    side: int = 0,
    refine: int = 0,
) -> tuple[str, dict[str, Any]]:
    """Compress a picture to a .rae file.

    Args:
        picture: Picture file; from an MCP client, a data: URL of up to 700 kB.
        color: Whether to keep color; otherwise only luma is kept.
        quality: Quality of the file, 0 to 100; ignored if `max_bytes` is given.
        max_bytes: Largest size of the file in bytes, at the highest quality that fits; 0 to use `quality`.
        side: Long side in pixels to reduce the picture to first; 0 for full size.
        refine: Steps in which the file is optimized for the picture, 0 to 200; each takes as long as a few decodes.
    """
    opened, pipeline = open_at_size(picture, side, check=work.check), get_pipeline(default_checkpoint())
    pixels = network_pixels(opened.height, opened.width, color, decodes=0, refine=refine)
    work.charge(pixels, pipeline.engine.on_gpu)
    encoding, file = pipeline.encode_and_write(
        opened, color, quality, 1.0, max_bytes=max_bytes or None, refine=refine, progress=work
    )
    size, rate = len(file.data), bits_per_pixel(len(file.data), encoding.width, encoding.height)
    figures = {"bytes": size, "bits_per_pixel": rate, "quality": file.quality}
    return save_result(file.data, "picture.rae"), {"width": encoding.width, "height": encoding.height, **figures}


def decompress(work: Work, file: str) -> tuple[str, dict[str, Any]]:
    """Decompress a .rae file.

    Args:
        file: A file that `compress` made with this checkpoint; from an MCP client, a data: URL of up to 700 kB.
    """
    data, pipeline = read_upload(file), get_pipeline(default_checkpoint())
    work.charge(file_work(read_info(data)), pipeline.engine.on_gpu)
    info, decoding = pipeline.read(data, work)
    return save_result(write_png(decoding.pixels), "picture.png"), asdict(info)


def compare(
    work: Work, picture: str, color: bool = True, quality: float = DEFAULT_QUALITY, side: int = 0
) -> list[dict[str, Any]]:
    """Compare the network with JPEG, WebP, AVIF, JPEG 2000 and JPEG XL at equal bytes: sizes, PSNR, SSIM and MS-SSIM.

    A codec that cannot make a file this small has no figures.

    Args:
        picture: Picture file; from an MCP client, a data: URL of up to 700 kB.
        color: Whether to keep color; otherwise only luma is kept.
        quality: Quality of the network's file, 0 to 100.
        side: Long side in pixels to reduce the picture to first; 0 for full size.
    """
    report = _report(work, picture, color, quality, side)
    with closing(compare_codecs(get_pipeline(default_checkpoint()), report, between(work, 0.5, 1))) as comparisons:
        comparison = next(comparisons)
    return [
        {"codec": c.name}
        if c.pixels is None
        else {"codec": c.name, "bytes": c.bytes, "psnr": c.psnr, "ssim": c.ssim, "ms_ssim": c.ms_ssim}
        for c in comparison.results
    ]


def _report(work: Work, picture: str, color: bool, quality: float, side: int, refine: int = 0) -> Reconstruction:
    opened, pipeline = open_at_size(picture, side, check=work.check), get_pipeline(default_checkpoint())
    work.charge(network_pixels(opened.height, opened.width, color, refine=refine), pipeline.engine.on_gpu)
    return pipeline.reconstruct(opened, color, quality, work, refine=refine)


def _figures(report: Reconstruction) -> dict[str, Any]:
    size, encoding = len(report.compressed.data) if report.compressed else 0, report.encoding
    rate = bits_per_pixel(size, encoding.width, encoding.height)
    distortion = {"bytes": size, "bits_per_pixel": rate, "psnr": report.psnr, "ssim": report.ssim}
    return {"width": encoding.width, "height": encoding.height, **distortion, "notices": list(report.notices)}


def _as_handler(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a piece of work and values as Gradio calls it, with the values alone.

    A ResidaeError reaches the caller as its message.
    """

    @functools.wraps(function)
    def call(*values: Any) -> Any:
        if None in values:
            missing = "A file" if values[0] is None else "A value"
            raise gr.Error(f"{missing} is missing.", print_exception=False)
        request = LocalContext.request.get()
        assert request  # Gradio sets it for each event
        try:
            with Work(request) as work:
                return function(work, *values)
        except ResidaeError as error:
            raise gr.Error(html.escape(str(error)), print_exception=False) from error
        except Stopped as error:
            raise gr.Error("The work was stopped.", print_exception=False) from error

    signature = inspect.signature(function)
    parameters = [parameter for name, parameter in signature.parameters.items() if name != "work"]
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call
