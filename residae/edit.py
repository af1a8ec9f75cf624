"""Edit a latent, and measure what each of its channels contributes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from residae.codec import Compressed, Latent
from residae.errors import ResidaeError
from residae.geometry import Scale
from residae.image import Picture, cover, to_gray
from residae.metrics import psnr
from residae.pipeline import (
    ENCODE_WORK,
    STEP_WORK,
    Decoding,
    Encoding,
    Pipeline,
    Reconstruction,
    network_pixels,
    scale_or_default,
    size_limit,
)
from residae.progress import Progress, split

MAX_NOISE = 1000.0  # standard deviations: float32 has no number for what the network would make of much more
STEPS = 1e-6, 1e6  # standard deviations: less rounds nothing in float32, and more rounds to the mean as well


@dataclass(frozen=True)
class Edits:
    """Edits of a latent, applied in this order: blend, gains, step, noise.

    The last three apply to a channel's deviation from its mean in the codec's tables, so that a gain of 0 mutes the
    channel. Steps and noise are in standard deviations of the channel after blending.

    Attributes:
        gains: A factor for each channel; empty for 1 throughout.
        blend: The share of the other picture's latent, 0 to 1.
        step: To multiples of which values are rounded; 0 does not round.
        noise: Standard deviation of the Gaussian noise that is added, with a fixed seed; 0 to MAX_NOISE.

    Raises:
        ResidaeError: There is more noise than that.
    """

    gains: tuple[float, ...] = ()
    blend: float = 0.0
    step: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not self.noise <= MAX_NOISE:
            raise ResidaeError(f"Noise is 0 to {MAX_NOISE:g} standard deviations, not {self.noise:g}.")

    def __bool__(self) -> bool:
        """Whether the edits change anything."""
        return bool(self.blend or self.step or self.noise or any(gain != 1 for gain in self.gains))


def channel_gains(
    channels: int, mute: Sequence[int], solo: Sequence[int], gains: Mapping[int, float]
) -> tuple[float, ...]:
    """The gains of `Edits`, from the numbers of channels, which count from 1.

    Args:
        channels: C, of the latent.
        mute: Numbers of channels, 1 to C, whose gain becomes 0; this outweighs `gains`.
        solo: Numbers of channels, 1 to C. If there are any, the gain of all others becomes 0 unless `gains` names them.
        gains: Factor by number of the channel, 1 to C.

    Returns:
        (C,) factors; 1 for a channel that no argument names.

    Raises:
        ResidaeError: The latent has no such channel.
    """
    for channel in (*mute, *solo, *gains):
        if not 1 <= channel <= channels:
            raise ResidaeError(f"There is no channel {channel}: the latent of this checkpoint has {channels}.")
    factors = {channel: 0.0 for channel in range(1, channels + 1) if solo and channel not in solo}
    factors |= dict(gains) | dict.fromkeys(mute, 0.0)
    return tuple(factors.get(channel, 1.0) for channel in range(1, channels + 1))


def edit_latents(
    latents: Sequence[Latent],
    edits: Edits,
    means: NDArray[np.float32],
    others: Sequence[Latent] | None = None,
) -> tuple[Latent, ...]:
    """Apply edits to the latents of a picture.

    Args:
        latents: (C, h, w) of Y, or of Y, Cb and Cr; they are not changed.
        edits: What to do.
        means: (3, C) mean of each channel by plane, `Tables.means`.
        others: Latents of the same shapes to blend in.

    Returns:
        Latents of the same shapes, float32.

    Raises:
        ValueError: Shapes or numbers of planes differ, or there are not as many gains as channels.
    """
    random = np.random.default_rng(0)
    triples = zip(latents, others or latents, means[: len(latents)], strict=True)
    return tuple(_edit(latent, other, mean[:, None, None], edits, random) for latent, other, mean in triples)


def reconstruct_edited(
    pipeline: Pipeline,
    picture: Picture,
    encoding: Encoding,
    edits: Edits,
    other: Encoding | None = None,
    progress: Progress | None = None,
) -> Reconstruction:
    """Decode a picture from its edited latents, and measure it.

    Args:
        pipeline: Decodes.
        picture: What the reconstruction is measured against.
        encoding: Of the picture.
        edits: What to do to its latents.
        other: Encoding of a picture of the same size, at the same scale, to blend in.
        progress: Called with the share done, in (0, 1].

    Returns:
        The original and the picture from the edited latents; there is no file of them.

    Raises:
        ValueError: Shapes do not fit.
    """
    edited, decoding, _ = decode_edited(pipeline, encoding, edits, other, progress)
    return pipeline.measure(picture, edited, None, decoding)


def decode_edited(
    pipeline: Pipeline,
    encoding: Encoding,
    edits: Edits,
    other: Encoding | Picture | None = None,
    progress: Progress | None = None,
) -> tuple[Encoding, Decoding, Encoding | None]:
    """Decode a picture from its edited latents, for which a ZeroGPU is borrowed once.

    Args:
        pipeline: Encodes and decodes.
        encoding: As in `reconstruct_edited`.
        edits: As in `reconstruct_edited`.
        other: As in `reconstruct_edited`, or a picture that is encoded first, by `encode_other`.
        progress: As in `reconstruct_edited`.

    Returns:
        The edited encoding, the picture, and the encoding of the other picture.

    Raises:
        ValueError: As `reconstruct_edited`.
    """
    if isinstance(other, Picture):
        other = cover(other, encoding.height, encoding.width)
    pixels = encoding.work(encodes=isinstance(other, Picture), decodes=1)
    return pipeline.run(_decode_edited, encoding, edits, other, pixels=pixels, progress=progress)


def _decode_edited(
    pipeline: Pipeline,
    encoding: Encoding,
    edits: Edits,
    other: Encoding | Picture | None,
    progress: Progress | None,
) -> tuple[Encoding, Decoding, Encoding | None]:
    encoding_part, decoding_part = split(progress, ENCODE_WORK if isinstance(other, Picture) else 0, 1)
    if isinstance(other, Picture):
        other = encode_other(pipeline, other, encoding, encoding_part)
    latents = edit_latents(encoding.latents, edits, pipeline.codec.tables.means, other.latents if other else None)
    edited = replace(encoding, latents=latents)
    return edited, pipeline.decode(edited, decoding_part), other


def encode_other(
    pipeline: Pipeline, picture: Picture, encoding: Encoding, progress: Progress | None = None
) -> Encoding:
    """Encode a picture to blend into another.

    Args:
        pipeline: Encodes.
        picture: Of any size; its middle is used.
        encoding: Of the other picture, whose size, colors and scale the result has.
        progress: Called with the share done, in (0, 1]; it may raise to stop the work.

    Returns:
        The encoding, with latents of the same shapes as those of `encoding`.
    """
    cut = cover(picture, encoding.height, encoding.width)
    return pipeline.encode(cut, len(encoding.latents) == 3, progress, encoding.scale)


def edit_picture(
    pipeline: Pipeline,
    picture: Picture,
    color: bool,
    edits: Edits,
    other: Picture | None = None,
    *,
    quality: float | None = None,
    scale: Scale | None = None,
    target_bpp: float | None = None,
    max_bytes: int | None = None,
    refine: int = 0,
    progress: Progress | None = None,
) -> tuple[Reconstruction, Compressed | None]:
    """Compress a picture, edit the latents that the file holds, and decode them.

    Args:
        pipeline: Encodes and decodes.
        picture: Of any size.
        color: Whether to use chroma as well.
        edits: What to do to the latents.
        other: A picture to blend in.
        quality: As in `Pipeline.encode_and_write`; without it and a size of the file, the unquantized latents are
            edited, and there is no file.
        scale: As in `Pipeline.encode_and_write`.
        target_bpp: As in `Pipeline.encode_and_write`.
        max_bytes: As in `Pipeline.encode_and_write`.
        refine: As in `Pipeline.encode_and_write`.
        progress: Called with the share done, in (0, 1]; it may raise to stop the work.

    Returns:
        The picture from the edited latents, and the file without the edits.

    Raises:
        CodecError: No file is so small.
        ImageError: The picture is over a limit after scaling.
        ValueError: An argument is out of range, or "auto" has no size of the file to go by.
    """
    chosen = scale_or_default(scale, target_bpp is not None or max_bytes is not None)
    size, encodes = (picture.height, picture.width), 2 if other else 1
    most = size_limit(picture, target_bpp, max_bytes)
    color = picture.keeps_color(color)
    pixels = network_pixels(*size, color, chosen, max_bytes=most, encodes=encodes, refine=refine)
    cut = cover(other, picture.height, picture.width) if other else None
    arguments = picture, color, edits, cut, quality, chosen, target_bpp, max_bytes, refine
    encoding, compressed, edited, decoding = pipeline.run(
        _encode_and_edit, *arguments, pixels=pixels, progress=progress
    )
    if compressed is None and quality is not None:
        compressed = pipeline.write(encoding, quality)
    return pipeline.measure(picture, edited, None, decoding), compressed


def _encode_and_edit(
    pipeline: Pipeline,
    picture: Picture,
    color: bool,
    edits: Edits,
    other: Picture | None,
    quality: float | None,
    scale: Scale,
    target_bpp: float | None,
    max_bytes: int | None,
    refine: int,
    progress: Progress | None,
) -> tuple[Encoding, Compressed | None, Encoding, Decoding]:
    """All of `edit_picture` that needs the network."""
    first, last = split(progress, ENCODE_WORK + STEP_WORK * refine, 1 + ENCODE_WORK if other else 1)
    limits = target_bpp, max_bytes
    encoding, compressed, stored = pipeline.encode_stored(picture, color, quality, scale, *limits, first, refine)
    edited, decoding, _ = decode_edited(pipeline, stored, edits, other, last)
    return encoding, compressed, edited, decoding


def channel_losses(
    pipeline: Pipeline, picture: Picture, scale: float = 1.0, progress: Progress | None = None
) -> Iterator[float]:
    """Measure how much muting each channel costs.

    Args:
        pipeline: Encodes and decodes the luma of the picture.
        picture: The original.
        scale: At which it is encoded.
        progress: Called with the share done, in (0, 1]; it may raise to stop the work.

    Yields:
        For each channel in order, the loss of luma PSNR in dB.
    """
    original, decodes = to_gray(picture), 1 + pipeline.latent_channels
    pixels = network_pixels(picture.height, picture.width, False, scale, decodes=decodes)
    with closing(pipeline.stream(_mute_each, picture, scale, pixels=pixels, parts=[progress])) as decodings:
        whole = psnr(original, next(decodings).pixels)
        for decoding in decodings:
            yield whole - psnr(original, decoding.pixels)


def _mute_each(pipeline: Pipeline, picture: Picture, scale: float, progress: Progress | None) -> Iterator[Decoding]:
    """The luma of a picture, then the same without each channel in turn."""
    channels = range(pipeline.latent_channels)
    first, *parts = split(progress, ENCODE_WORK, *[1] * (1 + len(channels)))
    encoding = pipeline.encode(picture, False, first, scale)
    gains = [(), *(tuple(float(channel != muted) for channel in channels) for muted in channels)]
    for some, part in zip(gains, parts, strict=True):
        latents = edit_latents(encoding.latents, Edits(some), pipeline.codec.tables.means)
        yield pipeline.decode(replace(encoding, latents=latents), part)


def _edit(
    latent: Latent, other: Latent, means: NDArray[np.float32], edits: Edits, random: np.random.Generator
) -> Latent:
    if other.shape != latent.shape:
        raise ValueError(f"latents to blend differ in shape: {latent.shape} and {other.shape}")
    if edits.gains and len(edits.gains) != len(latent):
        raise ValueError(f"{len(latent)} channels need as many gains, not {len(edits.gains)}")
    values = latent + edits.blend * (other - latent) - means
    deviation = values.std((1, 2), keepdims=True)
    if edits.gains:
        values = values * np.array(edits.gains, np.float32)[:, None, None]
    if edits.step:
        step = np.maximum(min(max(edits.step, STEPS[0]), STEPS[1]) * deviation, np.finfo(np.float32).tiny)
        values = np.rint(values / step) * step
    if edits.noise:
        values = values + edits.noise * deviation * random.standard_normal(values.shape, np.float32)
    return np.asarray(values + means, np.float32)
