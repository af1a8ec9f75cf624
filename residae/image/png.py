"""PNG (W3C PNG, third edition). The decoder gets the chunks that pixels need; others are read here, or left out."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from residae.image import exif
from residae.image.color import (
    MAX_PROFILE_BYTES,
    SRGB_CURVE,
    SRGB_PRIMARIES,
    Chromaticities,
    Curve,
    make_profile,
    profile_of_code_points,
)
from residae.image.raster import FIRST_FRAME, Raster, spread
from residae.image.refusals import check_size, incomplete

NAME = "PNG"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
READER = PngImagePlugin  # imported here, so that Pillow has no need to look for it among all of its formats

PASSES = (  # plain and interlaced: first row and column of each pass, and its steps
    ((0, 0, 1, 1),),
    ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
)
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a color type
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
GRAY = (0, 4)
INFLATED_BYTES = 2**20  # of pixels at a time, where they are only counted


def codecs(data: bytes) -> tuple[str, ...]:
    """Functions of imagecodecs that reading the file may call.

    Args:
        data: The file, or at least its first 25 bytes.
    """
    return ("png_decode", "cms_transform") if data[24:25] == b"\x10" else ()


def read(data: bytes) -> Raster:
    """Decode the still picture of a PNG; of an animated one that is the default image.

    Args:
        data: The whole file.

    Returns:
        The samples, and what they mean.

    Raises:
        ImageError: The file is incomplete, over a limit, or of a kind that is not supported.
        Exception: The file is damaged; `residae.image.open_picture` catches every class.
    """
    chunks: dict[bytes, memoryview] = {}
    pixels: list[memoryview] = []
    for kind, content in _chunks(data):
        if kind == b"IDAT":
            pixels += [content] if content else []
        elif kind == b"IHDR" and chunks:
            raise ValueError("two headers")
        else:
            chunks.setdefault(kind, content)
    if next(iter(chunks), b"") != b"IHDR":
        raise incomplete(NAME) if not chunks else ValueError("no header")
    width, height, depth, color, *_, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    check_size(width, height)
    if zlib.crc32(data[12:29]) != int.from_bytes(data[29:33], "big") or depth not in DEPTHS.get(color, ()):
        raise ValueError("a bad header")
    size = _row_bytes(width, height, depth * SAMPLES[color], interlaced)
    if not _check_pixels(pixels, size) and depth == 16:
        pixels = [memoryview(_recompressed(pixels, size))]
    raster = _decode(chunks, pixels, depth, color)
    raster.profile = _profile(chunks, color in GRAY)
    if b"eXIf" in chunks:
        raster.orientation = exif.orientation(bytes(chunks[b"eXIf"]))
    if len(chunks.get(b"acTL", b"")) >= 4 and int.from_bytes(chunks[b"acTL"][:4], "big") > 1:
        raster.notices.append(FIRST_FRAME)
    return raster


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Name and content of each chunk, which lie between its length and its checksum."""
    at, kind, view = len(SIGNATURE), b"", memoryview(data)
    while kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if at + 12 + length > len(data) and kind != b"IEND":
            raise ValueError("a chunk of a negative length") if length >= 2**31 else incomplete(NAME)
        yield kind, view[at + 8 : at + 8 + length]
        at += length + 12


