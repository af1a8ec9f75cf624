"""BMP (Windows versions 1 to 5 and OS/2). Read here: Pillow knows few of its bit fields, and misreads RLE4."""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from residae.image.raster import Raster
from residae.image.refusals import check_size, incomplete, unsupported

NAME = "BMP"
FILE_HEADER = 14
CORE, INFO, V5 = 12, 40, 124  # sizes of headers that are told apart
RGB, RLE8, RLE4, BITFIELDS, JPEG, PNG, ALPHA_BITFIELDS = range(7)
NAMED = {JPEG: "JPEG inside BMP", PNG: "PNG inside BMP"}
OS2_HUFFMAN, OS2_RLE24 = BITFIELDS, JPEG  # the same numbers, in headers of OS/2
EMBEDDED = 0x4D424544  # the color space "MBED": a profile inside the file
MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}  # where the header gives none
BITS = (1, 2, 4, 8, 16, 24, 32)


@dataclass(frozen=True)
class Header:
    """What the headers say.

    Attributes:
        width: Pixels.
        height: Pixels.
        top_down: Whether the first row of the file is the top one.
        bits: Per pixel.
        compression: Its number in the file.
        masks: Of red, green, blue and alpha; 0 for a channel that is missing.
        palette: (n, 3) RGB; n is 0 where there is none.
        start: Of the pixels in the file, in bytes.
        profile: ICC; None where none is embedded.
    """

    width: int
    height: int
    top_down: bool
    bits: int
    compression: int
    masks: tuple[int, ...]
    palette: NDArray[np.uint8]
    start: int
    profile: bytes | None


