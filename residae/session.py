"""The one orchestration: load a checkpoint, encode a picture once, then decode at any rate, look and compare."""

import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from residae import codec
from residae.checkpoint import ResidualAutoencoder
from residae.codec import Codec, Compressed
from residae.engine import Engine, Latent, Progress
from residae.entropy import Tables
from residae.errors import CheckpointError
from residae.image import Picture, Pixels, from_planes, to_gray, to_planes
from residae.metrics import psnr, ssim

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
ENCODE_SHARE = 0.39  # of the work of both ways: 51.996 of 132.95 GFLOP


@dataclass(frozen=True, eq=False)
class Encoding:
    """What the encoder made of one picture: all that decoding needs, a sixteenth of the picture's numbers."""

    latents: tuple[Latent, ...]  # (C, h, w) of luma alone, or of Y, Cb and Cr
    height: int  # of the picture, pixels
    width: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Decoding:
    """The picture rebuilt: (H, W) or (H, W, 3) uint8."""

    pixels: Pixels
    seconds: float


@dataclass(frozen=True, eq=False)
class Report:
    """A picture beside what is left of it, and how far apart the two are."""

    original: Pixels  # (H, W) luma, or (H, W, 3) in colour
    encoding: Encoding
    compressed: Compressed | None  # the file that the picture was rebuilt from; None from the unquantised latent
    decoding: Decoding
    psnr: float  # dB
    ssim: float
    file_bytes: int | None  # of the file that the picture came in; None where it held more pixels
    notices: tuple[str, ...]  # about the picture, as sentences


class Laboratory:
    """One checkpoint on one device, and what can be done with it. Holds no picture, so any number of users share it."""

    def __init__(self, network: ResidualAutoencoder, name: str, device: torch.device | str | None = None) -> None:
        self.name = name
        self.ratio = network.get_compression_ratio()  # pixels per latent number
        self.engine = Engine(network, device)
        tables = network.tables or Tables.default(network.latent_channels)
        self.codec = Codec(tables, network.fingerprint(), name)

    @classmethod
    def open(cls, checkpoint: str | Path | None = None, device: torch.device | str | None = None) -> Self:
        """From a folder or a Hub id, on a device such as `cpu` or `cuda`. CheckpointError as `from_pretrained`.

        Without `checkpoint`, the one that the environment names in RESIDAE_CHECKPOINT, else the project's own, which
        lies in a checkout beside the package.
        """
        checkpoint = checkpoint or os.environ.get("RESIDAE_CHECKPOINT") or CHECKPOINTS / "residae-16x"
        if checkpoint == CHECKPOINTS / "residae-16x" and not CHECKPOINTS.is_dir():
            raise CheckpointError(
                "This package was installed without weights: name a folder with them, or a model on the Hub as "
                "OWNER/NAME, with --checkpoint or in RESIDAE_CHECKPOINT."
            )
        return cls(ResidualAutoencoder.from_pretrained(checkpoint), Path(checkpoint).name, device)

    def encode(self, picture: Picture, color: bool, progress: Progress | None = None) -> Encoding:
        """Encode luma alone, or with `color` Y, Cb and Cr, each through the same network."""
        start = time.perf_counter()
        planes = to_planes(picture, color)
        latents = tuple(
            self.engine.encode(plane, part) for plane, part in zip(planes, _parts(progress, len(planes)), strict=True)
        )
        return Encoding(latents, picture.height, picture.width, time.perf_counter() - start)

    def decode(self, latents: Sequence[Latent], height: int, width: int, progress: Progress | None = None) -> Decoding:
        """Rebuild a picture of `height` x `width` pixels from its latents, of luma alone or of Y, Cb and Cr."""
        start = time.perf_counter()
        half = -(-height // 2), -(-width // 2)
        sizes = ((height, width), half, half)[: len(latents)]
        planes = [
            self.engine.decode(latent, *size, part)
            for latent, size, part in zip(latents, sizes, _parts(progress, len(sizes)), strict=True)
        ]
        return Decoding(from_planes(planes), time.perf_counter() - start)

    def compress(self, encoding: Encoding, quality: float) -> Compressed:
        """The `.rae` file at a quality of 0 to 100."""
        return self.codec.compress(encoding.latents, encoding.height, encoding.width, quality)

    def compress_within(self, encoding: Encoding, max_bytes: int) -> Compressed:
        """The `.rae` file of the highest quality that is no larger than `max_bytes`. CodecError if there is none."""
        return self.codec.to_target(encoding.latents, encoding.height, encoding.width, max_bytes)

    def decompress(self, data: bytes, progress: Progress | None = None) -> tuple[codec.Info, Decoding]:
        """The picture in a `.rae` file, and what the file says of itself. CodecError as `Codec.decompress`."""
        opened = self.codec.decompress(data)
        return opened.info, self.decode(opened.latents, opened.info.height, opened.info.width, progress)

    def examine(
        self, picture: Picture, color: bool, quality: float | None = None, progress: Progress | None = None
    ) -> Report:
        """Encode, compress at `quality` (without one the latent stays unquantised), rebuild and measure."""
        encoding = self.encode(picture, color, between(progress, 0, ENCODE_SHARE))
        compressed = None if quality is None else self.compress(encoding, quality)
        return self.judge(picture, encoding, compressed, between(progress, ENCODE_SHARE, 1))

    def judge(
        self, picture: Picture, encoding: Encoding, compressed: Compressed | None, progress: Progress | None = None
    ) -> Report:
        """Rebuild the picture from the file, or from its unquantised latents where there is none, and measure it."""
        latents = self.codec.decompress(compressed.data).latents if compressed else encoding.latents
        decoding = self.decode(latents, encoding.height, encoding.width, progress)
        color = len(latents) == 3
        original, rebuilt = reference(picture, color), decoding.pixels
        dropped = picture.pixels.ndim == 3 and not color
        return Report(
            original,
            encoding,
            compressed,
            decoding,
            psnr=psnr(original, rebuilt),
            ssim=ssim(original, rebuilt),
            file_bytes=picture.file_bytes,
            notices=(*picture.notices, *(["Only its luma is kept; choose Colour to keep more."] if dropped else [])),
        )


def reference(picture: Picture, color: bool) -> Pixels:
    """What a reconstruction is measured against: the picture's pixels, or its luma. As (H, W, 3) in colour."""
    if not color:
        return to_gray(picture)
    return picture.pixels if picture.pixels.ndim == 3 else picture.pixels[..., None].repeat(3, axis=2)


def between(progress: Progress | None, start: float, stop: float) -> Progress | None:
    """The progress of one part of a piece of work, told as progress of the whole."""
    if progress is None:
        return None
    return lambda share: progress(start + (stop - start) * share)


def _parts(progress: Progress | None, planes: int) -> list[Progress | None]:
    """One callback for each plane: luma, or luma and two chroma planes of a quarter of its size."""
    cuts = {1: (0, 1), 3: (0, 4 / 6, 5 / 6, 1)}[planes]
    return [between(progress, start, stop) for start, stop in itertools.pairwise(cuts)]
