"""GIF (GIF89a). The blocks are read here; the decoder gets the first frame alone."""

import struct
from dataclasses import dataclass

import numpy as np

from residae.arrays import Pixels
from residae.image.raster import FIRST_FRAME, Raster
from residae.image.refusals import check_size, incomplete

NAME = "GIF"
CODECS = ("gif_decode",)

EXTENSION, FRAME, TRAILER, CONTROL = 0x21, 0x2C, 0x3B, 0xF9
HAS_TABLE, HAS_TRANSPARENT = 0x80, 1


@dataclass
class Frame:
    """An image descriptor and what belongs to it.

    Attributes:
        left: In pixels of the canvas.
        top: In pixels of the canvas.
        width: Pixels.
        height: Pixels.
        flags: The packed byte of the descriptor.
        table: The local color table; empty if there is none.
        data: Minimum code size and sub-blocks, with the block of length zero.
        end: Where the next block begins.
    """

    left: int
    top: int
    width: int
    height: int
    flags: int
    table: bytes
    data: bytes
    end: int


def read(data: bytes) -> Raster:
    """Decode the first frame of a GIF, on its canvas. What it leaves uncovered is clear, as in browsers.

    Args:
        data: The whole file.

    Returns:
        The samples, and what they mean.

    Raises:
        ImageError: The file is incomplete, over a limit, or of a kind that is not supported.
        Exception: The file is damaged; `residae.image.open_picture` catches every class.
    """
    if len(data) < 13:
        raise incomplete(NAME)
    width, height, flags = struct.unpack("<HHB", data[6:11])
    at = 13
    table = _table(data, at, flags)
    at += len(table)
    transparent = None
    while True:
        kind = data[at] if at < len(data) else None
        if kind is None or kind == TRAILER:
            raise incomplete(NAME)
        if kind == FRAME:
            break
        if kind != EXTENSION:
            raise ValueError(f"a block of kind {kind}")
        if data[at + 1 : at + 3] == bytes([CONTROL, 4]) and len(data) > at + 6:
            transparent = data[at + 6] if data[at + 3] & HAS_TRANSPARENT else None
        at = _blocks_end(data, at + 2)
    frame = _frame(data, at, width, height)
    width, height = max(width, frame.left + frame.width), max(height, frame.top + frame.height)  # as browsers do
    check_size(width, height)
    frame.data = _sub_blocks(data, frame.end)
    colors = np.frombuffer(frame.table or table, np.uint8).reshape(-1, 3)
    if not len(colors):
        colors = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)  # the standard leaves them to the decoder
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors
    indices = _decode(frame)
    inside = (slice(frame.top, frame.top + frame.height), slice(frame.left, frame.left + frame.width))
    gray = bool((palette == palette[:, :1]).all())
    color = np.zeros((height, width) if gray else (height, width, 3), np.uint8)
    color[inside] = palette[:, 0][indices] if gray else palette[indices]
    raster = Raster(color)
    if transparent is not None or indices.shape != (height, width):
        raster.alpha = np.zeros((height, width), np.uint8)
        raster.alpha[inside] = 255
        if transparent is not None:
            raster.alpha[inside][indices == transparent] = 0
    if _another_frame(data, frame.end + len(frame.data)):
        raster.notices.append(FIRST_FRAME)
    return raster


def _table(data: bytes, at: int, flags: int) -> bytes:
    return data[at : at + 3 * 2 ** ((flags & 7) + 1)] if flags & HAS_TABLE else b""


def _frame(data: bytes, at: int, width: int, height: int) -> Frame:
    if at + 11 > len(data):
        raise incomplete(NAME)
    left, top, frame_width, frame_height, flags = struct.unpack("<HHHHB", data[at + 1 : at + 10])
    check_size(frame_width, frame_height)
    check_size(max(width, left + frame_width), max(height, top + frame_height))
    table = _table(data, at + 10, flags)
    return Frame(left, top, frame_width, frame_height, flags, table, b"", at + 10 + len(table))


def _blocks_end(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


def _sub_blocks(data: bytes, at: int) -> bytes:
    end = _blocks_end(data, at + 1)
    if end > len(data):
        raise incomplete(NAME)
    return data[at:end]


def _decode(frame: Frame) -> Pixels:
    """(H, W) indices into the color table."""
    import imagecodecs  # giflib tells where the data end early; Pillow leaves the rest as it was

    interlaced = frame.flags & 0x40
    screen = struct.pack("<HHBBB", frame.width, frame.height, 0xF7, 0, 0) + bytes(768)
    image = b"," + struct.pack("<HHHHB", 0, 0, frame.width, frame.height, interlaced)
    try:
        indices = imagecodecs.gif_decode(b"GIF89a" + screen + image + frame.data + b";", index=0, asrgb=False)
    except imagecodecs.GifError as error:
        raise incomplete(NAME) from error
    return np.asarray(indices).reshape(frame.height, frame.width)


def _another_frame(data: bytes, at: int) -> bool:
    """Whether an image descriptor with data follows; what lies behind the trailer is not looked at."""
    while at + 11 <= len(data) and data[at] == EXTENSION:
        at = _blocks_end(data, at + 2)
    return at + 11 <= len(data) and data[at] == FRAME and min(struct.unpack("<HH", data[at + 5 : at + 9])) > 0
