"""Untrusted bytes to a picture. Formats, limits and what each odd file gets are decided here."""

import io
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageOps,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    TiffTags,
    WebPImagePlugin,
)

from residae.errors import ImageError, OutOfMemoryError
from residae.geometry import MAX_PIXELS, MAX_SIDE
from residae.image.picture import BAND_PIXELS, Picture, Pixels, bands

# Pillow's readers of FORMATS. With all of them here it never goes looking for one among those of all its other formats.
READERS = (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

PictureLike = Picture | bytes | str | os.PathLike[str] | Image.Image | Pixels

MAX_FILE_BYTES = 30 * 10**6
MAX_PROFILE_BYTES = 4 * 2**20  # the tables of a printing profile take up to 3 MB

FORMATS = {  # Pillow's name: (the reader's name, how such a file begins)
    "PNG": ("PNG", rb"\x89PNG\r\n\x1a\n"),
    "JPEG": ("JPEG", rb"\xff\xd8\xff"),
    "WEBP": ("WebP", rb"RIFF....WEBP"),
    "GIF": ("GIF", rb"GIF8[79]a"),
    "BMP": ("BMP", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),  # with its header's size: a text may begin with BM
    "TIFF": ("TIFF", rb"II[*+]\0|MM\0[*+]"),
    "AVIF": ("AVIF", rb"....ftyp.{0,64}?avi[fs]"),  # anywhere among the brands: HEIC shares the first, "mif1"
    "JPEG2000": ("JPEG 2000", rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n"),
}

PNG_PASSES = (  # plain and interlaced: first row and column of each pass, and its steps
    ((0, 0, 1, 1),),
    ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
)


def open_picture(source: bytes | str | os.PathLike[str]) -> Picture:
    """Decode a file's bytes, or the file at a path, as a viewer would show it.

    Turned upright by EXIF, shown on white where transparent, taken to sRGB by a sound ICC profile, scaled (never
    clipped) to 8 bits, and the first frame only. ImageError if it is not a picture in one of FORMATS, is damaged or
    cut short, or is over MAX_FILE_BYTES, MAX_PIXELS or MAX_SIDE; the size is judged before any pixel is decoded.
    """
    data = read_picture(source)
    kind = _kind(data)
    notices: list[str] = []
    with _explained(FORMATS[kind][0]):
        image = _open(data, kind)
        if _has_frames(image):
            notices.append("Only the first frame is used.")
        _load_upright(image)
        decode = _deep_pixels if image.mode.startswith(("I", "F")) else _pixels
        pixels = decode(image, notices)
    return Picture(pixels, tuple(notices), len(data))


def as_picture(source: PictureLike) -> Picture:
    """A picture from anything that holds one.

    Args:
        source: An opened picture, the path or the bytes of a picture file, a PIL image, or a uint8 array of shape
            (H, W) or (H, W, 3) in sRGB.

    Raises:
        ImageError: The picture cannot be opened, or is over a limit.
        ValueError: The array is of another shape or type.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, Image.Image):
        notices: list[str] = []
        decode = _deep_pixels if source.mode.startswith(("I", "F")) else _pixels
        pixels, told = decode(source, notices), tuple(notices)
    elif isinstance(source, np.ndarray):
        if (
            source.dtype != np.uint8
            or source.ndim not in (2, 3)
            or source.shape[2:] not in ((), (3,))
            or not source.size
        ):
            raise ValueError(f"a picture is uint8 of (H, W) or (H, W, 3), not {source.dtype} of {source.shape}")
        pixels, told = source, ()
    else:
        return open_picture(source)
    _check_size(pixels.shape[1], pixels.shape[0])
    return Picture(pixels, told, None)


def read_picture(source: bytes | str | os.PathLike[str]) -> bytes:
    """A file's bytes, not yet decoded. ImageError unless they begin as one of FORMATS and are within MAX_FILE_BYTES."""
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
    for kind, (_, start) in FORMATS.items():
        if re.match(start, data, re.DOTALL):
            return kind
    *names, last = (name for name, _ in FORMATS.values())
    raise ImageError(f"The file is not a picture in one of the formats that work: {', '.join(names)} and {last}.")


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Pillow's decoders meet damage with almost any exception: here each becomes an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow's limit, above ours
        raise _too_many_pixels() from error
    except MemoryError as error:
        raise OutOfMemoryError("Opening the picture takes more memory than there is.") from error
    except Exception as error:
        raise ImageError(f"The {name} file is damaged, cut short, or of a rare kind that cannot be read.") from error


def _too_many_pixels() -> ImageError:
    return ImageError(f"The picture is larger than the limit of {MAX_PIXELS // 10**6} megapixels.")


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_many_pixels()
    if max(width, height) > MAX_SIDE:
        raise ImageError(f"The picture has a side longer than the limit of {MAX_SIDE:,} pixels.")


def _open(data: bytes, kind: str) -> Image.Image:
    """Read the header, and hold its size against the limits."""
    if kind == "WEBP" and data[12:16] == b"VP8X":  # whose canvas the decoder allocates before it tells the size
        _check_size(*(1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27)))
    try:
        image = Image.open(io.BytesIO(data), formats=[kind])
    except Exception:
        bare = _without_metadata(data, kind)
        if bare == data:
            raise
        data = bare
        image = Image.open(io.BytesIO(data), formats=[kind])
    _check_size(*image.size)
    if kind == "PNG":
        _check_png(data, image)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        ycbcr = image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 6
        if ycbcr and any(tile[0] == "raw" for tile in image.tile):
            raise ValueError("YCbCr without compression, of which Pillow makes wrong colours")
    return image


def _without_metadata(data: bytes, kind: str) -> bytes:
    """The file less the metadata for which a decoder would refuse a good picture: broken, or a profile over 1 MB."""
    if kind == "PNG" and (name := data.find(b"iCCP")) > 0:
        length = int.from_bytes(data[name - 4 : name], "big")
        return data[: name - 4] + data[name + 4 + length + 4 :]  # a chunk is its length, name, content and CRC
    if kind == "AVIF":
        return data.replace(b"Exif", b"skip")
    if kind == "JPEG":
        return data.replace(b"MPF\0", b"skip")  # the directory of further pictures
    return data


def _check_png(data: bytes, image: Image.Image) -> None:
    """Refuse what Pillow lets pass: a second header, of which it takes the last, and pixels that end before their time,
    which it takes to be black. Bring the transparent colour to Pillow's 8 bits."""
    depth, color, *_, interlaced = data[24:29]  # after 8 bytes of signature, length, name, width and height of 4 each
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    sizes = ((-(-(image.height - y) // dy), -(-(image.width - x) // dx)) for y, x, dy, dx in PNG_PASSES[interlaced])
    missing = sum(height * (1 + -(-width * bits // 8)) for height, width in sizes if width)
    stream = zlib.decompressobj()
    headers = 0
    for name, content in _png_chunks(data):
        headers += name == b"IHDR"
        rest: bytes | memoryview = content if name == b"IDAT" else b""
        while rest and missing > 0:
            missing -= len(stream.decompress(rest, BAND_PIXELS))
            rest = stream.unconsumed_tail
    if missing > 0 or headers > 1:
        raise ValueError("too few pixels, or two headers")
    key = image.info.get("transparency")
    if key is not None and image.mode == "L":
        image.info["transparency"] = key * 255 // (2**depth - 1)
    if key is not None and image.mode == "RGB" and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Name and content of each chunk, which lie between its length and its CRC."""
    at, name = 8, b""
    while at < len(data) and name != b"IEND":
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        yield name, memoryview(data)[at + 8 : at + 8 + length]
        at += length + 12


def _has_frames(image: Image.Image) -> bool:
    if image.format == "MPO":  # a camera's JPEG that carries its own previews: what is used is the picture
        return False
    with suppress(Exception):  # to know of a second frame, GIF goes to its place and meets whatever is there
        return bool(getattr(image, "is_animated", False))
    return False


def _load_upright(image: Image.Image) -> None:
    """Decode the pixels, and turn them by EXIF where it makes sense."""
    if image.format == "TIFF":  # Pillow turns a TIFF while loading it, and would fail over these, if broken
        image.info.pop("xmp", None)
        with suppress(Exception):  # a second reading, in load(), does not raise
            exif = image.getexif()
            for tag in exif.keys() & TiffTags.TAGS_V2_GROUPS:
                del exif[tag]
    image.load()
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def _pixels(image: Image.Image, notices: list[str]) -> Pixels:
    """(H, W) or (H, W, 3) of any mode of at most 8 bits, in sRGB and on white."""
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    alpha = None
    if image.has_transparency_data:
        image = image.convert(mode + "A")
        alpha = image.getchannel("A")
    if image.mode != "CMYK":  # CMYK waits for its profile, which knows the inks
        image = _converted(image, mode)
    image = _converted(_profiled(image), mode)
    if alpha is not None and alpha.getextrema() != (255, 255):
        notices.append("Transparency is shown on white.")
        opaque, image = image, Image.new(mode, image.size, "white")
        image.paste(opaque, mask=alpha)
    return np.asarray(image)


def _converted(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)  # convert() copies even where there is nothing to do


def _profiled(image: Image.Image) -> Image.Image:
    """RGB by the embedded ICC profile; the image itself where there is none, or none that is sound and of its space."""
    icc = image.info.get("icc_profile")
    with suppress(Exception):  # a profile of another space, too, is refused by the colour engine
        if icc and len(icc) <= MAX_PROFILE_BYTES:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
            return ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB") or image
    return image


def _deep_pixels(image: Image.Image, notices: list[str]) -> Pixels:
    """(H, W) of 16 bits by their full range, or of 32-bit integers or floats by the range of their finite values."""
    values = np.asarray(image)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if image.mode.startswith("I;16"):
        bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]  # a TIFF may hold 12 in 16
        pixels = _scaled(values, 0, 2**bits - 1)
        if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero: Pillow sees to it up to 8 bits
            pixels = ~pixels
        if profile := image.info.get("icc_profile"):
            gray = Image.fromarray(pixels)
            gray.info["icc_profile"] = profile
            pixels = np.array(_converted(_profiled(gray), "L"))
        transparent = values == image.info.get("transparency", -1)
        if transparent.any():
            notices.append("Transparency is shown on white.")
            pixels[transparent] = 255
        return pixels
    if image.mode == "I" and tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,)) == (1,):
        values = values.view(np.uint32)  # which Pillow keeps in signed integers
    finite = values[np.isfinite(values)]
    if finite.size < values.size:
        notices.append("Values that are infinite or not a number are shown as black.")
    if not finite.size:
        return np.zeros(values.shape, np.uint8)
    low, high = float(finite.min()), float(finite.max())
    notices.append(f"Values {low:.4g} to {high:.4g} were scaled to black to white.")
    return _scaled(values, low, high)


def _scaled(values: NDArray[np.generic], low: float, high: float) -> Pixels:
    """`low` to `high` -> 0 to 255, and 0 for what is not finite."""
    gain = 255 / (high - low) if high > low else 0.0
    pixels = np.empty(values.shape, np.uint8)
    for rows in bands(*values.shape):
        band = values[rows].astype(np.float64)
        pixels[rows] = np.rint((np.where(np.isfinite(band), band, low) - low) * gain)
    return pixels
