"""Compress latents to `.rae` files and back with the tables of one checkpoint. No network is needed."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from residae.arrays import Latent
from residae.codec import coder
from residae.codec.quantizer import dequantize, quantize
from residae.codec.rae import (
    CRC,
    FINGERPRINT_BYTES,
    HEADER,
    LENGTH,
    MAGIC,
    NAME_BYTES,
    SCALE,
    SCALED_VERSION,
    VERSION,
    FileInfo,
    parse,
)
from residae.codec.tables import Symbols, Tables
from residae.errors import CodecError, SizeError, translate_oom
from residae.geometry import grid_shape, plane_shapes, scale_hundredths
from residae.quality import MAX_LEVEL, quality_level

RELEASED = "residae-"  # begins the names of the project's own weights, each of which is a tag of their repository


@dataclass(frozen=True, eq=False)
class Compressed:
    """A `.rae` file and the symbols that it holds.

    Attributes:
        data: The content of the file.
        quality: 0 to 100.
        symbols: (C, h, w) int32 of each plane.
    """

    data: bytes
    quality: float
    symbols: tuple[Symbols, ...]


@dataclass(frozen=True, eq=False)
class Decompressed:
    """The content of a `.rae` file.

    Attributes:
        latents: (C, h, w) float32 of Y, or of Y, Cb and Cr, dequantized.
        symbols: (C, h, w) int32 of each plane.
        info: The file's header.
    """

    latents: tuple[Latent, ...]
    symbols: tuple[Symbols, ...]
    info: FileInfo


@dataclass(frozen=True, eq=False)
class Codec:
    """The codec of one checkpoint.

    Attributes:
        tables: The codec's tables.
        fingerprint: The 8 bytes by which files name the checkpoint.
        name: The checkpoint's name, for people; files hold its first 12 bytes.

    Raises:
        ValueError: The fingerprint does not have 8 bytes.
    """

    tables: Tables
    fingerprint: bytes
    name: str = ""

    def __post_init__(self) -> None:
        if len(self.fingerprint) != FINGERPRINT_BYTES:
            raise ValueError(f"a fingerprint has {FINGERPRINT_BYTES} bytes, not {len(self.fingerprint)}")

    @translate_oom()
    def compress(
        self, latents: Sequence[Latent], height: int, width: int, quality: float, scale: float = 1.0
    ) -> Compressed:
        """Quantize and code the latents of a picture.

        Args:
            latents: (C, h, w) of Y, or of Y, Cb and Cr.
            height: Of the picture, in pixels.
            width: Of the picture, in pixels.
            quality: 0 to 100; rounded to hundredths.
            scale: At which the picture was encoded, 0.5 to 4; rounded to hundredths.

        Returns:
            The file, the quality that it records, and the symbols that it holds.

        Raises:
            ValueError: The latents do not have the shapes of this picture's, or hold NaN, or the quality or the scale
                is out of range.
        """
        shapes = latent_shapes(self.tables.channels, height, width, len(latents), scale)
        if [latent.shape for latent in latents] != shapes:
            raise ValueError(f"the latents of a {height} x {width} picture have the shapes {shapes}")
        return self.write(self.quantize(latents, quality), height, width, quality, scale)

    def quantize(self, latents: Sequence[Latent], quality: float) -> tuple[Symbols, ...]:
        """The symbols of the latents of a picture.

        Args:
            latents: (C, h, w) of Y, or of Y, Cb and Cr.
            quality: 0 to 100; rounded to hundredths.

        Returns:
            (C, h, w) int32 of each plane.

        Raises:
            ValueError: The latents hold NaN, or the quality is out of range.
        """
        level = quality_level(quality)
        return tuple(quantize(latent, plane_index, level, self.tables) for plane_index, latent in enumerate(latents))

    def dequantize(self, symbols: Sequence[Symbols], quality: float) -> tuple[Latent, ...]:
        """The latents that symbols stand for: those of a file that holds them.

        Args:
            symbols: (C, h, w) int32 of each plane.
            quality: At which they were quantized.

        Returns:
            (C, h, w) float32 of each plane.
        """
        level = quality_level(quality)
        return tuple(dequantize(plane, plane_index, level, self.tables) for plane_index, plane in enumerate(symbols))

    def write(
        self, symbols: Sequence[Symbols], height: int, width: int, quality: float, scale: float = 1.0
    ) -> Compressed:
        """Code the symbols of a picture.

        Args:
            symbols: (C, h, w) int32 of each plane, quantized at `quality`.
            height: Of the picture, in pixels.
            width: Of the picture, in pixels.
            quality: 0 to 100; rounded to hundredths.
            scale: As in `compress`.

        Returns:
            As `compress`.

        Raises:
            ValueError: The quality or the scale is out of range.
        """
        level = quality_level(quality)
        planes = [coder.encode(plane, plane_index, level, self.tables) for plane_index, plane in enumerate(symbols)]
        name = self.name.encode()[:NAME_BYTES].decode(errors="ignore").encode()  # whole characters only
        hundredths = scale_hundredths(scale)
        version = VERSION if hundredths == 100 else SCALED_VERSION
        header = HEADER.pack(MAGIC, version, self.fingerprint, width, height, level, len(planes), len(name))
        if version == SCALED_VERSION:
            header += SCALE.pack(hundredths)
        lengths = (LENGTH.pack(len(plane)) for plane in planes[:-1])
        body = b"".join((header, name, *lengths, *planes))
        return Compressed(body + CRC.pack(zlib.crc32(body)), level / 100, tuple(symbols))

    def compress_within(
        self, latents: Sequence[Latent], height: int, width: int, max_bytes: int, scale: float = 1.0
    ) -> Compressed:
        """The file of the highest quality that is no larger than `max_bytes`, found by bisection.

        Args:
            latents: As in `compress`.
            height: Of the picture, in pixels.
            width: Of the picture, in pixels.
            max_bytes: Size of the whole file.
            scale: As in `compress`.

        Raises:
            SizeError: Even quality 0 takes more bytes.
            ValueError: As `compress`.
        """
        return best_within(
            lambda level: self.compress(latents, height, width, level / 100, scale), MAX_LEVEL, max_bytes
        )

    @translate_oom()
    def decompress(self, data: bytes) -> Decompressed:
        """Decode a `.rae` file to latents.

        Args:
            data: The whole file.

        Returns:
            The dequantized latents, their symbols and the header.

        Raises:
            CodecError: The file is damaged, or was made with another checkpoint.
        """
        info, planes = parse(data)
        if info.fingerprint != self.fingerprint.hex():
            made, mine = _label(info.name, info.fingerprint), _label(self.name, self.fingerprint.hex())
            released = info.name.startswith(RELEASED)
            where = f": on the Hub, the former is named as OWNER/NAME@{info.name}" if released else ""
            raise CodecError(f"The file was made with the checkpoint {made}, and cannot be opened with {mine}{where}.")
        level = quality_level(info.quality)
        shapes = latent_shapes(self.tables.channels, info.height, info.width, len(planes), info.scale)
        symbols = tuple(
            coder.decode(plane, shape, plane_index, level, self.tables)
            for plane_index, (plane, shape) in enumerate(zip(planes, shapes, strict=True))
        )
        return Decompressed(self.dequantize(symbols, info.quality), symbols, info)

    def channel_bits(self, symbols: Sequence[Symbols], quality: float) -> NDArray[np.float64]:
        """The ideal code length of each channel of each plane.

        Args:
            symbols: (C, h, w) of each plane.
            quality: At which they were quantized.

        Returns:
            (planes, C), in bits.
        """
        level = quality_level(quality)
        return np.stack(
            [coder.ideal_bits(plane, plane_index, level, self.tables) for plane_index, plane in enumerate(symbols)]
        )


def best_within(compress: Callable[[int], Compressed], highest: int, max_bytes: int) -> Compressed:
    """The file of the highest level that is no larger than `max_bytes`, found by bisection.

    Args:
        compress: Makes the file of a level.
        highest: The highest level that is tried.
        max_bytes: Size of the whole file.

    Raises:
        SizeError: Even the file of level 0 is larger.
    """
    best = compress(0)
    if len(best.data) > max_bytes:
        raise SizeError(
            f"This picture takes at least {len(best.data):,} bytes, more than the {max_bytes:,} that are allowed: "
            "choose a larger file size."
        )
    low, high = 0, highest + 1
    while high - low > 1:
        middle = (low + high) // 2
        found = compress(middle)
        if len(found.data) <= max_bytes:
            low, best = middle, found
        else:
            high = middle
    return best


def latent_shapes(
    channels: int, height: int, width: int, planes: int, scale: float = 1.0
) -> list[tuple[int, int, int]]:
    """Shapes (C, h, w) of the latents of the one or three planes of a picture of `height` x `width` pixels.

    Args:
        channels: C, of the latent.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        planes: 1 for Y alone, 3 for Y, Cb and Cr.
        scale: At which the picture is encoded, 0.5 to 4.

    Raises:
        ValueError: As `residae.geometry.plane_shapes`.
    """
    return [(channels, *grid_shape(*shape)) for shape in plane_shapes(height, width, planes, scale)]


def _label(name: str, fingerprint: str) -> str:
    return f"{name} ({fingerprint})" if name else fingerprint
