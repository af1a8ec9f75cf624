"""The `.rae` file: the quantized latents of one picture.

All numbers are little-endian and unsigned.

    bytes   what
    3       "RAE"
    1       version: 1, or 2 if the file holds a scale
    8       fingerprint of the checkpoint: its weights and tables
    2       width of the picture, pixels, 1 .. 65,500
    2       height; width * height is at most 64,000,000
    2       quality, in hundredths: 0 .. 10,000
    1       planes: 1 (Y) or 3 (Y, Cb, Cr)
    1       length of the name, 0 .. 12
    2       version 2 alone: scale, in hundredths, 50 .. 400; in version 1 the scale is 100
    0-12    name of the checkpoint in UTF-8, for people
    4 each  length in bytes of every plane but the last, which fills the rest
    ...     the planes, each as `residae.codec.context` defines it
    4       CRC-32 (that of zlib and PNG) of all preceding bytes

Files of scale 100 are written as version 1, which older decoders read.

From latents to pixels:

- A scaled length is max(1, (length * scale + 50) // 100), with // rounding down. The scaled width and height are within
  the same limits as width and height.
- The decoded plane Y has the scaled height and width. Cb and Cr have half of these, rounded up.
- A plane of h x w pixels has a latent of shape (C, ceil(h / 16), ceil(w / 16)). The checkpoint gives C and the tables
  (`residae.codec.tables.Tables`). The gain of a channel is interpolated between the tables' knots, which are evenly
  spaced from quality 0 to 100: linearly in its logarithm. With the means of the plane's index (0 for Y, 1 for Cb, 2 for
  Cr), symbol = round((latent - mean) * gain) and latent = symbol / gain + mean.
- The decoder network turns a latent into a plane of whole cells of 16 x 16 values in [0, 1]. Its first h rows and w
  columns are kept.
- `residae.resample` defines how Y is resampled to the height and width of the picture, Cb and Cr to half of these,
  rounded up. The encoder resamples by the same definition, in the other direction, before the encoder network.
- In color, a pixel in row y and column x takes Cb and Cr at ((y + 1/2) / 2, (x + 1/2) / 2), interpolated linearly
  along both axes between the samples, whose centers are at whole numbers + 1/2, and constant beyond the outermost ones.
  Then, by BT.601 in full range (JFIF), R = Y + 1.402 (Cr - 128/255), B = Y + 1.772 (Cb - 128/255) and
  G = (Y - 0.299 R - 0.114 B) / 0.587.
- Each value is clamped to [0, 1], multiplied by 255 and rounded, halves to even.

Symbols are identical on every machine, latents to within float rounding.
"""

import struct
import zlib
from dataclasses import dataclass

from residae.errors import CodecError
from residae.geometry import MAX_PIXELS, MAX_SCALE, MAX_SIDE, MIN_SCALE, scaled_shape, within_limits
from residae.metrics import bits_per_pixel
from residae.quality import MAX_LEVEL

MAGIC = b"RAE"
VERSION, SCALED_VERSION = 1, 2
HEADER = struct.Struct("<3sB8sHHHBB")
SCALE = struct.Struct("<H")
SCALE_BYTES = SCALE.size  # by which the header at another scale than 1 is longer
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
        scale: MIN_SCALE to MAX_SCALE; 1 in files of version 1.
        fingerprint: Of the checkpoint; 16 hexadecimal digits.
        name: Of the checkpoint; at most 12 bytes of UTF-8.
        plane_bytes: Coded bytes of Y, or of Y, Cb and Cr.
        file_bytes: Size of the whole file.
    """

    width: int
    height: int
    quality: float
    scale: float
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

    Args:
        data: The whole file, whose checksum is checked as well.

    Raises:
        CodecError: The file is damaged, or is not a `.rae` file.
    """
    return parse(data)[0]


def parse(data: bytes) -> tuple[FileInfo, list[bytes]]:
    """Split a file into its header and its coded planes.

    Whatever can be checked without tables is checked here, before anything is allocated.

    Args:
        data: The whole file.

    Returns:
        The header, and the coded bytes of Y, or of Y, Cb and Cr.

    Raises:
        CodecError: The file is damaged, or is not a `.rae` file.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise CodecError("The file is not a .rae file: choose one that Residae has saved.")
    if len(data) < HEADER.size + CRC.size:
        raise CodecError("The file is cut short: save or copy it again.")
    _, version, fingerprint, width, height, level, planes, name_bytes = HEADER.unpack_from(data)
    if version not in (VERSION, SCALED_VERSION):
        raise CodecError(f"The file is damaged, or of a version that this program does not know ({version}).")
    body = data[: -CRC.size]
    if zlib.crc32(body) != CRC.unpack(data[-CRC.size :])[0]:
        raise CodecError("The file is damaged or cut short: save or copy it again.")
    name_start = HEADER.size + (SCALE.size if version == SCALED_VERSION else 0)
    start = name_start + name_bytes + (planes - 1) * LENGTH.size
    if planes not in (1, 3) or level > MAX_LEVEL or name_bytes > NAME_BYTES or start > len(body):
        raise CodecError("The file is damaged: its header makes no sense.")
    scale = SCALE.unpack_from(body, HEADER.size)[0] / 100 if version == SCALED_VERSION else 1.0
    if not MIN_SCALE <= scale <= MAX_SCALE:
        raise CodecError(f"The file claims a scale of {scale:g}; a scale is {MIN_SCALE:g} to {MAX_SCALE:g}.")
    _check_size(height, width, "")
    _check_size(*scaled_shape(height, width, scale), " after scaling")
    text = body[name_start : name_start + name_bytes].decode(errors="replace")
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)  # no escape codes for terminals
    lengths = [LENGTH.unpack_from(body, name_start + name_bytes + i * LENGTH.size)[0] for i in range(planes - 1)]
    lengths.append(len(body) - start - sum(lengths))
    if lengths[-1] < 0:
        raise CodecError("The file is damaged: its planes are longer than the file.")
    parts = []
    for length in lengths:
        parts.append(body[start : start + length])
        start += length
    return FileInfo(width, height, level / 100, scale, fingerprint.hex(), name, tuple(lengths), len(data)), parts


def _check_size(height: int, width: int, when: str) -> None:
    if not within_limits(height, width):
        raise CodecError(
            f"The file claims {width:,} × {height:,} pixels{when}; the limits are {MAX_PIXELS // 10**6} megapixels "
            f"and a side of {MAX_SIDE:,}."
        )
