"""The one orchestration: load a checkpoint, encode a picture once, then decode at any rate, look and compare."""

import base64
import itertools
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from residae import codec
from residae.checkpoint import ResidualAutoencoder
from residae.codec import Codec, Compressed
from residae.engine import Engine, Latent, Progress, between
from residae.entropy import Tables
from residae.errors import CheckpointError, memory_watched
from residae.image import Picture, Pixels, from_planes, to_gray, to_planes
from residae.metrics import bits_per_pixel, ms_ssim, psnr, ssim
from residae.rivals import CODECS, Rival, compress_within

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
DEFAULT_CHECKPOINT = "residae-16x"
ENCODE_SHARE = 0.39  # of the work of both ways: 51.996 of 132.95 GFLOP
CURVE_QUALITIES = (25, 50, 75, 100)  # of our files on the rate-distortion chart, beside the one that is shown
OURS = "Residae"


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
    raw_bytes: int  # of the picture's bare pixels, 24 bits each in colour and 8 in gray, and of luma alone
    file_bytes: int | None  # of the file that the picture came in; None where it held more pixels
    notices: tuple[str, ...]  # about the picture, as sentences

    @cached_property
    def ssim(self) -> float:
        """Computed when first asked for: it takes longer than all else that is measured."""
        return ssim(self.original, self.decoding.pixels)


@dataclass(frozen=True)
class Edits:
    """What is done to a latent before it is decoded. Units are those of a channel's own mean and deviation.

    A channel keeps its mean, which is the tables', and what it deviates from it is multiplied by its gain, rounded to
    steps and made noisy: gain 0 mutes a channel. The other picture's latent is mixed in before all that.
    """

    gains: tuple[float, ...] = ()  # one for each channel; none for 1 throughout
    blend: float = 0.0  # 0 .. 1: how much of the other picture
    step: float = 0.0  # standard deviations; 0 does not round
    noise: float = 0.0  # standard deviations of Gaussian noise, the same each time

    def __bool__(self) -> bool:
        """Whether anything changes."""
        return bool(self.blend or self.step or self.noise or any(gain != 1 for gain in self.gains))


@dataclass(frozen=True, eq=False)
class Contender:
    """What one codec makes of a picture at a number of bytes; no pixels where it cannot keep it in so few."""

    name: str
    pixels: Pixels | None
    bytes: int = 0
    psnr: float = math.nan  # dB
    ssim: float = math.nan
    ms_ssim: float = math.nan


@dataclass(frozen=True)
class Point:
    """Of a rate-distortion curve."""

    bits_per_pixel: float
    psnr: float  # dB


@dataclass(frozen=True, eq=False)
class Comparison:
    """All codecs at the bytes of one file, and as much of their curves as has been measured."""

    original: Pixels
    contenders: tuple[Contender, ...]  # ours first
    curves: dict[str, tuple[Point, ...]] = field(default_factory=dict)  # by rising rate
    done: bool = False


