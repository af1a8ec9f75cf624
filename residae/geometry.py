"""Sizes: of pictures, of their planes at a scale, and of their latents.

The scale of a picture is the factor by which its planes are resampled before the encoder and, inversely, after the
decoder. It is a number of hundredths, so that all sizes follow from it in integers.
"""

from typing import Literal

STRIDE = 16  # pixels along each side of a latent cell: the network's four stages each halve height and width

MAX_PIXELS = 64 * 10**6  # of a picture, before and after scaling
MAX_SIDE = 65_500  # pixels
MIN_SCALE, MAX_SCALE = 0.5, 4.0
Scale = float | Literal["auto"]  # at which a picture is encoded; "auto" goes by the size of the file


def within_limits(height: int, width: int) -> bool:
    """Whether a picture may have this size.

    Args:
        height: Pixels.
        width: Pixels.

    Returns:
        True if both are 1 to MAX_SIDE and their product is at most MAX_PIXELS.
    """
    return 0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE and height * width <= MAX_PIXELS


def scale_hundredths(scale: float) -> int:
    """A scale in hundredths, rounded.

    Args:
        scale: MIN_SCALE to MAX_SCALE.

    Raises:
        ValueError: It is not between MIN_SCALE and MAX_SCALE.
    """
    if not MIN_SCALE <= scale <= MAX_SCALE:
        raise ValueError(f"a scale is {MIN_SCALE:g} to {MAX_SCALE:g}, not {scale}")
    return round(100 * scale)


def scaled_shape(height: int, width: int, scale: float) -> tuple[int, int]:
    """Height and width of a picture after scaling: each length is rounded, halves up, and at least 1.

    Args:
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        scale: MIN_SCALE to MAX_SCALE, rounded to hundredths.

    Raises:
        ValueError: As `scale_hundredths`.
    """
    hundredths = scale_hundredths(scale)
    return max(1, (height * hundredths + 50) // 100), max(1, (width * hundredths + 50) // 100)


def plane_shapes(height: int, width: int, planes: int, scale: float = 1.0) -> list[tuple[int, int]]:
    """Heights and widths of the planes of a picture at a scale.

    Args:
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        planes: 1 for Y alone, 3 for Y, Cb and Cr; chroma has half the size, rounded up.
        scale: Of the picture.

    Raises:
        ValueError: `planes` is neither 1 nor 3, or as `scale_hundredths`.
    """
    if planes not in (1, 3):
        raise ValueError(f"a picture has 1 or 3 planes, not {planes}")
    height, width = scaled_shape(height, width, scale)
    half = -(-height // 2), -(-width // 2)
    return [(height, width), half, half][:planes]


def grid_shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the latent cells that cover a plane of `height` x `width` pixels.

    Args:
        height: Pixels, at least 1; the last row of cells may reach beyond them.
        width: Pixels, at least 1; the last column of cells may reach beyond them.
    """
    return -(-height // STRIDE), -(-width // STRIDE)


def latent_shape(height: int, width: int, scale: float = 1.0) -> tuple[int, int]:
    """Rows and columns of the luma latent of a picture at a scale.

    Args:
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        scale: MIN_SCALE to MAX_SCALE, rounded to hundredths.

    Raises:
        ValueError: As `scale_hundredths`.
    """
    return grid_shape(*scaled_shape(height, width, scale))
