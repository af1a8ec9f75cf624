"""What programs can call by name: with gradio_client, over HTTP, and as MCP tools.

The same can be asked for as on the command line, in the same words. An MCP client reads the descriptions of endpoints
and parameters. It sends files as `data:` URLs, because the guard does not let the server fetch them from other servers.
"""

import html
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.context import LocalContext

from residae import heatmaps, options
from residae.codec import Compressed, read_info
from residae.compare import AVIF, BEST_SPEED, compare_at_equal_bytes, with_best_speed
from residae.edit import Edits, channel_gains, edit_picture
from residae.errors import ResidaeError
from residae.geometry import MAX_SCALE, MIN_SCALE, Scale
from residae.image import CropBox, Picture, write_png
from residae.metrics import bits_per_pixel
from residae.pipeline import Encoding, Pipeline, Reconstruction, network_pixels
from residae.progress import Progress, split
from residae.quality import DEFAULT_QUALITY, MAX_QUALITY
from residae.ui.budget import file_work
from residae.ui.cache import open_at_size
from residae.ui.components import NETWORK_EVENT
from residae.ui.refinement import MAX_STEPS
from residae.ui.store import default_checkpoint, get_pipeline, read_upload, save_result
from residae.ui.work import Priority, Stopped, Work

PUBLIC_EVENT = NETWORK_EVENT | {"api_visibility": "public"}


@dataclass(frozen=True)
class Options:
    """What is asked for of a picture: the values of the parameters, which `PARAMETERS` describes."""

    picture: str
    color: bool = True
    quality: float = DEFAULT_QUALITY
    max_bytes: int = 0
    side: int = 0
    refine: int = 0
    scale: str = ""
    crop: str = ""
    unquantized: bool = False
    mute: str = ""
    solo: str = ""
    gain: str = ""
    step: float = 0.0
    noise: float = 0.0
    blend: str | None = None
    blend_share: float = 0.5
    signed: bool = False
    map_scale: float = 0.0
    slow_avif: bool = False

    def read_scale(self) -> Scale:
        """The scale; chosen by the size of the file where one is given, unless it says otherwise.

        Raises:
            ResidaeError: The text is not a scale, or is auto without `max_bytes`.
        """
        if not self.scale:
            return "auto" if self.max_bytes else 1.0
        scale = options.scale(self.scale)
        if scale == "auto" and not self.max_bytes:
            raise ResidaeError("The scale auto goes by the size of the file: give max_bytes.")
        return scale

    def read_edits(self, channels: int) -> Edits:
        """The edits of a latent with so many channels.

        Raises:
            ResidaeError: A text has no meaning, or names a channel that the latent does not have.
        """
        mute, solo = (options.channels(text) if text else [] for text in (self.mute, self.solo))
        gains = channel_gains(channels, mute, solo, options.gains(self.gain) if self.gain else {})
        return Edits(gains, self.blend_share if self.blend else 0.0, self.step, self.noise)

    def open(self) -> Picture:
        """The picture, or the part of it, at the size to work at.

        Raises:
            OptionError: The text of the part has another form.
            ImageError: The picture cannot be opened, is over a limit, or does not contain the part.
        """
        box = CropBox(*options.crop(self.crop)) if self.crop else None
        return open_at_size(self.picture, self.side, box)


@dataclass(frozen=True)
class RaeFile:
    """What is asked for of a `.rae` file."""

    file: str


