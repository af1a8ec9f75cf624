"""What a reader takes out of a file, and how it becomes the pixels of a picture."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from residae.arrays import Pixels
from residae.image.color import Samples, cmyk_to_rgb, to_8_bits, to_srgb
from residae.image.exif import UPRIGHT, turned
from residae.image.picture import bands

ON_WHITE = "Transparency is shown on white."
FIRST_FRAME = "Only the first frame is used."


@dataclass
class Raster:
    """Samples as a file holds them, and what they mean.

    Attributes:
        color: (H, W) of gray, (H, W, 3) of RGB or (H, W, 4) of CMYK, where 0 is no ink; uint8 or uint16, whose whole
            range is used.
        alpha: (H, W) of the same type; None if the picture is opaque.
        premultiplied: Whether `color` was multiplied by alpha.
        profile: ICC; empty or None for sRGB.
        orientation: 1 to 8, as in EXIF.
        notices: Sentences on what the pixels do not show as the file has it.
    """

    color: Samples
    alpha: Samples | None = None
    premultiplied: bool = False
    profile: bytes | None = None
    orientation: int = UPRIGHT
    notices: list[str] = field(default_factory=list)

    def render(self) -> Pixels:
        """Pixels in sRGB, on white and upright: (H, W) of gray, else (H, W, 3)."""
        height, width, *channels = self.color.shape
        mode = {(): "L", (3,): "RGB", (4,): "CMYK"}[tuple(channels)]
        transform = to_srgb(self.profile, mode, self.color.dtype == np.uint16, height * width)
        if transform is None:
            transform = cmyk_to_rgb if mode == "CMYK" else to_8_bits
        alpha = self.alpha
        if alpha is not None and alpha.min() == np.iinfo(alpha.dtype).max:
            alpha = None
        if alpha is not None:
            self.notices.append(ON_WHITE)
        pixels = np.empty((height, width) if mode == "L" else (height, width, 3), np.uint8)
        for rows in bands(height, width):
            band = np.ascontiguousarray(self.color[rows])
            if alpha is None:
                pixels[rows] = transform(band)
                continue
            opacity = np.ascontiguousarray(alpha[rows])
            if self.premultiplied:
                band = _divided(band, opacity)
            shown = Image.new("L" if mode == "L" else "RGB", (width, len(band)), "white")
            shown.paste(Image.fromarray(transform(band)), mask=Image.fromarray(to_8_bits(opacity)))
            pixels[rows] = np.asarray(shown)
        return np.ascontiguousarray(turned(pixels, self.orientation))


def raster_of(image: Image.Image) -> Raster:
    """The samples of a PIL image.

    Args:
        image: Of any mode.

    Returns:
        The samples, with the profile that the image holds.
    """
    notices: list[str] = []
    alpha = None
    if image.mode in ("I", "F"):
        color = stretch(np.asarray(image), notices)
    elif image.mode.startswith("I;16"):
        color = np.asarray(image).astype(np.uint16)
    else:
        mode = {"1": "L", "L": "L", "LA": "L", "La": "L", "CMYK": "CMYK"}.get(image.mode, "RGB")
        if image.has_transparency_data:
            samples = np.asarray(image.convert(mode + "A"))
            color, alpha = samples[..., 0] if mode == "L" else samples[..., :3], samples[..., -1]
        else:
            color = np.asarray(image if image.mode == mode else image.convert(mode))
    return Raster(color, alpha, profile=image.info.get("icc_profile"), notices=notices)


def spread(values: NDArray[Any], bits: int) -> Samples:
    """Scale unsigned values to the whole range of uint8, or of uint16 where they have more than 8 bits.

    Args:
        values: (H, W) or (H, W, C), unsigned, below 2^bits.
        bits: 1 to 32.

    Returns:
        Of the same shape: uint8 up to 8 bits, else uint16.
    """
    if bits in (8, 16) and values.dtype.itemsize * 8 == bits:
        return values.view(f"u{bits // 8}")
    kind, white = (np.uint8, 255) if bits <= 8 else (np.uint16, 65_535)
    gain = white / (2**bits - 1)
    spread = np.empty(values.shape, kind)
    for rows in bands(values.shape[0], int(np.prod(values.shape[1:]))):
        spread[rows] = np.rint(values[rows] * gain)
    return spread


def stretch(values: NDArray[Any], notices: list[str]) -> Samples:
    """Scale values of any range, from the least to the greatest, to the whole range of uint8.

    Values that are not finite become the least.

    Args:
        values: (H, W) or (H, W, C), of any real type.
        notices: Sentences that say so are added to them.

    Returns:
        uint8 of the same shape.
    """
    low, high, finite = np.inf, -np.inf, True
    slices = list(bands(values.shape[0], int(np.prod(values.shape[1:]))))
    for rows in slices:
        band = values[rows]
        sound = np.isfinite(band)
        finite = finite and bool(sound.all())
        if sound.any():
            low, high = min(low, float(band[sound].min())), max(high, float(band[sound].max()))
    if not finite:
        notices.append("Values that are infinite or not a number are shown as black.")
    pixels = np.zeros(values.shape, np.uint8)
    if high < low:
        return pixels
    notices.append(f"Values {low:.4g} to {high:.4g} were scaled to black to white.")
    for rows in slices if high > low else ():
        band = values[rows].astype(np.float64)
        # halved, since the range of float64 itself may be wider than float64 can hold
        part = (np.where(np.isfinite(band), band, low) / 2 - low / 2) / (high / 2 - low / 2)
        pixels[rows] = np.rint(part * 255)
    return pixels


def _divided(band: Samples, alpha: Samples) -> Samples:
    """Color that was stored times its opacity."""
    white = np.iinfo(band.dtype).max
    opacity = np.maximum(alpha, 1).astype(np.float32) / np.float32(white)
    color = np.rint(band / opacity.reshape(opacity.shape + (1,) * (band.ndim - 2))).clip(0, white)
    divided: Samples = color.astype(band.dtype)
    return divided