def read(data: bytes) -> Raster:
    """Decode a BMP of any depth, bit fields and run-length encoding.

    Args:
        data: The whole file.

    Returns:
        The samples, and what they mean.

    Raises:
        ImageError: The file is incomplete, over a limit, or of a kind that is not supported.
        Exception: The file is damaged; `residae.image.open_picture` catches every class.
    """
    header = _header(data)
    profile = header.profile
    if header.bits <= 8:
        indices = _indices(data, header)
        if not len(header.palette):
            raise ValueError("no palette")
        palette = np.zeros((2**header.bits, 3), np.uint8)
        palette[: len(header.palette)] = header.palette[: len(palette)]
        gray = bool((palette == palette[:, :1]).all())
        return Raster(palette[:, 0][indices] if gray else palette[indices], profile=profile)
    if header.compression == OS2_RLE24 and header.bits == 24:
        raise unsupported(NAME, "run-length encoding of 24 bits")
    rows = _rows(data, header)
    if header.bits == 24:
        color = rows[:, : 3 * header.width].reshape(header.height, header.width, 3)[..., ::-1]
        return Raster(color, profile=profile)
    words = rows[:, : header.width * header.bits // 8].view(f"<u{header.bits // 8}")
    channels = [_field(words, mask) for mask in header.masks]
    raster = Raster(np.stack(channels[:3], -1), profile=profile)
    if header.masks[3] and channels[3].any():  # all clear is how writers say that they do not use it
        raster.alpha = channels[3]
    return raster


def _header(data: bytes) -> Header:
    if len(data) < FILE_HEADER + CORE:
        raise incomplete(NAME)
    start, size = struct.unpack("<II", data[10:18])
    if len(data) < FILE_HEADER + size:
        raise incomplete(NAME)
    fields = data[FILE_HEADER : FILE_HEADER + size]
    compression = colors = 0
    if size == CORE:
        width, height, _, bits = struct.unpack("<HHHH", fields[4:12])
    else:
        width, height, _, bits = struct.unpack("<iiHH", fields[4:16])
        if size >= INFO:
            compression, colors = struct.unpack("<I12xI", fields[16:36])
    check_size(width, abs(height))
    if compression == OS2_HUFFMAN and bits == 1:
        raise unsupported(NAME, "Huffman coding of OS/2")
    if compression in NAMED and not (compression == OS2_RLE24 and bits == 24):
        raise unsupported(NAME, NAMED[compression])
    if bits not in BITS:
        raise unsupported(NAME, f"{bits} bits per pixel")
    if compression > ALPHA_BITFIELDS:
        raise unsupported(NAME, f"compression {compression}")
    at = FILE_HEADER + size
    masks: tuple[int, ...] = MASKS.get(bits, (0, 0, 0, 0))
    if compression in (BITFIELDS, ALPHA_BITFIELDS) and bits in MASKS:
        if size >= 52:  # the masks are part of the header
            masks = struct.unpack("<4I", fields[40:56].ljust(16, b"\0"))
        else:
            count = 4 if compression == ALPHA_BITFIELDS else 3
            masks = struct.unpack("<4I", data[at : at + 4 * count].ljust(16, b"\0"))
            at += 4 * count
    entry = 3 if size == CORE else 4
    palette = np.zeros((0, 3), np.uint8)
    if bits <= 8:
        count = min(colors or 2**bits, 2**bits, max(start - at, 0) // entry if start > at else 2**bits)
        table = data[at : at + entry * count]
        palette = np.frombuffer(table[: len(table) // entry * entry], np.uint8).reshape(-1, entry)[:, 2::-1]
    profile = _profile(data, fields)
    return Header(width, abs(height), height < 0, bits, compression, masks, palette, start, profile)


def _profile(data: bytes, fields: bytes) -> bytes | None:
    """The embedded profile; the primaries and gammas of a header are ignored, as in browsers."""
    if len(fields) >= V5 and int.from_bytes(fields[56:60], "little") == EMBEDDED:
        start, length = struct.unpack("<II", fields[112:120])
        return data[FILE_HEADER + start : FILE_HEADER + start + length]
    return None


def _rows(data: bytes, header: Header) -> NDArray[np.uint8]:
    """(H, bytes of a row) from top to bottom, each row padded to 4 bytes."""
    stride = -(-header.width * header.bits // 32) * 4
    start = header.start
    size = header.height * stride
    used = size - stride + -(-header.width * header.bits // 8)  # the padding of the last row may be left out
    if len(data) < start + used:
        raise incomplete(NAME)
    content = data[start : start + size].ljust(size, b"\0")
    rows = np.frombuffer(content, np.uint8).reshape(header.height, stride)
    return rows if header.top_down else rows[::-1]


def _indices(data: bytes, header: Header) -> NDArray[np.uint8]:
    """(H, W) of palette indices."""
    if header.compression in (RLE8, RLE4):
        if header.bits != {RLE8: 8, RLE4: 4}[header.compression]:
            raise ValueError("run-length encoding of another depth")
        return _run_lengths(memoryview(data)[header.start :], header)
    if header.compression != RGB:
        raise ValueError("bit fields of a palette")
    rows = _rows(data, header)
    if header.bits == 8:
        return rows[:, : header.width]
    if header.bits == 1:
        return np.unpackbits(rows, axis=1, count=header.width)
    shifts = np.arange(8 - header.bits, -1, -header.bits, dtype=np.uint8)
    spread = (rows[..., None] >> shifts & np.uint8(2**header.bits - 1)).reshape(header.height, -1)
    return spread[:, : header.width]


def _run_lengths(data: memoryview, header: Header) -> NDArray[np.uint8]:
    """Decode RLE8 or RLE4. Pixels that the file skips have index 0."""
    width, height, nibbles = header.width, header.height, header.compression == RLE4
    indices = bytearray(width * height)
    x, y, at, end = 0, 0, 0, len(data)
    while y < height:
        if at + 2 > end:
            if y == height - 1 and x >= width:
                break
            raise incomplete(NAME)
        count, value = data[at], data[at + 1]
        at += 2
        if count:
            run = bytes((value >> 4, value & 15)) * (count // 2 + 1) if nibbles else bytes((value,)) * count
        elif value == 0:
            x, y = 0, y + 1
            continue
        elif value == 1:
            break
        elif value == 2:
            if at + 2 > end:
                raise incomplete(NAME)
            x, y, at = x + data[at], y + data[at + 1], at + 2
            continue
        else:
            count = value
            length = (count + 1) // 2 if nibbles else count
            run = bytes(data[at : at + length])
            if len(run) < length:
                raise incomplete(NAME)
            if nibbles:
                run = bytes(nibble for byte in run for nibble in (byte >> 4, byte & 15))
            at += length + length % 2
        count = max(0, min(count, width - x))  # a run does not go on in the next row
        place = y * width + x
        indices[place : place + count] = run[:count]
        x += count
    pixels = np.frombuffer(indices, np.uint8).reshape(height, width)
    return pixels if header.top_down else pixels[::-1]


def _field(words: NDArray[np.unsignedinteger], mask: int) -> NDArray[np.uint8]:
    """The bits under a mask, over 0 to 255."""
    if not mask:
        return np.zeros(words.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    top = mask >> shift
    values = (words & words.dtype.type(mask & np.iinfo(words.dtype).max)) >> words.dtype.type(shift)
    scaled: NDArray[np.uint8] = (np.rint(values * (255 / top)) if top != 255 else values).astype(np.uint8)
    return scaled