DEVIATIONS = "in standard deviations of each channel; 0 for none"
PARAMETERS: dict[str, tuple[Callable[..., Any], dict[str, Any], str]] = {  # component, its options, and description
    "picture": (gr.File, {}, "Picture file; from an MCP client, a data: URL of up to 700 kB."),
    "file": (gr.File, {}, "A .rae file made with this checkpoint; from an MCP client, a data: URL of up to 700 kB."),
    "color": (gr.Checkbox, {}, "Whether to keep color, if any pixel has it; otherwise only luma is kept."),
    "quality": (
        gr.Number,
        {"minimum": 0, "maximum": MAX_QUALITY},
        f"Quality of the file, 0 to {MAX_QUALITY}; not used with max_bytes.",
    ),
    "max_bytes": (gr.Number, {"minimum": 0, "precision": 0}, "Size that the file must not exceed; 0 for no limit."),
    "side": (gr.Number, {"minimum": 0, "precision": 0}, "Long side in pixels to reduce the picture to; 0 for its own."),
    "refine": (
        gr.Number,
        {"minimum": 0, "maximum": MAX_STEPS, "precision": 0},
        f"Steps in which the file is optimized for the picture, 0 to {MAX_STEPS}; each takes as long as a few decodes.",
    ),
    "scale": (
        gr.Textbox,
        {},
        f"Factor by which the picture is resampled before it is encoded, {MIN_SCALE:g} to {MAX_SCALE:g}; or auto, with "
        "max_bytes: the one that keeps most. Empty for auto with max_bytes, else 1.",
    ),
    "crop": (gr.Textbox, {}, "Part of the picture to work on, as WxH+X+Y in its pixels, such as 640x480+100+0."),
    "unquantized": (gr.Checkbox, {}, "Whether to decode the latent as the encoder gives it, without a file."),
    "mute": (gr.Textbox, {}, "Channels of the latent to mute, such as 3,7; they count from 1."),
    "solo": (gr.Textbox, {}, "Channels of the latent to keep, such as 3,7, while all others are muted."),
    "gain": (gr.Textbox, {}, "Factors of the deviations of channels from their means, such as 3=0.5,7=2."),
    "step": (gr.Number, {"minimum": 0}, f"Step to whose multiples the latent is rounded, {DEVIATIONS}."),
    "noise": (gr.Number, {"minimum": 0}, f"Gaussian noise that is added to the latent, {DEVIATIONS}."),
    "blend": (gr.File, {}, "Picture whose latent is blended in, if any."),
    "blend_share": (gr.Number, {"minimum": 0, "maximum": 1}, "Share of the picture that is blended in, 0 to 1."),
    "signed": (gr.Checkbox, {}, "Whether to map the signed error of luma: blue is too dark, orange too bright."),
    "map_scale": (
        gr.Number,
        {"minimum": 0},
        "Error in gray levels at which the map saturates; 0 for one that 99 % of the pixels do not exceed.",
    ),
    "slow_avif": (
        gr.Checkbox,
        {},
        f"Whether {AVIF} encodes a picture of up to a megapixel again at speed {BEST_SPEED}, its slowest and best, and "
        "the better result is returned. It takes much longer.",
    ),
}
PICTURE = ("picture", "color", "quality")
ENCODING = ("side", "refine", "max_bytes", "scale", "crop")
EDITING = ("unquantized", "mute", "solo", "gain", "step", "noise", "blend", "blend_share")


def add_endpoints() -> None:
    """Add the endpoints, with the default checkpoint, as invisible components."""
    defaults = {field.name: field.default for field in fields(Options) if field.default is not MISSING}
    with gr.Column(visible=False):
        components = {  # a value makes it optional
            name: _typed(name, component(defaults.get(name), label=description, **settings))
            for name, (component, settings, description) in PARAMETERS.items()
        }
        png, rae = gr.File(label="The reconstruction, as PNG"), gr.File(label="The .rae file")
        maps = [gr.File(label="The map of the error, as PNG"), gr.File(label="The channels of luma, as PNG")]
        figures, table = gr.JSON(label="Figures"), gr.JSON(label="One entry for each codec")
        for function, parameters, outputs in (
            (reconstruct, (*PICTURE, *ENCODING, *EDITING), [png, figures]),
            (map_error, (*PICTURE, *ENCODING, *EDITING, "signed", "map_scale"), [*maps, figures]),
            (compress, (*PICTURE, "max_bytes", "side", "refine", "scale", "crop"), [rae, figures]),
            (decompress, ("file",), [png, figures]),
            (compare, (*PICTURE, *ENCODING, "slow_avif"), [table]),
        ):
            inputs, handler = [components[name] for name in parameters], _as_handler(function, parameters)
            gr.Button().click(handler, inputs, outputs, api_name=function.__name__, **PUBLIC_EVENT)


def reconstruct(work: Work, wanted: Options) -> tuple[str, dict[str, Any]]:
    """Compress a picture, edit its latent if asked to, decode it, and measure the difference.

    Args:
        work: It is charged, and reports the progress.
        wanted: The picture, its encoding, and edits.

    Returns:
        The path of a PNG, and by name the size in pixels and bytes, rate, settings, PSNR (dB), SSIM and sentences.

    Raises:
        ResidaeError: A value has no meaning, a file cannot be opened or made, or it is more than the page allows.
    """
    report, compressed = _reconstruct(work, wanted)
    return save_result(write_png(report.decoding.pixels), "reconstruction.png"), _figures(report, compressed)