class Laboratory:
    """One checkpoint on one device, and what can be done with it. Holds no picture, so any number of users share it."""

    def __init__(
        self,
        network: ResidualAutoencoder,
        name: str,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.name = name
        self.ratio = network.get_compression_ratio()  # pixels per latent number
        self.base_channels, self.latent_channels = network.base_channels, network.latent_channels
        self.engine = Engine(network, device, dtype)
        tables = network.tables or Tables.default(network.latent_channels)
        self.codec = Codec(tables, network.fingerprint(), name)

    @classmethod
    def open(
        cls,
        checkpoint: str | Path | None = None,
        device: torch.device | str | None = None,
        dtype: str | None = None,
    ) -> Self:
        """From a folder or a Hub id, on a device such as `cpu` or `cuda`, in the precision of that name, the engine's
        own choice without. CheckpointError as `from_pretrained`, ResidaeError where there is no such precision.

        Without `checkpoint`, the one that the environment names in RESIDAE_CHECKPOINT, else the project's own, which
        lies in a checkout beside the package.
        """
        checkpoint = checkpoint or os.environ.get("RESIDAE_CHECKPOINT") or CHECKPOINTS / DEFAULT_CHECKPOINT
        if checkpoint == CHECKPOINTS / DEFAULT_CHECKPOINT and not CHECKPOINTS.is_dir():
            raise CheckpointError(
                "This package was installed without weights: name a folder with them, or a model on the Hub as "
                "OWNER/NAME, with --checkpoint or in RESIDAE_CHECKPOINT."
            )
        return cls(
            ResidualAutoencoder.from_pretrained(checkpoint),
            Path(checkpoint).name,
            device,
            getattr(torch, dtype) if dtype else None,
        )

    @memory_watched()
    def encode(self, picture: Picture, color: bool, progress: Progress | None = None) -> Encoding:
        """Encode luma alone, or with `color` Y, Cb and Cr, each through the same network."""
        start = time.perf_counter()
        planes = to_planes(picture, color)
        latents = tuple(
            self.engine.encode(plane, part) for plane, part in zip(planes, _parts(progress, len(planes)), strict=True)
        )
        return Encoding(latents, picture.height, picture.width, time.perf_counter() - start)

    @memory_watched()
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
        return self._report(picture, encoding, compressed, self.latents(encoding, compressed), progress)

    def latents(self, encoding: Encoding, compressed: Compressed | None) -> tuple[Latent, ...]:
        """What the decoder gets: the latents in the file, or the unquantised ones where there is none."""
        return self.codec.decompress(compressed.data).latents if compressed else encoding.latents

    def judge_edited(
        self,
        picture: Picture,
        encoding: Encoding,
        edits: Edits,
        other: Encoding | None = None,
        progress: Progress | None = None,
    ) -> Report:
        """Rebuild the picture from its edited latents, and measure it. `other` is blended in; of the same size."""
        latents = self.edit(encoding.latents, edits, other.latents if other else None)
        return self._report(picture, encoding, None, latents, progress)

    def edit(
        self, latents: Sequence[Latent], edits: Edits, others: Sequence[Latent] | None = None
    ) -> tuple[Latent, ...]:
        """The latents after the edits; the given ones stay as they are. ValueError where shapes do not fit."""
        random = np.random.default_rng(0)
        pairs = zip(latents, others or latents, self.codec.tables.means, strict=False)
        return tuple(_edit(latent, other, means[:, None, None], edits, random) for latent, other, means in pairs)

    def channel_losses(self, picture: Picture, encoding: Encoding, progress: Progress | None = None) -> Iterator[float]:
        """For each channel in turn, the PSNR of luma in dB that muting it takes away."""
        luma, channels = encoding.latents[:1], self.latent_channels
        parts = [between(progress, i / (channels + 1), (i + 1) / (channels + 1)) for i in range(channels + 1)]
        original = to_gray(picture)

        def measure(gains: tuple[float, ...], part: Progress | None) -> float:
            latents = self.edit(luma, Edits(gains))
            return psnr(original, self.decode(latents, encoding.height, encoding.width, part).pixels)

        whole = measure((), parts[0])
        for muted, part in enumerate(parts[1:]):
            yield whole - measure(tuple(float(channel != muted) for channel in range(channels)), part)

    def channel_bits(self, compressed: Compressed) -> NDArray[np.float64]:
        """(planes, C) bits of the file that went into each channel."""
        return self.codec.channel_bits(compressed.symbols, compressed.quality)

    def compare(self, report: Report, progress: Progress | None = None) -> Iterator[Comparison]:
        """The rivals at the bytes of the report's file, then the curves of all, a rate at a time.

        ValueError where the report has no file. Told as yields come, so that the first result can be shown early.
        """
        if report.compressed is None:
            raise ValueError("without a file there are no bytes to compare at")
        steps = len(CURVE_QUALITIES) + 1
        size, original = len(report.compressed.data), report.original
        contenders = [_contender(OURS, original, report.decoding.pixels, size)]
        for name, rival in _rivals(original, size, between(progress, 0, 1 / steps)):
            contenders.append(
                _contender(name, original, rival.pixels, len(rival.data)) if rival else Contender(name, None)
            )
        points = {c.name: [_point(original, c.bytes, c.psnr)] if c.pixels is not None else [] for c in contenders}
        yield Comparison(original, tuple(contenders), _curves(points))
        for step, quality in enumerate(CURVE_QUALITIES, start=1):
            for name, point in self._points(report, quality, between(progress, step / steps, (step + 1) / steps)):
                points[name].append(point)
            yield Comparison(original, tuple(contenders), _curves(points), done=step == len(CURVE_QUALITIES))

    def _points(self, report: Report, quality: float, progress: Progress | None) -> Iterator[tuple[str, Point]]:
        """Where each codec lands at the bytes of our file of that quality."""
        encoding, original = report.encoding, report.original
        compressed = self.compress(encoding, quality)
        latents = self.latents(encoding, compressed)
        rebuilt = self.decode(latents, encoding.height, encoding.width, between(progress, 0, 0.5)).pixels
        size = len(compressed.data)
        yield OURS, _point(original, size, psnr(original, rebuilt))
        for name, rival in _rivals(original, size, between(progress, 0.5, 1)):
            if rival:
                yield name, _point(original, len(rival.data), psnr(original, rival.pixels))

    @memory_watched()
    def _report(
        self,
        picture: Picture,
        encoding: Encoding,
        compressed: Compressed | None,
        latents: Sequence[Latent],
        progress: Progress | None,
    ) -> Report:
        decoding = self.decode(latents, encoding.height, encoding.width, progress)
        color = len(latents) == 3
        original = reference(picture, color)
        dropped = picture.pixels.ndim == 3 and not color
        return Report(
            original,
            encoding,
            compressed,
            decoding,
            psnr=psnr(original, decoding.pixels),
            raw_bytes=picture.pixels.size if color else original.size,
            file_bytes=picture.file_bytes,
            notices=(*picture.notices, *(["Only its luma is kept; choose Colour to keep more."] if dropped else [])),
        )


def find_checkpoints() -> dict[str, str | Path]:
    """Name -> folder or Hub id of the checkpoints at hand; the one that `Laboratory.open` takes by itself is first.

    They are what RESIDAE_CHECKPOINT names, if it is set, and the project's own folders.
    """
    named = os.environ.get("RESIDAE_CHECKPOINT")
    own = sorted(
        (path.parent for path in CHECKPOINTS.glob("*/config.json")), key=lambda p: p.name != DEFAULT_CHECKPOINT
    )
    found: dict[str, str | Path] = {Path(named).name: named} if named else {}
    return found | {path.name: path for path in own if path.name not in found}


def model_card(checkpoint: str | Path) -> str:
    """README.md of a checkpoint's folder, without its front matter and with the JPEGs beside it in it; a sentence where
    there is none."""
    folder = Path(checkpoint)
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except OSError:
        return "This checkpoint has no model card."
    for name in {path.name for path in folder.glob("*.jpg")}:
        data = base64.b64encode((folder / name).read_bytes()).decode()
        text = text.replace(f"]({name})", f"](data:image/jpeg;base64,{data})")
    return text.split("\n---\n", 1)[-1] if text.startswith("---\n") else text


def reference(picture: Picture, color: bool) -> Pixels:
    """What a reconstruction is measured against: the picture's pixels, or its luma. As (H, W, 3) in colour."""
    if not color:
        return to_gray(picture)
    return picture.pixels if picture.pixels.ndim == 3 else picture.pixels[..., None].repeat(3, axis=2)


def _parts(progress: Progress | None, planes: int) -> list[Progress | None]:
    """One callback for each plane: luma, or luma and two chroma planes of a quarter of its size."""
    cuts = {1: (0, 1), 3: (0, 4 / 6, 5 / 6, 1)}[planes]
    return [between(progress, start, stop) for start, stop in itertools.pairwise(cuts)]


def _edit(
    latent: Latent, other: Latent, means: NDArray[np.float32], edits: Edits, random: np.random.Generator
) -> Latent:
    if other.shape != latent.shape:
        raise ValueError(f"latents to be blended differ in shape: {latent.shape} and {other.shape}")
    if edits.gains and len(edits.gains) != len(latent):
        raise ValueError(f"{len(latent)} channels have as many gains, not {len(edits.gains)}")
    values = latent + edits.blend * (other - latent) - means
    deviation = values.std((1, 2), keepdims=True)
    if edits.gains:
        values = values * np.array(edits.gains, np.float32)[:, None, None]
    if edits.step:
        step = np.maximum(edits.step * deviation, np.finfo(np.float32).tiny)
        values = np.rint(values / step) * step
    if edits.noise:
        values = values + edits.noise * deviation * random.standard_normal(values.shape, np.float32)
    return np.asarray(values + means, np.float32)


def _rivals(original: Pixels, max_bytes: int, progress: Progress | None) -> Iterator[tuple[str, Rival | None]]:
    """Each codec of CODECS at so many bytes."""
    for number, name in enumerate(CODECS):
        part = between(progress, number / len(CODECS), (number + 1) / len(CODECS))
        yield name, compress_within(original, name, max_bytes, part)


def _contender(name: str, original: Pixels, pixels: Pixels, size: int) -> Contender:
    return Contender(name, pixels, size, psnr(original, pixels), ssim(original, pixels), ms_ssim(original, pixels))


def _point(original: Pixels, size: int, decibels: float) -> Point:
    height, width = original.shape[:2]
    return Point(bits_per_pixel(size, width, height), decibels)


def _curves(points: dict[str, list[Point]]) -> dict[str, tuple[Point, ...]]:
    return {name: tuple(sorted(set(some), key=lambda point: point.bits_per_pixel)) for name, some in points.items()}
