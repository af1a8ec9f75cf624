"""Pixels to the planes that the network encodes, and back.

Pixels are uint8 sRGB, planes are float32 in [0, 1]. Color is YCbCr of BT.601 in full range (JFIF), with chroma
at half size.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from residae.arrays import Pixels, Plane
from residae.image.picture import Picture, bands

WHITE = np.float32(255)
NEUTRAL = np.float32(128 / 255)  # Cb and Cr of a gray
KR, KG, KB = np.float32(0.299), np.float32(0.587), np.float32(0.114)  # BT.601: Y = KR R + KG G + KB B
CB_RANGE, CR_RANGE = 2 - 2 * KB, 2 - 2 * KR  # B - Y and R - Y reach half of this on either side of 0


def to_gray(picture: Picture) -> Pixels:
    """The luma, exactly that of Pillow's convert("L"), on which PSNR is defined.

    Args:
        picture: In color or gray.

    Returns:
        (H, W) uint8; the pixels themselves of a gray picture.
    """
    if picture.pixels.ndim == 2:
        return picture.pixels
    return np.asarray(Image.fromarray(picture.pixels).convert("L"))


def to_planes(picture: Picture, color: bool) -> tuple[Plane, ...]:
    """The planes that the network takes: luma, or Y, Cb and Cr.

    Gray is `to_gray` / 255. Color is BT.601 full range (JFIF), luma unrounded, chroma the mean of 2 x 2 pixels.

    Args:
        picture: (H, W) or (H, W, 3).
        color: Whether to make chroma as well, which a gray picture does not have.

    Returns:
        (H, W) luma, or also two of (ceil(H/2), ceil(W/2)) for Cb and Cr; float32 in [0, 1].
    """
    if not picture.keeps_color(color):
        return (to_gray(picture).astype(np.float32) / WHITE,)
    image = Image.fromarray(picture.pixels)
    luma = np.asarray(image.convert("F"), np.float32) / WHITE  # (299 R + 587 G + 114 B) / 1000, not rounded
    r, g, b = (np.asarray(band.convert("F").reduce(2), np.float32) / WHITE for band in image.split())
    y = KR * r + KG * g + KB * b
    # Pure blue and pure red come out half a level above 255, and are clipped as in JPEG.
    cb, cr = (np.clip(d + NEUTRAL, 0, 1) for d in ((b - y) / CB_RANGE, (r - y) / CR_RANGE))
    return luma, cb, cr


def from_planes(planes: Sequence[Plane]) -> Pixels:
    """The inverse of `to_planes`, rounded. Chroma is upsampled bilinearly.

    Args:
        planes: As `to_planes` returns them; values beyond [0, 1] are clipped.

    Returns:
        (H, W) uint8 of one plane, (H, W, 3) of three.
    """
    if len(planes) == 1:
        return _rounded(planes[0])
    luma, *chroma = planes
    height, width = luma.shape
    halves = [Image.fromarray(plane) for plane in chroma]
    pixels = np.empty((height, width, 3), np.uint8)
    for rows in bands(height, width):
        size = (width, rows.stop - rows.start)
        box = (0, rows.start / 2, width / 2, rows.stop / 2)  # keeps pixel centers aligned at odd sizes too
        cb, cr = (np.asarray(half.resize(size, Image.Resampling.BILINEAR, box)) - NEUTRAL for half in halves)
        y = luma[rows]
        r = y + CR_RANGE * cr
        b = y + CB_RANGE * cb
        g = (y - KR * r - KB * b) / KG
        for channel, values in enumerate((r, g, b)):
            pixels[rows, :, channel] = _rounded(values)
    return pixels


def _rounded(plane: Plane) -> Pixels:
    return np.rint(np.clip(plane, 0, 1) * 255).astype(np.uint8)