def map_error(work: Work, wanted: Options) -> tuple[str, str, dict[str, Any]]:
    """Do what reconstruct does, and return a map of the error and a picture of all channels of the latent.

    Args:
        work: As in `reconstruct`.
        wanted: The same, the kind of the map and its scale.

    Returns:
        The paths of two PNG files, and the figures of `reconstruct` with the scale of the map in gray levels.

    Raises:
        ResidaeError: As `reconstruct`.
    """
    report, compressed = _reconstruct(work, wanted)
    pair = report.original, report.decoding.pixels
    scale = wanted.map_scale or heatmaps.error_scale(*pair)
    pipeline = get_pipeline(default_checkpoint())
    latent = pipeline.stored(report.encoding, report.compressed).latents[0]
    return (
        save_result(write_png(heatmaps.error_map(*pair, wanted.signed, scale)), "error.png"),
        save_result(write_png(heatmaps.mosaic(heatmaps.latent_tiles(latent))), "channels.png"),
        _figures(report, compressed) | {"map_scale": scale},
    )


def compress(work: Work, wanted: Options) -> tuple[str, dict[str, Any]]:
    """Compress a picture to a .rae file: at a quality, or as well as it can within a size.

    Args:
        work: As in `reconstruct`.
        wanted: The picture and its encoding.

    Returns:
        The path of the file, and by name the size in pixels and bytes, rate and settings.

    Raises:
        ResidaeError: As `reconstruct`.
    """
    opened, pipeline, scale = wanted.open(), get_pipeline(default_checkpoint()), wanted.read_scale()
    _charge(work, pipeline, opened, wanted, decodes=0)
    encoding, file = pipeline.encode_and_write(
        opened,
        wanted.color,
        wanted.quality,
        scale,
        max_bytes=wanted.max_bytes or None,
        refine=wanted.refine,
        progress=work,
    )
    return save_result(file.data, "picture.rae"), _file_figures(encoding, file)


def decompress(work: Work, wanted: RaeFile) -> tuple[str, dict[str, Any]]:
    """Decompress a .rae file.

    Args:
        work: As in `reconstruct`.
        wanted: The path of the file.

    Returns:
        The path of a PNG, and the fields of `FileInfo` by name.

    Raises:
        ResidaeError: The file is damaged or was made with another checkpoint, or it is more than the page allows.
    """
    data, pipeline = read_upload(wanted.file), get_pipeline(default_checkpoint())
    work.charge(file_work(read_info(data)), pipeline.engine.on_gpu)
    info, decoding = pipeline.read(data, work)
    return save_result(write_png(decoding.pixels), "picture.png"), asdict(info)


def compare(work: Work, wanted: Options) -> list[dict[str, Any]]:
    """Compare the network with JPEG, WebP, AVIF, JPEG 2000 and JPEG XL at equal bytes.

    The figures are PSNR, SSIM, MS-SSIM and SSIMULACRA2. A codec that cannot make a file this small has none;
    an exact copy has bytes, and no PSNR.

    Args:
        work: As in `reconstruct`.
        wanted: The picture, its encoding, and whether AVIF encodes it again.

    Returns:
        The rows of a `Comparison`, ours first.

    Raises:
        ResidaeError: As `reconstruct`.
    """
    work.priority = Priority.BACKGROUND  # so that the speed of the network is not learned from other codecs
    reconstructing, comparing, improving = split(work, 1, 1, 4 if wanted.slow_avif else 0)
    report, file = _reconstruct(work, wanted, reconstructing)
    assert file
    comparison = compare_at_equal_bytes(report.original, file, report.decoding, comparing)
    if wanted.slow_avif:
        work.give_way()  # what follows is long, and without the network
        comparison = with_best_speed(comparison, improving)
    return comparison.rows()


