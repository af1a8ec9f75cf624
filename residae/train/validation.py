"""Validation: a network in training, measured on pictures that it is not trained on."""

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from residae.checkpoint import Checkpoint
from residae.codec.quantizer import dequantize, quantize
from residae.engine import preferred_float
from residae.image import Pixels, open_picture, to_gray, write_png
from residae.metrics import psnr
from residae.pipeline import Pipeline
from residae.train.data import choose_pictures

VALIDATION_QUALITIES = (20, 40, 60, 80)  # at the picture's own scale
SCALED = ((1.5, 60), (2.0, 60))  # scales by which the picture is enlarged, and the quality at each
POINTS: dict[str, tuple[float, int]] = {  # endings of columns of the log -> scale and quality
    **{f"{quality}": (1.0, quality) for quality in VALIDATION_QUALITIES},
    **{f"{quality}_x{scale:g}": (scale, quality) for scale, quality in SCALED},
}
VALIDATION_COLUMNS = ("validation_psnr", *(f"{name}_{point}" for point in POINTS for name in ("bpp", "psnr")))
STRIP_SIDE, STRIP_ROWS = 256, 6  # pixels and pictures of the strip that shows them


def validate_checkpoint(checkpoint: Checkpoint, device: torch.device, folder: Path, strip: Path) -> dict[str, str]:
    """Measure a checkpoint on the luma of the pictures in a folder.

    Each is decoded from its unquantized latent, at VALIDATION_QUALITIES, and enlarged as in SCALED. Rates are code
    lengths by the checkpoint's own tables, without a file's header.

    Args:
        checkpoint: With tables, or the default ones are used.
        device: On which it runs.
        folder: Of the pictures, searched through all its folders.
        strip: PNG file to write, with the middle of each picture and of its reconstructions.

    Returns:
        Means over the pictures as text, by the names in VALIDATION_COLUMNS.

    Raises:
        ImageError: There is no picture.
    """
    pipeline = Pipeline(checkpoint, device, preferred_float(device))
    codec = pipeline.codec
    columns: dict[str, list[float]] = {}
    rows = []
    for path in choose_pictures(folder):
        picture = open_picture(path)
        original = to_gray(picture)
        encodings = {scale: pipeline.encode(picture, color=False, scale=scale) for scale, _ in POINTS.values()}
        pixels = pipeline.decode(encodings[1.0]).pixels
        columns.setdefault("validation_psnr", []).append(psnr(original, pixels))
        shown = [original, pixels]
        for point, (scale, quality) in POINTS.items():
            symbols = quantize(encodings[scale].latents[0], 0, quality * 100, codec.tables)
            latent = dequantize(symbols, 0, quality * 100, codec.tables)
            pixels = pipeline.decode(replace(encodings[scale], latents=(latent,))).pixels
            columns.setdefault(f"bpp_{point}", []).append(codec.channel_bits([symbols], quality).sum() / original.size)
            columns.setdefault(f"psnr_{point}", []).append(psnr(original, pixels))
            shown.append(pixels)
        rows.append(_strip_row(shown))
    strip.write_bytes(write_png(np.concatenate(rows[:STRIP_ROWS])))
    return {name: f"{fmean(values):.4f}" for name, values in columns.items()}


def _strip_row(pictures: list[Pixels]) -> Pixels:
    """The middle STRIP_SIDE x STRIP_SIDE of each picture (H, W), side by side; gray where one is smaller."""
    row = np.full((STRIP_SIDE, STRIP_SIDE * len(pictures)), 128, np.uint8)
    for index, pixels in enumerate(pictures):
        top, left = (max(0, (length - STRIP_SIDE) // 2) for length in pixels.shape)
        part = pixels[top : top + STRIP_SIDE, left : left + STRIP_SIDE]
        row[: part.shape[0], index * STRIP_SIDE : index * STRIP_SIDE + part.shape[1]] = part
    return row
