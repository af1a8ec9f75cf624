"""The `.rae` file: a picture's latents, quantised, in few bytes.

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
    ...     the planes, each as `residae.entropy` describes it
    4       CRC-32 (that of zlib and PNG) of all that comes before

Y has a latent of (C, ceil(height / 16), ceil(width / 16)); Cb and Cr are planes of half the size, ceil(height / 2) by
ceil(width / 2), and have their latents. C, and all that follows, is known to the checkpoint. With the plane's kind
(0, 1, 2) and the tables of `residae.entropy.Tables`, the gain of a channel at a quality lies between those of the two
knots around it, interpolated linearly in their logarithms over knots evenly spaced from quality 0 to 100, and

    symbol = round((latent - mean) * gain)        latent = symbol / gain + mean

Symbols are the same on every machine. Latents are the same to float rounding.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from residae import entropy
from residae.entropy import FINEST, Symbols, Tables
from residae.errors import CodecError, memory_watched
from residae.limits import MAX_PIXELS, MAX_SIDE
from residae.metrics import bits_per_pixel

Latent = NDArray[np.float32]  # (C, h, w)

MAGIC = b"RAE"
VERSION = 1
HEADER = struct.Struct("<3sB8sHHHBB")
LENGTH = struct.Struct("<I")
CRC = struct.Struct("<I")
FINGERPRINT_BYTES = 8
NAME_BYTES = 12
CELL = 16  # pixels along each side that one latent cell stands for: the network's stride
INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class Info:
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


@dataclass(frozen=True, eq=False)
class Compressed:
    """A file and the picture that it holds."""

    data: bytes
    quality: float  # 0 .. 100
    symbols: tuple[Symbols, ...]  # (C, h, w) int32 of each plane


@dataclass(frozen=True, eq=False)
class Decompressed:
    """What a file holds: all that decoding the picture needs."""

    latents: tuple[Latent, ...]  # (C, h, w) of Y, or of Y, Cb and Cr
    symbols: tuple[Symbols, ...]  # that they come from
    info: Info


@dataclass(frozen=True, eq=False)
class Codec:
    """The codec of one checkpoint: its tables, and how its files name it."""

    tables: Tables
    fingerprint: bytes  # 8
    name: str = ""

    def __post_init__(self) -> None:
        if len(self.fingerprint) != FINGERPRINT_BYTES:
            raise ValueError(f"a fingerprint has {FINGERPRINT_BYTES} bytes, not {len(self.fingerprint)}")

    @memory_watched()
    def compress(self, latents: Sequence[Latent], height: int, width: int, quality: float) -> Compressed:
        """A file of a picture of `height` x `width` pixels at a quality of 0 to 100, kept to hundredths.

        `latents` are (C, h, w) of Y, or of Y, Cb and Cr. ValueError where they do not fit the picture.
        """
        level = _level(quality)
        shapes = _shapes(self.tables.channels, height, width, len(latents))
        if [latent.shape for latent in latents] != shapes:
            raise ValueError(f"latents of a {height} x {width} picture have shapes {shapes}")
        symbols = tuple(quantise(latent, kind, level, self.tables) for kind, latent in enumerate(latents))
        planes = [entropy.encode(plane, kind, level, self.tables) for kind, plane in enumerate(symbols)]
        name = self.name.encode()[:NAME_BYTES].decode(errors="ignore").encode()  # never half a character
        header = HEADER.pack(MAGIC, VERSION, self.fingerprint, width, height, level, len(planes), len(name))
        lengths = (LENGTH.pack(len(plane)) for plane in planes[:-1])
        body = b"".join((header, name, *lengths, *planes))
        return Compressed(body + CRC.pack(zlib.crc32(body)), level / 100, symbols)

    def to_target(self, latents: Sequence[Latent], height: int, width: int, target_bytes: int) -> Compressed:
        """The file of the highest quality that is no larger than `target_bytes`; bisected, taking size to grow with it.

        CodecError where even quality 0 takes more.
        """
        best = self.compress(latents, height, width, 0)
        if len(best.data) > target_bytes:
            raise CodecError(
                f"This picture takes at least {len(best.data):,} bytes, more than the {target_bytes:,} asked for."
            )
        low, high = 0, FINEST + 1
        while high - low > 1:
            middle = (low + high) // 2
            found = self.compress(latents, height, width, middle / 100)
            if len(found.data) <= target_bytes:
                low, best = middle, found
            else:
                high = middle
        return best

    @memory_watched()
    def decompress(self, data: bytes) -> Decompressed:
        """The inverse of `compress`. CodecError where `data` is damaged, or a file of another checkpoint."""
        info, planes = _parse(data)
        if info.fingerprint != self.fingerprint.hex():
            made, mine = _label(info.name, info.fingerprint), _label(self.name, self.fingerprint.hex())
            raise CodecError(f"The file was made with the checkpoint {made}, and cannot be opened with {mine}.")
        level = _level(info.quality)
        shapes = _shapes(self.tables.channels, info.height, info.width, len(planes))
        symbols = tuple(
            entropy.decode(plane, shape, kind, level, self.tables)
            for kind, (plane, shape) in enumerate(zip(planes, shapes, strict=True))
        )
        latents = tuple(dequantise(plane, kind, level, self.tables) for kind, plane in enumerate(symbols))
        return Decompressed(latents, symbols, info)

    def channel_bits(self, symbols: Sequence[Symbols], quality: float) -> NDArray[np.float64]:
        """(planes, C) ideal code length in bits of each channel: what the file's bytes went into."""
        level = _level(quality)
        return np.stack([entropy.ideal_bits(plane, kind, level, self.tables) for kind, plane in enumerate(symbols)])


