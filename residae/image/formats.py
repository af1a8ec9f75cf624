"""Untrusted bytes to a picture: which formats there are, how their files begin, and who reads them.

Each format has a module of its own, which takes a file apart and hands a decoder what holds pixels.
"""

import importlib
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from residae.arrays import Pixels
from residae.errors import ImageError, OutOfMemoryError
from residae.image import avif, bmp, gif, jp2, jpeg, png, tiff, webp
from residae.image.picture import Picture, reduce_to_gray
from residae.image.raster import Raster, raster_of
from residae.image.refusals import check_size, damaged

MAX_FILE_BYTES = 30 * 10**6

PictureLike = Picture | bytes | str | os.PathLike[str] | Image.Image | Pixels


class Format(NamedTuple):
    """How files of a format are recognized and read.

    Attributes:
        name: For people.
        start: Pattern of how a file begins.
        read: Decodes the bytes of a whole file.
        suffixes: Of its files' names, in lower case with the dot.
        codecs: Functions of imagecodecs that the reader may call.
    """

    name: str
    start: bytes
    read: Callable[[bytes], Raster]
    suffixes: tuple[str, ...]
    codecs: tuple[str, ...] = ()


FORMATS = {
    "PNG": Format(png.NAME, rb"\x89PNG\r\n\x1a\n", png.read, (".png", ".apng")),
    "JPEG": Format(jpeg.NAME, rb"\xff\xd8\xff", jpeg.read, (".jpg", ".jpeg", ".jpe", ".jfif")),
    "WEBP": Format(webp.NAME, rb"RIFF....WEBP", webp.read, (".webp",)),
    "GIF": Format(gif.NAME, rb"GIF8[79]a", gif.read, (".gif",), gif.CODECS),
    # With its header's size: a text may begin with BM.
    "BMP": Format(bmp.NAME, rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", bmp.read, (".bmp", ".dib")),
    "TIFF": Format(tiff.NAME, rb"II[*+]\0|MM\0[*+]", tiff.read, (".tif", ".tiff"), tiff.CODECS),
    # Anywhere among the brands: HEIC shares the first.
    "AVIF": Format(avif.NAME, rb"....ftyp.{0,64}?avi[fs]", avif.read, (".avif", ".avifs")),
    "JPEG2000": Format(
        jp2.NAME,
        rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n",
        jp2.read,
        (".jp2", ".jpf", ".jpx", ".j2k", ".j2c", ".jpc"),
        jp2.CODECS,
    ),
}

SUFFIXES = frozenset(suffix for format in FORMATS.values() for suffix in format.suffixes)  # by which pictures are found


def open_picture(source: bytes | str | os.PathLike[str]) -> Picture:
    """Decode a file's bytes, or the file at a path, as a viewer would show it.

    The picture is turned upright by EXIF, shown on white where it is transparent, converted to sRGB, scaled (never
    clipped) to 8 bits, and of several frames the first.

    Args:
        source: The bytes of a file, or its path.

    Returns:
        (H, W, 3) sRGB, or (H, W) where the file has no color or three equal channels in every pixel, with notices of
        what was changed.

    Raises:
        ImageError: It is not a picture in one of FORMATS, is damaged or incomplete, is of a kind that is not supported,
            or is over MAX_FILE_BYTES, MAX_PIXELS or MAX_SIDE, which is known before memory is reserved for pixels.
        OutOfMemoryError: There is too little memory.
    """
    data = read_picture(source)
    format = FORMATS[_kind(data)]
    try:
        raster = format.read(data)
        pixels = reduce_to_gray(raster.render())
    except ImageError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError("Opening the picture takes more memory than there is.") from error
    except Exception as error:  # decoders meet damage with almost any exception
        raise damaged(format.name) from error
    return Picture(pixels, tuple(raster.notices), len(data))


def read_size(data: bytes) -> tuple[int, int] | None:
    """The height and width that the header of a picture file states; None where that cannot be told.

    Args:
        data: The whole file.
    """
    try:
        with Image.open(io.BytesIO(data), formats=[_kind(data)]) as image:
            return image.height, image.width
    except Exception:  # as in `open_picture`, which will say what is wrong with the file
        return None


def prepare(data: bytes) -> None:
    """Import what reading a file will need, by how it begins: a process that is confined cannot import any more.

    Args:
        data: The whole file.

    Raises:
        ImageError: It does not begin as one of FORMATS.
    """
    kind = _kind(data)
    codecs = png.codecs(data) if kind == "PNG" else FORMATS[kind].codecs
    if kind == "TIFF":
        importlib.import_module("tifffile")
    for codec in codecs:
        getattr(importlib.import_module("imagecodecs"), codec)  # which imports each when it is first asked for


def as_picture(source: PictureLike) -> Picture:
    """A picture from anything that holds one.

    Args:
        source: An opened picture, the path or the bytes of a picture file, a PIL image, or a uint8 array of shape
            (H, W) or (H, W, 3) in sRGB.

    Returns:
        `source` itself if it is an opened picture. One from an image or an array has no `file_bytes`, and is gray as
        that of a file is.

    Raises:
        ImageError: The picture cannot be opened, or is over a limit.
        ValueError: The array is of another shape or type.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, Image.Image):
        check_size(*source.size)
        raster = raster_of(source)
        return Picture(reduce_to_gray(raster.render()), tuple(raster.notices), None)
    if isinstance(source, np.ndarray):
        if (
            source.dtype != np.uint8
            or source.ndim not in (2, 3)
            or source.shape[2:] not in ((), (3,))
            or not source.size
        ):
            raise ValueError(f"a picture is uint8 of (H, W) or (H, W, 3), not {source.dtype} of {source.shape}")
        check_size(source.shape[1], source.shape[0])
        return Picture(reduce_to_gray(source), (), None)
    return open_picture(source)


def read_picture(source: bytes | str | os.PathLike[str]) -> bytes:
    """A file's bytes, not yet decoded.

    Args:
        source: The bytes of a file, or its path.

    Raises:
        ImageError: They do not begin as one of FORMATS, are more than MAX_FILE_BYTES, or cannot be read.
    """
    if isinstance(source, bytes):
        data = source
    else:
        try:
            with Path(source).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise ImageError("The file cannot be read: it is missing, is a folder, or may not be opened.") from error
    if not data:
        raise ImageError("The file is empty.")
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"The file is larger than the limit of {MAX_FILE_BYTES // 10**6} MB.")
    _kind(data)
    return data


def _kind(data: bytes) -> str:
    for kind, format in FORMATS.items():
        if re.match(format.start, data, re.DOTALL):
            return kind
    *names, last = (format.name for format in FORMATS.values())
    raise ImageError(f"The file is not a picture in {', '.join(names)} or {last} format: choose one of these.")
