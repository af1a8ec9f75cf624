"""Latents to `.rae` files and back, with the tables of one checkpoint; no network is needed."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from residae.codec import coder
from residae.codec.quantizer import Latent, dequantize, quantize
from residae.codec.rae import CRC, FINGERPRINT_BYTES, HEADER, LENGTH, MAGIC, NAME_BYTES, VERSION, FileInfo, parse
from residae.codec.tables import MAX_LEVEL, Symbols, Tables
from residae.errors import CodecError, translate_oom
from residae.geometry import latent_shape, plane_shapes


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
    info: FileInfo


@dataclass(frozen=True, eq=False)
class Codec:
    """The codec of one checkpoint: its tables, and how its files name it."""

    tables: Tables
    fingerprint: bytes  # 8
    name: str = ""

    def __post_init__(self) -> None:
        if len(self.fingerprint) != FINGERPRINT_BYTES:
            raise ValueError(f"a fingerprint has {FINGERPRINT_BYTES} bytes, not {len(self.fingerprint)}")

    @translate_oom()
    def compress(self, latents: Sequence[Latent], height: int, width: int, quality: float) -> Compressed:
        """A file of a picture of `height` x `width` pixels at a quality of 0 to 100, kept to hundredths.

        `latents` are (C, h, w) of Y, or of Y, Cb and Cr. ValueError where they do not fit the picture.
        """
        level = quality_level(quality)
        shapes = latent_shapes(self.tables.channels, height, width, len(latents))
        if [latent.shape for latent in latents] != shapes:
            raise ValueError(f"latents of a {height} x {width} picture have shapes {shapes}")
        symbols = tuple(quantize(latent, plane_index, level, self.tables) for plane_index, latent in enumerate(latents))
        planes = [coder.encode(plane, plane_index, level, self.tables) for plane_index, plane in enumerate(symbols)]
        name = self.name.encode()[:NAME_BYTES].decode(errors="ignore").encode()  # never half a character
        header = HEADER.pack(MAGIC, VERSION, self.fingerprint, width, height, level, len(planes), len(name))
        lengths = (LENGTH.pack(len(plane)) for plane in planes[:-1])
        body = b"".join((header, name, *lengths, *planes))
        return Compressed(body + CRC.pack(zlib.crc32(body)), level / 100, symbols)

    def compress_within(self, latents: Sequence[Latent], height: int, width: int, max_bytes: int) -> Compressed:
        """The file of the highest quality that is no larger than `max_bytes`; bisected, taking size to grow with it.

        CodecError where even quality 0 takes more.
        """
        best = self.compress(latents, height, width, 0)
        if len(best.data) > max_bytes:
            raise CodecError(
                f"This picture takes at least {len(best.data):,} bytes, more than the {max_bytes:,} asked for."
            )
        low, high = 0, MAX_LEVEL + 1
        while high - low > 1:
            middle = (low + high) // 2
            found = self.compress(latents, height, width, middle / 100)
            if len(found.data) <= max_bytes:
                low, best = middle, found
            else:
                high = middle
        return best

    @translate_oom()
    def decompress(self, data: bytes) -> Decompressed:
        """The inverse of `compress`. CodecError where `data` is damaged, or a file of another checkpoint."""
        info, planes = parse(data)
        if info.fingerprint != self.fingerprint.hex():
            made, mine = _label(info.name, info.fingerprint), _label(self.name, self.fingerprint.hex())
            raise CodecError(f"The file was made with the checkpoint {made}, and cannot be opened with {mine}.")
        level = quality_level(info.quality)
        shapes = latent_shapes(self.tables.channels, info.height, info.width, len(planes))
        symbols = tuple(
            coder.decode(plane, shape, plane_index, level, self.tables)
            for plane_index, (plane, shape) in enumerate(zip(planes, shapes, strict=True))
        )
        latents = tuple(dequantize(plane, plane_index, level, self.tables) for plane_index, plane in enumerate(symbols))
        return Decompressed(latents, symbols, info)

    def channel_bits(self, symbols: Sequence[Symbols], quality: float) -> NDArray[np.float64]:
        """(planes, C) ideal code length in bits of each channel: what the file's bytes went into."""
        level = quality_level(quality)
        return np.stack(
            [coder.ideal_bits(plane, plane_index, level, self.tables) for plane_index, plane in enumerate(symbols)]
        )


def quality_level(quality: float) -> int:
    if not 0 <= quality <= 100:
        raise ValueError(f"quality is 0 to 100, not {quality}")
    return round(quality * 100)


def latent_shapes(channels: int, height: int, width: int, planes: int) -> list[tuple[int, int, int]]:
    """Shapes (C, h, w) of the latents of the one or three planes of a picture of `height` x `width` pixels."""
    return [(channels, *latent_shape(*shape)) for shape in plane_shapes(height, width, planes)]


def _label(name: str, fingerprint: str) -> str:
    return f"{name} ({fingerprint})" if name else fingerprint
