"""A decoded picture, and the operations on its pixels."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from residae.arrays import Pixels
from residae.errors import ImageError, translate_oom
from residae.progress import raise_if_cancelled

BAND_PIXELS = 2**20  # wide arithmetic is done on a band of rows at a time, never on a copy of the picture


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture: upright, opaque, 8 bits.

    Attributes:
        pixels: (H, W, 3) uint8 sRGB, or (H, W) where the source has no color, as by `reduce_to_gray`.
        notices: Sentences on how the pixels differ from what the file holds.
        file_bytes: Size of the source file; None once the picture is no longer the whole of it.
        source_size: (height, width) of the picture that it was reduced or cut from; None if it was not.
    """

    pixels: Pixels
    notices: tuple[str, ...]
    file_bytes: int | None
    source_size: tuple[int, int] | None = None

    @property
    def color(self) -> bool:
        """Whether the picture has color; a gray one has no chroma to keep."""
        return self.pixels.ndim == 3

    def keeps_color(self, wanted: bool | None = None) -> bool:
        """Whether chroma is encoded: where the picture has it, unless only luma is wanted.

        Args:
            wanted: Whether to keep chroma; as the picture has it if None.
        """
        return self.color and wanted is not False

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])


class CropBox(NamedTuple):
    """A part of a picture, in its pixels.

    Attributes:
        left: First column.
        top: First row.
        width: At least 1.
        height: At least 1.
    """

    left: int
    top: int
    width: int
    height: int


def to_image(pixels: Pixels) -> Image.Image:
    """Make a PIL image.

    Args:
        pixels: (H, W) or (H, W, 3) uint8.

    Returns:
        An image of mode L or RGB.
    """
    return Image.fromarray(pixels)


def reduce_to_gray(pixels: Pixels) -> Pixels:
    """One channel of a picture whose three are equal in every pixel; the pixels themselves if they have color.

    Args:
        pixels: (H, W) or (H, W, 3) uint8. Of a picture with color, only the rows down to the first color are read.

    Returns:
        (H, W) of a picture without color, else (H, W, 3).
    """
    if pixels.ndim == 2:
        return pixels
    for rows in bands(*pixels.shape[:2]):
        red, green, blue = (pixels[rows, :, channel] for channel in range(3))
        if not (np.array_equal(red, green) and np.array_equal(green, blue)):
            return pixels
    return np.ascontiguousarray(pixels[..., 0])


def fit(picture: Picture, long_side: int) -> Picture:
    """The picture with its longer side at most `long_side` pixels (Lanczos) and a notice; itself if it is no larger.

    Args:
        picture: Of any size.
        long_side: Pixels, at least 1.
    """
    if max(picture.width, picture.height) <= long_side:
        return picture
    image = Image.fromarray(picture.pixels)
    image.thumbnail((long_side, long_side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    size = f"{image.width:,} × {image.height:,} of {picture.width:,} × {picture.height:,} pixels"
    return _changed(picture, np.asarray(image), f"Worked on at {size}.")


def crop(picture: Picture, box: CropBox) -> Picture:
    """A part of the picture, and a notice that says so. A part without color is gray.

    Args:
        picture: Of any size.
        box: Within the picture.

    Raises:
        ImageError: The part is empty, or not within the picture.
    """
    left, top, width, height = box
    size = f"{width:,} × {height:,}"
    if not (0 <= left < left + width <= picture.width and 0 <= top < top + height <= picture.height):
        raise ImageError(
            f"A part of {size} pixels from ({left:,}, {top:,}) on is not within the picture of "
            f"{picture.width:,} × {picture.height:,}."
        )
    pixels = np.ascontiguousarray(picture.pixels[top : top + height, left : left + width])
    whole = f"{picture.width:,} × {picture.height:,}"
    notice = f"Part of the picture: {size} px at ({left:,}, {top:,}) of {whole}."
    return _changed(picture, reduce_to_gray(pixels), notice)


def _changed(picture: Picture, pixels: Pixels, notice: str) -> Picture:
    """The picture with other pixels than its file holds, and the notice that says so."""
    source_size = picture.source_size or (picture.height, picture.width)
    return Picture(pixels, (*picture.notices, notice), None, source_size)


def cover(picture: Picture, height: int, width: int) -> Picture:
    """The middle of the picture at exactly that size, in color, scaled (Lanczos) so that the least is cut.

    Args:
        picture: Of any size, in color or gray.
        height: Pixels.
        width: Pixels.

    Returns:
        (height, width, 3), without `file_bytes`.
    """
    image = ImageOps.fit(Image.fromarray(picture.pixels).convert("RGB"), (width, height), Image.Resampling.LANCZOS)
    return replace(picture, pixels=np.asarray(image), file_bytes=None)


@translate_oom()
def write_png(pixels: Pixels, compress_level: int = 6, colors: Pixels | None = None) -> bytes:
    """Write a lossless PNG.

    Args:
        pixels: (H, W) or (H, W, 3) uint8.
        compress_level: 0 to 9, as in zlib. At 1 the file is a few percent larger, in half the time.
        colors: (N, 3) uint8, at most 256; pixels of (H, W) are then indices of these.

    Returns:
        The content of the file.
    """
    buffer, picture = _CancellableBuffer(), Image.fromarray(pixels)
    if colors is not None:
        picture.putpalette(colors.tobytes())
    picture.save(buffer, "PNG", compress_level=compress_level)
    return buffer.getvalue()


class _CancellableBuffer(io.BytesIO):
    """A file in memory. Pillow writes to it in small parts, between which the work can end."""

    def write(self, data: Any, /) -> int:
        raise_if_cancelled()
        return super().write(data)


WRITTEN: dict[str, tuple[str, dict[str, object]]] = {  # suffix -> format and options of Pillow
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".webp": ("WEBP", {"lossless": True}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".bmp": ("BMP", {}),
    ".jp2": ("JPEG2000", {}),
}


@translate_oom()
def write_picture(pixels: Pixels, suffix: str) -> bytes:
    """A picture file in the format that a suffix stands for. All are lossless but JPEG, which gets quality 95.

    Args:
        pixels: (H, W) or (H, W, 3) uint8.
        suffix: One of WRITTEN, in upper or lower case. Any other, such as that of a FIFO, stands for PNG.

    Returns:
        The content of the file.

    Raises:
        ImageError: The format has no pictures of this size.
    """
    format, options = WRITTEN.get(suffix.lower(), WRITTEN[".png"])
    buffer = io.BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, format, **options)
    except (OSError, ValueError) as error:  # WebP ends at 16,383 pixels a side
        raise ImageError(f"The picture cannot be written as {format}, for example because it is too large.") from error
    return buffer.getvalue()


def bands(height: int, width: int) -> Iterator[slice]:
    """Divide rows into bands of at most BAND_PIXELS pixels, or of one row. Work can end between them.

    Args:
        height: Pixels.
        width: Pixels, at least 1.

    Yields:
        Slices from top to bottom, without gaps.
    """
    step = max(1, BAND_PIXELS // width)
    for top in range(0, height, step):
        raise_if_cancelled()
        yield slice(top, min(top + step, height))
