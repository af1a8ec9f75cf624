"""The pipeline: a picture is encoded once, then compressed at any rate, decoded and measured."""

import itertools
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from residae.checkpoint import Checkpoint
from residae.codec import SCALE_BYTES, Compressed, FileInfo, Latent
from residae.engine import Engine, GradientDecoder
from residae.engine.precision import activation_dtype
from residae.errors import CodecError, ImageError, translate_oom
from residae.geometry import MAX_PIXELS, MAX_SIDE, Scale, plane_shapes, scale_hundredths, scaled_shape, within_limits
from residae.image import Picture, PictureLike, Pixels, as_picture, from_planes, to_gray, to_image, to_planes
from residae.metrics import byte_budget, psnr, ssim
from residae.progress import Progress, between, split
from residae.quality import DEFAULT_QUALITY
from residae.rate_control import QUALITIES, Probe, choose_scale, detail, usual_scale
from residae.refine import RefinementStep, refine
from residae.resample import resample

if TYPE_CHECKING:
    from PIL.Image import Image

ENCODING_SHARES = (0, 0.2, 0.6, 1)  # of the work of up to three encodings at growing scales
# Work in units of one decoding: of a square of 256 pixels, encoding takes 51.996 GFLOP and decoding 80.958. A step of
# refinement decodes, goes back through the decoder, and decodes once more in some steps to measure the result.
ENCODE_WORK, STEP_WORK = 0.64, 2.6
PLANE_WORK = {1: (1,), 3: (4, 1, 1)}  # chroma planes have a quarter of the pixels
DECODE_SHARE = 1 / (1 + ENCODE_WORK)  # of the network's operations for a pixel
AUTO_ENCODES = 1.75  # the pixels encoded to choose a scale, usually at two of them, by those at the chosen scale
COLOR_PLANES = 1.5  # pixels of Y, Cb and Cr by those of Y

LUMA_KEPT = "Only its luma is kept; choose Color to keep more."
LUMA_ALONE = "This picture is gray: only luma is coded."
NO_SIZE = "the scale is chosen by the size of the file: give target_bpp or max_bytes"

T = TypeVar("T")
OnStep = Callable[[RefinementStep], bool | None]  # False stops the refinement


@dataclass(frozen=True, eq=False)
class Encoding:
    """The latents of one picture, and what decoding them needs.

    Attributes:
        latents: (C, h, w) float32 of luma alone, or of Y, Cb and Cr.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        scale: At which the picture was encoded, 0.5 to 4.
        seconds: That encoding took; 0 for latents from a file.
    """

    latents: tuple[Latent, ...]
    height: int
    width: int
    scale: float = 1.0
    seconds: float = 0.0

    def work(self, encodes: float = 0, decodes: float = 0, refine: int = 0) -> float:
        """The work of encoding and decoding the picture so many times at this scale, in `network_pixels`.

        Args:
            encodes: How often it is encoded.
            decodes: How often it is decoded.
            refine: Steps of refinement.
        """
        color = len(self.latents) == 3
        return network_pixels(
            self.height, self.width, color, self.scale, encodes=encodes, decodes=decodes, refine=refine
        )