def _row_bytes(width: int, height: int, bits: int, interlaced: int) -> int:
    """Bytes of the rows of all passes, each row with that of its filter."""
    sizes = ((-(-(height - y) // dy), -(-(width - x) // dx)) for y, x, dy, dx in PASSES[interlaced])
    return sum(rows * (1 + -(-columns * bits // 8)) for rows, columns in sizes if columns > 0)


def _check_pixels(pixels: list[memoryview], size: int) -> bool:
    """Refuse pixels that end before their time, which decoders take to be black.

    Returns:
        Whether the compressed stream holds just the rows and ends with them.
    """
    missing, stream = size, zlib.decompressobj()
    for content in pixels:
        rest: bytes | memoryview = content
        while rest and missing >= 0 and not stream.eof:
            missing -= len(stream.decompress(rest, INFLATED_BYTES))
            rest = stream.unconsumed_tail
    if missing > 0:
        raise incomplete(NAME)
    return missing == 0 and stream.eof and not stream.unused_data


def _recompressed(pixels: list[memoryview], size: int) -> bytes:
    """A stream of the rows alone: libpng prints what else there is, and the lack of a checksum."""
    stream, compressor, parts = zlib.decompressobj(), zlib.compressobj(1), []
    for content in pixels:
        rest: bytes | memoryview = content
        while rest and size > 0:
            rows = stream.decompress(rest, min(size, INFLATED_BYTES))
            parts.append(compressor.compress(rows))
            size -= len(rows)
            rest = stream.unconsumed_tail
    return b"".join([*parts, compressor.flush()])


def _decode(chunks: dict[bytes, memoryview], pixels: list[memoryview], depth: int, color: int) -> Raster:
    needed: list[tuple[bytes, memoryview]] = [(b"IHDR", chunks[b"IHDR"])]
    if b"PLTE" in chunks:
        needed.append((b"PLTE", chunks[b"PLTE"]))
    if color == 3 and b"PLTE" not in chunks:
        raise ValueError("no palette")
    if color == 3 and b"tRNS" in chunks:
        needed.append((b"tRNS", chunks[b"tRNS"][:256]))
    needed += [(b"IDAT", part) for part in pixels]
    file = SIGNATURE + b"".join(_chunk(*chunk) for chunk in needed) + _chunk(b"IEND", b"")
    if depth == 16:
        samples = _decode_deep(file, b"".join(pixels), color)
    else:
        image: Image.Image = Image.open(io.BytesIO(file), formats=["PNG"])
        image.load()
        if color == 3:
            image = image.convert("RGBA" if b"tRNS" in chunks else "RGB")
        samples = np.asarray(image.convert("L") if image.mode == "1" else image)
    transparent = chunks.get(b"tRNS", b"")
    if color == 3:
        return Raster(samples[..., :3], samples[..., 3] if samples.shape[2] == 4 else None)
    if color in (4, 6):
        return Raster(samples[..., 0] if color == 4 else samples[..., :3], samples[..., -1])
    if len(transparent) < 2 * SAMPLES[color]:
        return Raster(samples)
    key = np.array(struct.unpack_from(f">{SAMPLES[color]}H", transparent))
    if color == 0 and depth < 8:
        key = spread(key & 2**depth - 1, depth)  # as Pillow has spread the pixels
    hidden = samples == key if color == 0 else (samples == key).all(-1)
    white = samples.dtype.type(np.iinfo(samples.dtype).max)
    return Raster(samples, np.where(hidden, samples.dtype.type(0), white))


def _decode_deep(file: bytes, pixels: bytes, color: int) -> NDArray[np.uint16]:
    """(H, W) or (H, W, C) of 16 bits, which Pillow has for gray alone."""
    import imagecodecs

    width, height, *_, interlaced = struct.unpack(">IIBBBBB", file[16:29])
    if not interlaced:
        return np.asarray(imagecodecs.png_decode(file))
    # libpng prints a warning about interlaced pictures, so that each pass is decoded as a picture of its own.
    content, at = zlib.decompress(pixels), 0
    samples = np.empty((height, width, SAMPLES[color]), np.uint16)
    for y, x, dy, dx in PASSES[1]:
        part = samples[y::dy, x::dx]
        if part.size:
            rows, columns, _ = part.shape
            length = rows * (1 + columns * 2 * SAMPLES[color])
            header = struct.pack(">IIBBBBB", columns, rows, 16, color, 0, 0, 0)
            body = zlib.compress(content[at : at + length], 0)
            chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")
            part[...] = imagecodecs.png_decode(SIGNATURE + chunks).reshape(part.shape)
            at += length
    return samples[..., 0] if color == 0 else samples


def _chunk(kind: bytes, content: memoryview | bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))


def _profile(chunks: dict[bytes, memoryview], gray: bool) -> bytes | None:
    """The color space by the first of cICP, iCCP, sRGB, and gAMA with cHRM (W3C PNG, 12.1 and 13.14)."""
    points = bytes(chunks.get(b"cICP", b""))
    # as in browsers: a narrow range, and code points that are unspecified or unknown, say nothing
    if len(points) == 4 and points[2:] == b"\0\1":
        profile = profile_of_code_points(points[0], points[1], gray)
        if profile is not None:
            return profile
    if b"iCCP" in chunks and (profile := _inflated(bytes(chunks[b"iCCP"]))):
        return profile
    if b"sRGB" in chunks or len(chunks.get(b"gAMA", b"")) != 4:
        return None
    gamma = int.from_bytes(chunks[b"gAMA"], "big") / 100_000
    if not gamma:
        return None
    if len(chunks.get(b"cHRM", b"")) == 32:
        values = [value / 100_000 for value in struct.unpack(">8I", chunks[b"cHRM"])]
        if min(values[1::2]) <= 0:
            return None
        primaries: Chromaticities = (*values,)
        return make_profile(primaries, Curve(1 / gamma), gray)
    curve = SRGB_CURVE if abs(2.2 * gamma - 1) <= 0.05 else Curve(1 / gamma)  # libpng's bound on what is sRGB's
    return make_profile(SRGB_PRIMARIES, curve, gray)


def _inflated(content: bytes) -> bytes | None:
    """The profile after its name, which ends at a NUL, and a byte for the compression; None where it is unsound."""
    try:
        stream = zlib.decompressobj()
        profile = stream.decompress(content[content.index(0) + 2 :], MAX_PROFILE_BYTES + 1)
    except (ValueError, zlib.error):
        return None
    return profile if stream.eof else None