def inspect(data: bytes) -> Info:
    """What a file says of itself; no checkpoint is needed. CodecError where it is damaged."""
    return _parse(data)[0]


def quantise(latent: Latent, kind: int, level: int, tables: Tables) -> Symbols:
    """Latent (C, h, w) of entropy.PLANES[kind] -> symbols, at a quality of `level` hundredths. ValueError for NaN."""
    scaled = (latent - tables.means[kind][:, None, None]) * _gain(kind, level, tables)
    if np.isnan(scaled).any():
        raise ValueError("a latent must not hold NaN")
    return np.asarray(np.clip(np.rint(scaled), INT32.min, INT32.max), np.int32)


def dequantise(symbols: Symbols, kind: int, level: int, tables: Tables) -> Latent:
    """The inverse of `quantise`, to half a step."""
    latent = symbols / _gain(kind, level, tables) + tables.means[kind][:, None, None]
    return np.asarray(latent, np.float32)


def _gain(kind: int, level: int, tables: Tables) -> NDArray[np.float64]:
    """(C, 1, 1) symbols per unit of the latent."""
    logs = np.log(tables.gains[:, kind].astype(np.float64))
    knot, rest = tables.between(level)
    share = rest / FINEST
    return np.asarray(np.exp(logs[knot] * (1 - share) + logs[knot + 1] * share))[:, None, None]


def _level(quality: float) -> int:
    if not 0 <= quality <= 100:
        raise ValueError(f"quality is 0 to 100, not {quality}")
    return round(quality * 100)


def _shapes(channels: int, height: int, width: int, planes: int) -> list[tuple[int, int, int]]:
    """Of the latents of one or three planes."""
    if planes not in (1, 3):
        raise ValueError(f"a picture has 1 or 3 planes, not {planes}")
    sizes = [(height, width)] + [(-(-height // 2), -(-width // 2))] * (planes - 1)
    return [(channels, -(-h // CELL), -(-w // CELL)) for h, w in sizes]


def _parse(data: bytes) -> tuple[Info, list[bytes]]:
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
    if planes not in (1, 3) or level > FINEST or name_bytes > NAME_BYTES or start > len(body):
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
    return Info(width, height, level / 100, fingerprint.hex(), name, tuple(lengths), len(data)), parts


def _label(name: str, fingerprint: str) -> str:
    return f"{name} ({fingerprint})" if name else fingerprint