@dataclass(frozen=True, eq=False)
class Decoding:
    """A decoded picture.

    Attributes:
        pixels: (H, W) luma or (H, W, 3) sRGB, uint8, at the picture's own size.
        seconds: That decoding took.
    """

    pixels: Pixels
    seconds: float


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A picture, its reconstruction, and the distance between the two.

    Attributes:
        original: (H, W) luma, or (H, W, 3) in color; uint8.
        encoding: Of the original.
        compressed: The file that was decoded; None if the unquantized latent was.
        decoding: The reconstruction, of the shape of `original`.
        psnr: In dB.
        raw_bytes: Of the uncompressed pixels: 24 bits each in color, 8 bits in gray or for luma alone.
        file_bytes: Of the picture's own file; None if the picture was resized.
        notices: About the picture, as sentences.
    """

    original: Pixels
    encoding: Encoding
    compressed: Compressed | None
    decoding: Decoding
    psnr: float
    raw_bytes: int
    file_bytes: int | None
    notices: tuple[str, ...]

    @cached_property
    def ssim(self) -> float:
        """Computed on first use: it takes longer than everything else that is measured."""
        return ssim(self.original, self.decoding.pixels)


class Pipeline:
    """One checkpoint on one device. It holds no picture, so that any number of users can share it.

    Args:
        checkpoint: The network and the codec's tables.
        device: As in `Pipeline.open`.
        dtype: As in `Pipeline.open`.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
    ) -> None:
        self.network = network = checkpoint.network
        self.name = checkpoint.name
        self.ratio = network.get_compression_ratio()  # pixels per latent number
        self.base_channels, self.latent_channels = network.base_channels, network.latent_channels
        self.engine = Engine(network, device, dtype)
        self.codec = checkpoint.codec

    @classmethod
    def open(
        cls,
        checkpoint: str | Path | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
    ) -> Self:
        """Load a checkpoint onto a device.

        Args:
            checkpoint: As in `Checkpoint.open`.
            device: Such as `cpu` or `cuda`; CUDA where there is one if it is None.
            dtype: `float32`, `bfloat16` or `int8`; the engine's own choice if it is None.

        Returns:
            The pipeline, with the weights on the device.

        Raises:
            CheckpointError: As `Checkpoint.open`.
            ResidaeError: There is no such device or precision, or the device cannot compute in it.
        """
        return cls(Checkpoint.open(checkpoint), device, dtype)

    def run(
        self,
        operation: Callable[..., T],
        *arguments: Any,
        pixels: float,
        progress: Progress | None = None,
        **options: Any,
    ) -> T:
        """Run a function that calls this pipeline several times. On ZeroGPU a GPU is borrowed once, for all of it.

        Args:
            operation: A function of a module or a class, which is given this pipeline, `arguments`, a callback for
                progress and `options`. On ZeroGPU it runs in another process, to and from which all is pickled.
            *arguments: As the operation has them.
            pixels: How much work of the network it is, by `network_pixels`.
            progress: Called with the share done, in (0, 1]; it may raise to stop the work.
            **options: As the operation has them.

        Returns:
            What the operation returns.
        """
        return operation(self, *arguments, progress, **options)

    def stream(
        self,
        operation: Callable[..., Iterator[T]],
        *arguments: Any,
        pixels: float,
        parts: Sequence[Progress | None],
        **options: Any,
    ) -> Generator[T, None, None]:
        """The same for a generator function. On ZeroGPU it goes on while nobody takes what it yields.

        Args:
            operation: As in `run`, with a callback for each of `parts`.
            *arguments: As in `run`.
            pixels: As in `run`.
            parts: As the progress of `run`, one for each part of the work.
            **options: As in `run`.

        Yields:
            What the operation yields.
        """
        yield from operation(self, *arguments, *parts, **options)

    @translate_oom()
    def encode(self, picture: Picture, color: bool, progress: Progress | None = None, scale: float = 1.0) -> Encoding:
        """Encode a picture: its luma alone, or Y, Cb and Cr, each through the same network.

        Args:
            picture: Of any size.
            color: Whether to encode chroma as well, which a gray picture does not have.
            progress: Called with the share done, in (0, 1]; it may raise to stop the work.
            scale: The factor, 0.5 to 4, by which the planes are resampled first; rounded to hundredths.

        Returns:
            The latents, unquantized, and the time that they took.

        Raises:
            ImageError: The picture is over a limit after scaling.
            ValueError: The scale is out of range.
        """
        start = time.perf_counter()
        scale = scale_hundredths(scale) / 100
        _check_scaled_size(picture, scale)
        planes = to_planes(picture, color)
        shapes = plane_shapes(picture.height, picture.width, len(planes), scale)
        latents = tuple(
            self.engine.encode(resample(plane, *shape), part)
            for plane, shape, part in zip(planes, shapes, split(progress, *PLANE_WORK[len(planes)]), strict=True)
        )
        return Encoding(latents, picture.height, picture.width, scale, time.perf_counter() - start)

    @translate_oom()
    def decode(self, encoding: Encoding, progress: Progress | None = None) -> Decoding:
        """Decode a picture. At any scale, the result has the picture's own size.

        Args:
            encoding: The latents and what they are of.
            progress: Called with the share done, in (0, 1]; it may raise to stop the work.

        Returns:
            (H, W) of one latent, (H, W, 3) of three, and the time that they took.
        """
        start = time.perf_counter()
        height, width, count = encoding.height, encoding.width, len(encoding.latents)
        scaled, shapes = plane_shapes(height, width, count, encoding.scale), plane_shapes(height, width, count)
        parts = split(progress, *PLANE_WORK[count])
        planes = [
            resample(self.engine.decode(latent, *size, part), *shape)
            for latent, size, shape, part in zip(encoding.latents, scaled, shapes, parts, strict=True)
        ]
        return Decoding(from_planes(planes), time.perf_counter() - start)

    def encode_within(
        self, picture: Picture, color: bool, max_bytes: int, progress: Progress | None = None
    ) -> Encoding:
        """Encode a picture at the scale at which it keeps most in a number of bytes; see `residae.rate_control`.

        It is encoded up to three times, and never decoded; once more at scale 1 where the limit is so low that only a
        file without its scale may be within it.

        Args:
            picture: As in `encode`.
            color: As in `encode`.
            max_bytes: Size of the whole file; `write_within` with the same number makes the file.
            progress: As in `encode`.

        Returns:
            The encoding at the chosen scale; `seconds` are those of all encodings that were tried.
        """
        encodings: dict[float, Encoding] = {}
        least: dict[float, int] = {}  # bytes of the smallest file at each scale
        parts = iter(between(progress, *ends) for ends in itertools.pairwise(ENCODING_SHARES))

        def probe(scale: float) -> Probe:
            encodings[scale] = encoding = self.encode(picture, color, next(parts), scale)
            sizes = tuple(len(self.write(encoding, quality).data) for quality in QUALITIES)
            least[scale] = sizes[0]
            return Probe(scale, sizes)

        fineness = detail(to_planes(picture, color=False)[0])
        scale = choose_scale(picture.height, picture.width, max_bytes, fineness, probe)
        if 0 < least[scale] - max_bytes <= SCALE_BYTES and 1.0 not in encodings:
            unscaled = self.encode(picture, color, between(progress, ENCODING_SHARES[-1], 1))
            encodings[1.0] = unscaled
            if len(self.write(unscaled, 0).data) <= max_bytes:
                scale = 1.0
        return replace(encodings[scale], seconds=sum(encoding.seconds for encoding in encodings.values()))

    def encode_and_write(
        self,
        picture: Picture,
        color: bool,
        quality: float = DEFAULT_QUALITY,
        scale: Scale | None = None,
        target_bpp: float | None = None,
        max_bytes: int | None = None,
        progress: Progress | None = None,
        refine: int = 0,
    ) -> tuple[Encoding, Compressed]:
        """Encode a picture and make its file.

        Args:
            picture: As in `encode`.
            color: As in `encode`.
            quality: 0 to 100; not used with `target_bpp` or `max_bytes`.
            scale: The scale to encode at, or "auto" to choose it by the size of the file; if it is None, "auto" with
                `target_bpp` or `max_bytes`, else 1.
            target_bpp: Makes the best file of at most so many bits per pixel.
            max_bytes: Makes the best file of at most so many bytes.
            progress: As in `encode`.
            refine: Steps of refinement, as in `Pipeline.refine`.

        Returns:
            The encoding, with unquantized latents, and the file.

        Raises:
            CodecError: No file is so small.
            ImageError: The picture is over a limit after scaling.
            ValueError: An argument is out of range, or "auto" has no size of the file to go by.
        """
        max_bytes = size_limit(picture, target_bpp, max_bytes)
        encoding_progress, refinement_progress = split(progress, ENCODE_WORK, STEP_WORK * refine)
        scale = scale_or_default(scale, max_bytes is not None)
        if scale != "auto":
            encoding = self.encode(picture, color, encoding_progress, scale)
        elif max_bytes is not None:
            encoding = self.encode_within(picture, color, max_bytes, encoding_progress)
        else:
            raise ValueError(NO_SIZE)
        compressed = self.write(encoding, quality) if max_bytes is None else self.write_within(encoding, max_bytes)
        if refine:
            compressed = self.refine(
                picture, encoding, compressed.quality, refine, refinement_progress, max_bytes=max_bytes
            )
        return encoding, compressed

    def compress(
        self,
        picture: PictureLike,
        quality: float = DEFAULT_QUALITY,
        color: bool | None = None,
        scale: Scale | None = None,
        target_bpp: float | None = None,
        max_bytes: int | None = None,
        refine: int = 0,
    ) -> bytes:
        """Compress a picture.

        Args:
            picture: An opened picture, the path or the bytes of a picture file, a PIL image, or a uint8 array of shape
                (H, W) or (H, W, 3) in sRGB.
            quality: As in `encode_and_write`.
            color: As in `Picture.keeps_color`.
            scale: As in `encode_and_write`.
            target_bpp: As in `encode_and_write`.
            max_bytes: As in `encode_and_write`.
            refine: As in `encode_and_write`.

        Returns:
            The content of a `.rae` file.

        Raises:
            CodecError: No file is so small.
            ImageError: The picture cannot be opened, or is over a limit.
            ValueError: An argument is out of range, or the array is not a picture.
        """
        opened = as_picture(picture)
        color = opened.keeps_color(color)
        return self.encode_and_write(opened, color, quality, scale, target_bpp, max_bytes, refine=refine)[1].data

    def decompress(self, data: bytes | str | PathLike[str]) -> "Image":
        """Decompress a `.rae` file.

        Args:
            data: The content of the file, or its path.

        Returns:
            An RGB image, or an L image of a gray picture.

        Raises:
            CodecError: The file is damaged, cannot be read, or was made with another checkpoint.
        """
        if not isinstance(data, bytes):
            path = Path(data)
            try:
                data = path.read_bytes()
            except OSError as error:
                raise CodecError(f"{path} cannot be read: {error.strerror}.") from error
        return to_image(self.read(data)[1].pixels)

    def write(self, encoding: Encoding, quality: float) -> Compressed:
        """The `.rae` file of an encoding.

        Args:
            encoding: From `encode` or `encode_within`, with unquantized latents.
            quality: 0 to 100; rounded to hundredths.

        Raises:
            ValueError: As `Codec.compress`.
        """
        return self.codec.compress(encoding.latents, encoding.height, encoding.width, quality, encoding.scale)

    def write_within(self, encoding: Encoding, max_bytes: int) -> Compressed:
        """The `.rae` file of the highest quality that is no larger than `max_bytes`.

        Args:
            encoding: As in `write`.
            max_bytes: Size of the whole file.

        Raises:
            CodecError: Even quality 0 takes more.
        """
        return self.codec.compress_within(encoding.latents, encoding.height, encoding.width, max_bytes, encoding.scale)

    def refine(
        self,
        picture: Picture,
        encoding: Encoding,
        quality: float,
        steps: int,
        progress: Progress | None = None,
        *,
        max_bytes: int | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Compressed:
        """The `.rae` file at a quality, with symbols that are optimized for this picture: the best of `refinement`.

        Args:
            picture: As in `refinement`.
            encoding: As in `refinement`.
            quality: As in `refinement`.
            steps: As in `refinement`.
            progress: As in `refinement`.
            max_bytes: As in `refinement`.
            seed: As in `refinement`.
            on_step: Called with what `refinement` yields. It stops the work, with the best file so far as result, by
                returning False. An exception passes through.

        Returns:
            The best file, which is never worse than without refinement.

        Raises:
            CodecError: No file is within `max_bytes`.
            ValueError: The quality or the number of steps is out of range.
        """
        refinement = self.refinement(picture, encoding, quality, steps, progress, max_bytes=max_bytes, seed=seed)
        with closing(refinement):  # also where `on_step` raises, so that a ZeroGPU is given back at once
            for step in refinement:
                best = step.best
                if on_step and on_step(step) is False:
                    break
        return best

    def refinement(
        self,
        picture: Picture,
        encoding: Encoding,
        quality: float,
        steps: int,
        progress: Progress | None = None,
        *,
        max_bytes: int | None = None,
        seed: int = 0,
    ) -> Generator[RefinementStep, None, None]:
        """Optimize the symbols of a file for this picture, step by step; see `residae.refine`.

        Args:
            picture: The original.
            encoding: Of the picture.
            quality: 0 to 100; lowered as far as `max_bytes` asks.
            steps: Each takes as long as two to three decodes. 0 gives the file of `write`, 20 give most of the gain.
            progress: Called with the share done, in (0, 1]; it may raise to stop the work.
            max_bytes: Size that the file must not exceed; within it the smallest error is the best.
            seed: Of the random rounding. The same arguments give the same file.

        Yields:
            The best file so far and what it decodes to, before the first step and after each.

        Raises:
            CodecError: No file is within `max_bytes`.
            ValueError: The quality or the number of steps is out of range.
        """
        color = len(encoding.latents) == 3
        original = reference(picture, color)

        def measure(compressed: Compressed) -> tuple[Pixels, float]:
            pixels = self.decode(self.stored(encoding, compressed)).pixels
            return pixels, psnr(original, pixels)

        with translate_oom():
            yield from refine(
                self.codec,
                self._gradient_decoder,
                to_planes(picture, color),
                encoding.latents,
                encoding.scale,
                quality,
                steps,
                measure,
                max_bytes=max_bytes,
                seed=seed,
                progress=progress,
            )

    @cached_property
    def _gradient_decoder(self) -> GradientDecoder:
        return GradientDecoder(self.network.decoder, self.engine.device, activation_dtype(self.engine.dtype))

    def read(self, data: bytes, progress: Progress | None = None) -> tuple[FileInfo, Decoding]:
        """Decode a `.rae` file.

        Args:
            data: The whole file.
            progress: Called with the share done, in (0, 1]; it may raise to stop the work.

        Returns:
            What the file's header says, and the picture.

        Raises:
            CodecError: The file is damaged, or was made with another checkpoint.
        """
        opened = self.codec.decompress(data)
        info = opened.info
        return info, self.decode(Encoding(opened.latents, info.height, info.width, info.scale), progress)

    def reconstruct(
        self,
        picture: PictureLike,
        color: bool | None = None,
        quality: float | None = None,
        progress: Progress | None = None,
        scale: Scale | None = None,
        refine: int = 0,
        max_bytes: int | None = None,
    ) -> Reconstruction:
        """Encode, compress, decode and measure a picture.

        Args:
            picture: As in `compress`.
            color: As in `Picture.keeps_color`.
            quality: Of the file, 0 to 100; if both it and `max_bytes` are None the latent is decoded unquantized.
            progress: Called with the share done, in (0, 1]; it may raise to stop the work.
            scale: As in `encode_and_write`.
            refine: Steps of refinement of the file, as in `Pipeline.refine`.
            max_bytes: As in `encode_and_write`.

        Returns:
            The original, the reconstruction, and its PSNR.

        Raises:
            CodecError: No file is so small.
            ImageError: The picture cannot be opened, or is over a limit.
            ValueError: As `compress`.
        """
        picture = as_picture(picture)
        color = picture.keeps_color(color)
        scale = scale_or_default(scale, max_bytes is not None)
        pixels = network_pixels(picture.height, picture.width, color, scale, max_bytes=max_bytes, refine=refine)
        arguments = picture, color, quality, scale, refine, max_bytes
        encoding, compressed, decoding = self.run(
            Pipeline._encode_and_decode, *arguments, pixels=pixels, progress=progress
        )
        if compressed is None and quality is not None:
            compressed = self.write(encoding, quality)
        return self.measure(picture, encoding, compressed, decoding)

    def _encode_and_decode(
        self,
        picture: Picture,
        color: bool,
        quality: float | None,
        scale: Scale,
        refine: int,
        max_bytes: int | None,
        progress: Progress | None,
    ) -> tuple[Encoding, Compressed | None, Decoding]:
        """All of `reconstruct` that needs the network."""
        first, last = split(progress, ENCODE_WORK + STEP_WORK * refine, 1)
        limits = None, max_bytes
        encoding, compressed, stored = self.encode_stored(picture, color, quality, scale, *limits, first, refine)
        return encoding, compressed, self.decode(stored, last)

    def encode_stored(
        self,
        picture: Picture,
        color: bool,
        quality: float | None,
        scale: Scale,
        target_bpp: float | None = None,
        max_bytes: int | None = None,
        progress: Progress | None = None,
        refine: int = 0,
    ) -> tuple[Encoding, Compressed | None, Encoding]:
        """Encode a picture as its file holds it, and make the file only if the network needs its size.

        Args:
            picture: As in `encode`.
            color: As in `encode`.
            quality: As in `reconstruct`.
            scale: As in `encode`, or "auto" to choose it by the size of the file.
            target_bpp: As in `encode_and_write`.
            max_bytes: As in `encode_and_write`.
            progress: As in `encode`.
            refine: As in `encode_and_write`; 0 without a quality and a limit, which make no file.

        Returns:
            The encoding with unquantized latents, the file or None, and the encoding with the latents of the file.

        Raises:
            CodecError: No file is so small.
            ValueError: As `encode_and_write`, or there are steps of refinement and no file.
        """
        limited = target_bpp is not None or max_bytes is not None
        if refine and quality is None and not limited:
            raise ValueError("files are refined: give a quality or a limit")
        if limited or scale == "auto" or (refine and quality is not None):
            arguments = picture, color, quality or 0, scale, target_bpp, max_bytes
            encoding, compressed = self.encode_and_write(*arguments, progress, refine)
            return encoding, compressed, self.stored(encoding, compressed)
        encoding = self.encode(picture, color, progress, scale)
        latents = encoding.latents
        if quality is not None:
            latents = self.codec.dequantize(self.codec.quantize(latents, quality), quality)
        return encoding, None, replace(encoding, latents=latents)

    @translate_oom()
    def decode_and_measure(
        self,
        picture: Picture,
        encoding: Encoding,
        compressed: Compressed | None = None,
        *,
        progress: Progress | None = None,
    ) -> Reconstruction:
        """Decode a picture and compare it with the original, at the original's size.

        Args:
            picture: The original.
            encoding: Of the picture.
            compressed: The file to decode; if it is None the unquantized latents of `encoding` are decoded.
            progress: Called with the share done, in (0, 1]; it may raise to stop the work.

        Returns:
            As `measure`.
        """
        return self.measure(picture, encoding, compressed, self.decode(self.stored(encoding, compressed), progress))

    @translate_oom()
    def measure(
        self, picture: Picture, encoding: Encoding, compressed: Compressed | None, decoding: Decoding
    ) -> Reconstruction:
        """Compare a decoded picture with the original.

        Args:
            picture: The original.
            encoding: Of the picture.
            compressed: The file that was decoded; None if the unquantized latents were.
            decoding: The decoded picture.

        Returns:
            Both pictures with the PSNR and the sizes; SSIM is computed when it is asked for.
        """
        color = len(encoding.latents) == 3
        original = reference(picture, color)
        notices = list(picture.notices)
        if not color:
            notices.append(LUMA_KEPT if picture.color else LUMA_ALONE)
        return Reconstruction(
            original,
            encoding,
            compressed,
            decoding,
            psnr=psnr(original, decoding.pixels),
            raw_bytes=picture.pixels.size if color else original.size,
            file_bytes=picture.file_bytes,
            notices=tuple(notices),
        )

    def stored(self, encoding: Encoding, compressed: Compressed | None) -> Encoding:
        """The encoding with the latents that the file holds; `encoding` itself if there is no file.

        Args:
            encoding: From which the file was made.
            compressed: The file, or None.
        """
        if compressed is None:
            return encoding
        return replace(encoding, latents=self.codec.dequantize(compressed.symbols, compressed.quality))

    def channel_bits(self, compressed: Compressed) -> NDArray[np.float64]:
        """The bits that each channel takes in the file: (planes, C).

        Args:
            compressed: A file of this checkpoint.
        """
        return self.codec.channel_bits(compressed.symbols, compressed.quality)


def network_pixels(
    height: int,
    width: int,
    color: bool,
    scale: Scale = 1.0,
    *,
    max_bytes: int | None = None,
    encodes: float = 1,
    decodes: float = 1,
    refine: int = 0,
) -> float:
    """The work of a picture, in pixels that are encoded and decoded once.

    Args:
        height: Of the picture, pixels.
        width: Of the picture, pixels.
        color: Whether it has chroma.
        scale: At which it is encoded; "auto" tries several, and its choice is estimated by `max_bytes`.
        max_bytes: Size of the file; not used at a given scale.
        encodes: How often it is encoded.
        decodes: How often it is decoded.
        refine: Steps of refinement.

    Raises:
        ValueError: "auto" has no size of the file to go by.
    """
    if scale == "auto":
        if max_bytes is None:
            raise ValueError(NO_SIZE)
        scale, encodes = usual_scale(height, width, max_bytes), AUTO_ENCODES * encodes
    times = encodes * (1 - DECODE_SHARE) + (decodes + STEP_WORK * refine) * DECODE_SHARE
    return scale**2 * height * width * (COLOR_PLANES if color else 1) * times


def scale_or_default(scale: Scale | None, is_limited: bool) -> Scale:
    """The scale that was asked for; if it is None, "auto" where the size of the file is limited, else 1.

    Args:
        scale: MIN_SCALE to MAX_SCALE, or "auto"; None if nothing was asked for.
        is_limited: Whether there is a limit on the size of the file.
    """
    if scale is not None:
        return scale
    return "auto" if is_limited else 1.0


def size_limit(picture: Picture, target_bpp: float | None, max_bytes: int | None) -> int | None:
    """The most bytes that a file may have by both limits; None if there is none.

    Args:
        picture: Of the file.
        target_bpp: Bits per pixel that the file must not exceed, or None.
        max_bytes: Bytes that it must not exceed, or None.
    """
    if target_bpp is None:
        return max_bytes
    most = byte_budget(target_bpp, picture.width, picture.height)
    return most if max_bytes is None else min(most, max_bytes)


def reference(picture: Picture, color: bool) -> Pixels:
    """The pixels that a reconstruction is compared with: (H, W) luma, or (H, W, 3) in color.

    Args:
        picture: In color or gray, at its own size.
        color: Whether its chroma was encoded, if it has any.
    """
    return picture.pixels if picture.keeps_color(color) else to_gray(picture)


def _check_scaled_size(picture: Picture, scale: float) -> None:
    height, width = scaled_shape(picture.height, picture.width, scale)
    if not within_limits(height, width):
        raise ImageError(
            f"At scale {scale:g} the picture has {width:,} × {height:,} pixels; the limits are "
            f"{MAX_PIXELS // 10**6} megapixels and a side of {MAX_SIDE:,}: choose a smaller scale."
        )
