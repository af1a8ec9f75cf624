"""The `.rae` file: a picture's latents, quantized, in few bytes.

All numbers are little-endian and unsigned.

    bytes   what
    3       "RAE"
    1       version, 1
    8       fingerprint of the checkpoint: its weights and tables
    2       width of the picture, pixels, 1 .. 65,500
    2       height; width * height is at most 64,000,000
    2       quality, in hundredths: 0 .. 10,000
    1       planes: 1 (Y) or 3 (Y, Cb, Cr)
    1       length of the name, 0 .. 12
    0-12    name of the checkpoint in UTF-8, for people
    4 each  length in bytes of every plane but the last, which fills the rest
    ...     the planes, each as `residae.codec.context` describes it
    4       CRC-32 (that of zlib and PNG) of all that comes before

Y has a latent of (C, ceil(height / 16), ceil(width / 16)); Cb and Cr are planes of half the size, ceil(height / 2) by
ceil(width / 2), and have their latents. C, and all that follows, is known to the checkpoint. With the plane's kind
(0, 1, 2) and the tables of `residae.codec.tables.Tables`, the gain of a channel at a quality lies between those of
the two knots around it, interpolated linearly in their logarithms over knots evenly spaced from quality 0 to 100, and

    symbol = round((latent - mean) * gain)        latent = symbol / gain + mean

Symbols are the same on every machine. Latents are the same to float rounding.
"""

import struct
import zlib
from dataclasses import dataclass

from residae.codec.tables import MAX_LEVEL
from residae.errors import CodecError
from residae.geometry import MAX_PIXELS, MAX_SIDE
from residae.metrics import bits_per_pixel

MAGIC = b"RAE"
VERSION = 1
HEADER = struct.Struct("<3sB8sHHHBB")
LENGTH = struct.Struct("<I")
CRC = struct.Struct("<I")
FINGERPRINT_BYTES = 8
NAME_BYTES = 12


@dataclass(frozen=True)
class FileInfo:
    """What a file says of itself, without its checkpoint."""

    width: int
    height: int
    quality: float  # 0 .. 100
    fingerprint: str  # of the checkpoint, 16 hexadecimal digits
    name: str  # of the checkpoint, cut to 12 bytes
    plane_bytes: tuple[int, ...]  # of Y, or of Y, Cb and Cr
    file_bytes: int

    @property
    def color(self) -> bool:
        return len(self.plane_bytes) == 3

    @property
    def bits_per_pixel(self) -> float:
        return bits_per_pixel(self.file_bytes, self.width, self.height)


def read_info(data: bytes) -> FileInfo:
    """What a file says of itself; no checkpoint is needed. CodecError where it is damaged."""
    return parse(data)[0]


def parse(data: bytes) -> tuple[FileInfo, list[bytes]]:
    """Check all that can be checked without tables, before anything is allocated."""
    if data[: len(MAGIC)] != MAGIC:
        raise CodecError("The file is not a .rae file.")
    if len(data) < HEADER.size + CRC.size:
        raise CodecError("The file is cut short.")
    _, version, fingerprint, width, height, level, planes, name_bytes = HEADER.unpack_from(data)
    if version != VERSION:
        raise CodecError(f"The file is damaged, or of a version that this program does not know ({version}).")
    body = data[: -CRC.size]
    if zlib.crc32(body) != CRC.unpack(data[-CRC.size :])[0]:
        raise CodecError("The file is damaged or cut short: its checksum does not match.")
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise CodecError(
            f"The file claims {width:,} x {height:,} pixels; the limits are {MAX_PIXELS // 10**6} megapixels "
            f"and a side of {MAX_SIDE:,}."
        )
    start = HEADER.size + name_bytes + (planes - 1) * LENGTH.size
    if planes not in (1, 3) or level > MAX_LEVEL or name_bytes > NAME_BYTES or start > len(body):
        raise CodecError("The file is damaged: its header makes no sense.")
    words = body[HEADER.size : HEADER.size + name_bytes].decode(errors="replace")
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)  # a terminal obeys others
    lengths = [LENGTH.unpack_from(body, HEADER.size + name_bytes + i * LENGTH.size)[0] for i in range(planes - 1)]
    lengths.append(len(body) - start - sum(lengths))
    if lengths[-1] < 0:
        raise CodecError("The file is damaged: its planes are longer than the file.")
    parts = []
    for length in lengths:
        parts.append(body[start : start + length])
        start += length
    return FileInfo(width, height, level / 100, fingerprint.hex(), name, tuple(lengths), len(data)), parts
