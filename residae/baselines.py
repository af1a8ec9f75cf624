"""The codecs that everybody has, at a byte budget: JPEG, WebP, AVIF and JPEG 2000 as Pillow encodes them, in memory."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from residae.geometry import MAX_SIDE

Pixels = NDArray[np.uint8]  # (H, W) or (H, W, 3)


@dataclass(frozen=True, eq=False)
class Baseline:
    """What one codec made of a picture, as near to its budget as it comes from below."""

    data: bytes
    pixels: Pixels
    setting: float  # quality, or for JPEG 2000 the ratio asked of it


def _jpeg(image: Image.Image, quality: int) -> dict[str, Any]:
    return {"format": "JPEG", "quality": quality, "optimize": True, "progressive": True}


def _webp(image: Image.Image, quality: int) -> dict[str, Any]:
    return {"format": "WEBP", "quality": quality, "method": 6}


def _avif(image: Image.Image, quality: int) -> dict[str, Any]:
    subsampling = "4:0:0" if image.mode == "L" else "4:2:0"
    return {"format": "AVIF", "quality": quality, "speed": 6, "subsampling": subsampling}


def _jpeg2000(image: Image.Image, step: int) -> dict[str, Any]:
    return {
        "format": "JPEG2000",
        "irreversible": True,
        "quality_layers": [_ratio(step)],
        "num_resolutions": _levels(image),
        "mct": image.mode == "RGB",  # brightness and color differences rather than three colors
    }


# name: (options at a setting, the lowest setting, the highest, the longest side in pixels)
CODECS: dict[str, tuple[Callable[[Image.Image, int], dict[str, Any]], int, int, int]] = {
    "JPEG": (_jpeg, 1, 95, MAX_SIDE),  # above 95 JPEG only grows
    "WebP": (_webp, 0, 100, 16_383),
    "AVIF": (_avif, 0, 100, 32_768),  # that its library opens again
    "JPEG 2000": (_jpeg2000, 0, 600, MAX_SIDE),
}


def compress_within(
    pixels: Pixels, codec: str, max_bytes: int, progress: Callable[[float], None] | None = None
) -> Baseline | None:
    """The best that `codec`, a key of CODECS, does with at most `max_bytes`; None if it cannot go so low, or not hold
    a picture of this size at all.

    `pixels` is (H, W) or (H, W, 3) uint8. The setting is bisected, taking size to grow with it. `progress` is told
    the share done, in (0, 1]; it may raise to stop the work.
    """
    options, low, high, longest = CODECS[codec]
    if max(pixels.shape[:2]) > longest:
        return None
    image = Image.fromarray(pixels)
    step, steps = 0, (high - low + 1).bit_length()
    best: tuple[int, bytes] | None = None
    while low <= high:
        setting = (low + high) // 2
        data = _encoded(image, options(image, setting))
        step += 1
        if progress:
            progress(step / steps)
        if len(data) <= max_bytes:
            best, low = (setting, data), setting + 1
        else:
            high = setting - 1
    if best is None:
        return None
    setting, data = best
    with Image.open(io.BytesIO(data)) as decoded:
        rebuilt = np.asarray(decoded.convert(image.mode))
    return Baseline(data, rebuilt, _ratio(setting) if codec == "JPEG 2000" else setting)


def _encoded(image: Image.Image, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def _ratio(step: int) -> float:
    """JPEG 2000 is asked for a ratio to the raw size, not for a quality: from 1,000 at step 0 to 1 at step 600."""
    return float(1000 * 10 ** (-step / 200))


def _levels(image: Image.Image) -> int:
    """Wavelet levels plus one; the usual 6 need a side of 32 pixels."""
    return min(6, min(image.size).bit_length())
