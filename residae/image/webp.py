"""WebP (RFC 9649)."""

import io

import numpy as np
from PIL import Image, WebPImagePlugin

from residae.image import exif
from residae.image.raster import FIRST_FRAME, Raster
from residae.image.refusals import check_size, incomplete

NAME = "WebP"
READER = WebPImagePlugin


def read(data: bytes) -> Raster:
    """Decode a WebP; of an animation the first frame.

    Args:
        data: The whole file.

    Returns:
        The samples, and what they mean.

    Raises:
        ImageError: The file is incomplete, over a limit, or of a kind that is not supported.
        Exception: The file is damaged; `residae.image.open_picture` catches every class.
    """
    if 8 + int.from_bytes(data[4:8], "little") > len(data) + 1:  # some writers count a pad byte that they leave out
        raise incomplete(NAME)
    chunks: dict[bytes, bytes] = {}
    frames, at = 0, 12
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind in (b"VP8X", b"VP8 ", b"VP8L"):
            check_size(*_size(kind, data[at + 8 : at + 18]))  # before the decoder reserves its canvas
        if kind in (b"ICCP", b"EXIF"):
            chunks.setdefault(kind, data[at + 8 : at + 8 + length])
        frames += kind == b"ANMF"
        at += 8 + length + length % 2
    image = Image.open(io.BytesIO(data), formats=["WEBP"])
    image.load()
    samples = np.asarray(image if image.mode in ("RGB", "RGBA") else image.convert("RGB"))
    raster = Raster(samples[..., :3], samples[..., 3] if samples.shape[2] == 4 else None, profile=chunks.get(b"ICCP"))
    raster.orientation = exif.orientation(chunks.get(b"EXIF", b""))
    if frames > 1:
        raster.notices.append(FIRST_FRAME)
    return raster


def _size(kind: bytes, head: bytes) -> tuple[int, int]:
    """Width and height that the header of a chunk states."""
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
