"""The `.rae` file: the quantized latents of one picture.

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
    ...     the planes, each as `residae.codec.context` defines it
    4       CRC-32 (that of zlib and PNG) of all preceding bytes

A plane of h x w pixels has a latent of shape (C, ceil(h / 16), ceil(w / 16)). Y has the size of the picture; Cb and Cr
have ceil(height / 2) x ceil(width / 2) pixels. The checkpoint gives C and the tables (`residae.codec.tables.Tables`). A
channel's gain is interpolated between the tables' knots, which are evenly spaced from quality 0 to 100: linearly in its
logarithm. With the means of the plane's index (0 for Y, 1 for Cb, 2 for Cr),

    symbol = round((latent - mean) * gain)        latent = symbol / gain + mean

Symbols are identical on every machine, latents to within float rounding.
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
    """The header of a file.

    Attributes:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        quality: 0 to 100.
        fingerprint: Of the checkpoint; 16 hexadecimal digits.
        name: Of the checkpoint; at most 12 bytes of UTF-8.
        plane_bytes: Coded bytes of Y, or of Y, Cb and Cr.
        file_bytes: Size of the whole file.
    """

    width: int
    height: int
    quality: float
    fingerprint: str
    name: str
    plane_bytes: tuple[int, ...]
    file_bytes: int

    @property
    def color(self) -> bool:
        return len(self.plane_bytes) == 3

    @property
    def bits_per_pixel(self) -> float:
        return bits_per_pixel(self.file_bytes, self.width, self.height)


def read_info(data: bytes) -> FileInfo:
    """Read the header of a file. No checkpoint is needed.

    Raises:
        CodecError: The file is damaged, or is not a `.rae` file.
    """
    return parse(data)[0]


def parse(data: bytes) -> tuple[FileInfo, list[bytes]]:
    """Split a file into its header and its coded planes.

    Whatever can be checked without tables is checked here, before anything is allocated.

    Raises:
        CodecError: The file is damaged, or is not a `.rae` file.
    """
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
    text = body[HEADER.size : HEADER.size + name_bytes].decode(errors="replace")
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)  # no escape codes for terminals
    lengths = [LENGTH.unpack_from(body, HEADER.size + name_bytes + i * LENGTH.size)[0] for i in range(planes - 1)]
    lengths.append(len(body) - start - sum(lengths))
    if lengths[-1] < 0:
        raise CodecError("The file is damaged: its planes are longer than the file.")
    parts = []
    for length in lengths:
        parts.append(body[start : start + length])
        start += length
    return FileInfo(width, height, level / 100, fingerprint.hex(), name, tuple(lengths), len(data)), parts
