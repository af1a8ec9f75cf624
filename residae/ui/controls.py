"""The column at the left: which picture, how it is compressed, and what can be done with the result."""

import math
from contextlib import suppress
from typing import Any

import gradio as gr

from residae.errors import ResidaeError
from residae.geometry import Scale
from residae.image import CropBox
from residae.quality import DEFAULT_QUALITY, MAX_QUALITY
from residae.ui.actions import Actions
from residae.ui.cache import CPU_SIDE, EXAMPLES, FULL_SIZE, Settings
from residae.ui.components import alert_bar, example_gallery, number_field, segments, slider
from residae.ui.refinement import CPU_STEPS, GPU_STEPS, RefineCard
from residae.ui.state import CurrentResult
from residae.ui.store import get_pipeline
from residae.ui.text import note, share_kept
from residae.ui.work import Updates

SIDES = [(f"Up to {CPU_SIDE:,} px", CPU_SIDE), ("Full size", FULL_SIZE)]
QUALITY, SIZE, UNQUANTIZED = "quality", "size", "unquantized"
RATES = [("Quality", QUALITY), ("File size", SIZE), ("Unquantized", UNQUANTIZED)]
SCALES = (1, 1.5, 2)
UNQUANTIZED_NOTE = "The decoder gets the numbers as the encoder gives them. There is no file."


class Controls:
    """The column at the left.

    Shows the upload, the examples, the settings and what can be done with a result; an error is shown in `alert`, below
    the upload, or in `size_alert`, below the size of the file. It holds no state. `Page` connects
    its events, which reconstruct the picture that was chosen.
    """

    def __init__(self) -> None:
        with gr.Column(elem_id="source"):
            self.upload = gr.File(label="Drop, paste or choose a picture", elem_id="upload", height=52)
            self.alert = alert_bar("alert")
            self.examples = example_gallery("Or choose an example", "{}", "examples")
        with gr.Column(elem_id="settings"):
            with gr.Column(elem_classes=["card"]):
                self.color = segments([("Color", True), ("Gray", False)], True, "Color mode", "color")
                self.side = segments(SIDES, CPU_SIDE, "Working size", "side")
            with gr.Column(elem_classes=["card"], elem_id="rate-card"):
                self.rate = segments(RATES, QUALITY, "Rate", "rate")
                self.quality = slider(0, MAX_QUALITY, value=DEFAULT_QUALITY, step=1, label="Quality", elem_id="quality")
                self.size = number_field(0, 10**6, value=10, step=0.1, label="At most, kB", elem_id="size")
                gr.HTML(note(UNQUANTIZED_NOTE), elem_id="unquantized")
                self.size_alert = alert_bar("size-alert")
                self.scale = segments(scale_choices(16), 1, "Numbers kept", "scale")
            self.refine = RefineCard()
            with gr.Row(elem_id="actions"):
                self.actions = Actions(
                    {
                        **{"color": self.color, "side": self.side, "scale": self.scale},
                        **{"rate": self.rate, "quality": self.quality, "size": self.size},
                    }
                )
        self.rates: list[Any] = [self.scale, self.rate, self.quality, self.size]
        self.described = [self.scale, self.refine.steps]
        self.settings = [self.color, self.side, *self.rates]

    def restored(self, current: CurrentResult) -> Updates:
        """Set the controls to the settings that a result was made with."""
        return {self.actions.settings[name]: value for name, value in named_settings(current.settings).items()}

    def follow_rate(self, rate: str, scale: Scale, current: CurrentResult | None) -> Updates:
        """Choose the scale automatically for a size of the file, which is that of the current one at first.

        Args:
            rate: QUALITY, SIZE or UNQUANTIZED, as it was just chosen.
            scale: The value of its control.
            current: The result that the page shows; None before the first.

        Returns:
            The scale that goes with the rate, and for SIZE the size.
        """
        if rate == SIZE:
            return {self.scale: "auto", self.size: size_of(current)}
        return {self.scale: 1 if scale == "auto" else gr.skip()}

    def follow_scale(self, rate: str, scale: Scale, current: CurrentResult | None) -> Updates:
        """Go from a quality to a size of the file, without which there is no automatic scale.

        Args:
            rate: The value of its control.
            scale: As it was just chosen.
            current: The result that the page shows; None before the first.

        Returns:
            SIZE and the size if they are needed, else no change.
        """
        if scale == "auto" and rate != SIZE:
            return {self.rate: SIZE, self.size: size_of(current)}
        return {self.rate: gr.skip()}  # the value that was sent may be outdated by now


def read_settings(
    path: str,
    box: CropBox | None,
    checkpoint: str,
    color: bool,
    side: int,
    scale: Scale,
    rate: str,
    quality: float,
    size: float,
) -> Settings:
    """The settings that the controls stand for.

    Args:
        path: Path of the picture file.
        box: The part of the picture to work on; None for the whole picture.
        checkpoint: Name of the checkpoint.
        color: Whether to use chroma as well.
        side: Long side to work at, in pixels; FULL_SIZE for the picture's own.
        scale: The factor to encode at; "auto" to choose it by `size`, which counts as 1 at another rate than SIZE.
        rate: QUALITY, SIZE or UNQUANTIZED.
        quality: 0 to 100, which counts at QUALITY.
        size: Limit in kB, which counts at SIZE; less than a byte counts as one byte.
    """
    return Settings(
        path,
        checkpoint,
        color,
        side,
        1.0 if scale == "auto" and rate != SIZE else scale,  # a link may ask for both
        quality if rate == QUALITY else None,
        max(1, round(1000 * size)) if rate == SIZE else None,
        box,
    )


def named_settings(settings: Settings) -> dict[str, Any]:
    """What the controls stand at for these settings, by the names that links give them."""
    named = {"color": settings.color, "side": settings.side, "scale": settings.scale}
    if settings.max_bytes is not None:
        return named | {"rate": SIZE, "size": settings.max_bytes / 1000}
    if settings.quality is not None:
        return named | {"rate": QUALITY, "quality": settings.quality}
    return named | {"rate": UNQUANTIZED}


def size_of(current: CurrentResult | None) -> Any:
    """The size of the current file in kB, rounded up to tenths; no change if there is none."""
    return math.ceil(len(current.compressed.data) / 100) / 10 if current and current.compressed else gr.skip()


def scale_choices(ratio: float) -> list[tuple[str, Scale]]:
    """The scales, by the share of numbers that is kept, of a network that keeps one of `ratio` at scale 1."""
    return [*((share_kept(ratio, scale), scale) for scale in SCALES), ("Auto", "auto")]


def describe(checkpoint: str) -> tuple[Any, Any]:
    """The scales by the shares of numbers that a checkpoint keeps, and the steps of refinement that are proposed.

    Args:
        checkpoint: A name, as for `get_pipeline`.

    Returns:
        Updates of the two controls; no change if the checkpoint cannot be loaded.
    """
    with suppress(ResidaeError):  # reconstructing a picture meets the same error, and shows it
        pipeline = get_pipeline(checkpoint)
        steps = GPU_STEPS if pipeline.engine.on_gpu else CPU_STEPS
        return gr.Radio([*scale_choices(pipeline.ratio)]), steps
    return gr.skip(), gr.skip()


def choose_example(event: gr.SelectData) -> tuple[str, None, None]:
    """The path of the picture to work on, the part of it, and the path of a discarded one.

    Args:
        event: The press of an example in the gallery.

    Returns:
        The path of the example, and None twice.
    """
    return EXAMPLES[int(event.index)], None, None