def _reconstruct(
    work: Work, wanted: Options, progress: Progress | None = None
) -> tuple[Reconstruction, Compressed | None]:
    """The picture from its latent, edited if asked to, and the file without edits."""
    if wanted.unquantized and (wanted.max_bytes or wanted.refine):
        raise ResidaeError("An unquantized latent makes no file: leave out max_bytes and refine.")
    opened, pipeline, scale = wanted.open(), get_pipeline(default_checkpoint()), wanted.read_scale()
    edits = wanted.read_edits(pipeline.latent_channels)
    other = open_at_size(wanted.blend, max(opened.width, opened.height)) if wanted.blend else None
    _charge(work, pipeline, opened, wanted, encodes=2 if other else 1)
    quality, most = (None, None) if wanted.unquantized else (wanted.quality, wanted.max_bytes or None)
    settings: dict[str, Any] = {
        "scale": scale,
        "refine": wanted.refine,
        "max_bytes": most,
        "progress": progress or work,
    }
    if edits:
        return edit_picture(pipeline, opened, wanted.color, edits, other, quality=quality, **settings)
    report = pipeline.reconstruct(opened, wanted.color, quality, **settings)
    return report, report.compressed


def _charge(work: Work, pipeline: Pipeline, picture: Picture, wanted: Options, **passes: int) -> None:
    """Check that there is a share left for encoding and decoding the picture so many times."""
    scale, size, most = wanted.read_scale(), (picture.height, picture.width), wanted.max_bytes
    color = picture.keeps_color(wanted.color)
    pixels = network_pixels(*size, color, scale, max_bytes=most, refine=wanted.refine, **passes)
    work.charge(pixels, pipeline.engine.on_gpu)


def _figures(report: Reconstruction, compressed: Compressed | None) -> dict[str, Any]:
    distortion = {"psnr": report.psnr, "ssim": report.ssim}
    where = heatmaps.where_error(report.original, report.decoding.pixels)
    notes = {"error": where, "notices": list(report.notices)}
    return _file_figures(report.encoding, compressed) | distortion | notes


def _file_figures(encoding: Encoding, compressed: Compressed | None) -> dict[str, Any]:
    """Size and settings of a file; 0 bytes where there is none."""
    size = len(compressed.data) if compressed else 0
    return {
        "width": encoding.width,
        "height": encoding.height,
        "bytes": size,
        "bits_per_pixel": bits_per_pixel(size, encoding.width, encoding.height),
        "quality": compressed.quality if compressed else None,
        "scale": encoding.scale,
    }


def _typed(name: str, component: Component) -> Component:
    """The component of a parameter, which takes a number or a truth value as such alone.

    Gradio would compare a text with the bounds, which is an error in the log and none to the caller, and take the text
    "false" for true.
    """
    kinds: dict[type[Component], tuple[tuple[type, ...], str]] = {
        gr.Number: ((int, float), "a number"),
        gr.Checkbox: ((bool,), "true or false"),
    }
    if type(component) not in kinds:
        return component
    (types, kind), preprocess = kinds[type(component)], component.preprocess

    def check(payload: Any) -> Any:
        if payload is not None and type(payload) not in types:  # a truth value is no number
            raise _error(f"{name} is {kind}, not {json.dumps(payload)}.")
        return preprocess(payload)

    component.preprocess = check  # type: ignore[method-assign]
    return component


def _error(sentence: str) -> gr.Error:
    """An error that reaches the caller. A page would show it as HTML; programs show its quotes as they are."""
    return gr.Error(html.escape(sentence, quote=False), print_exception=False)


def _as_handler(function: Callable[[Work, Any], Any], parameters: Sequence[str]) -> Callable[..., Any]:
    """A function of a piece of work and Options or a RaeFile as Gradio calls it, with the values of these parameters.

    A ResidaeError reaches the caller as its message.
    """
    kind = inspect.get_annotations(function)["wanted"]
    described = inspect.signature(kind).parameters

    def call(*values: Any) -> Any:
        given = dict(zip(parameters, values, strict=True))
        for name, value in given.items():
            if value is None and described[name].default is not None:
                raise _error(f"A value is missing: {name}.")
        request = LocalContext.request.get()
        assert request  # Gradio sets it for each event
        try:
            with Work(request, advice="a smaller picture, or fewer steps of refinement") as work:
                return function(work, kind(**given))
        except ResidaeError as error:
            raise _error(str(error)) from error
        except Stopped as error:
            raise _error("The work was stopped.") from error

    description = str(inspect.getdoc(function)).partition("\n\nArgs:\n")[0]  # its Args are those of `function`
    lines = [f"    {name}: {PARAMETERS[name][2]}" for name in parameters]
    call.__name__, call.__doc__ = function.__name__, "\n".join([description, "", "Args:", *lines])
    call.__signature__ = inspect.Signature([described[name] for name in parameters])  # type: ignore[attr-defined]
    return call
