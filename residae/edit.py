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
from residae.pipeline import ENCODE_WORK, STEP_WORK, Encoding, Pipeline, Reconstruction, scale_or_default
from residae.progress import Progress, split
from residae.quality import DEFAULT_QUALITY


@dataclass(frozen=True)
class Edits:
    """Edits of a latent, applied in this order: blend, gains, step, noise.

    The last three apply to a channel's deviation from its mean in the codec's tables, so that a gain of 0 mutes the
    channel. Steps and noise are in standard deviations of the channel after blending.

    Attributes:
        gains: A factor for each channel; empty for 1 throughout.
        blend: The share of the other picture's latent, 0 to 1.
        step: To multiples of which values are rounded; 0 does not round.
        noise: Standard deviation of the Gaussian noise that is added, with a fixed seed.
    """

    gains: tuple[float, ...] = ()
    blend: float = 0.0
    step: float = 0.0
    noise: float = 0.0

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
        gains: Factor by number of the channel, 1 to C; any finite number.

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
    latents = edit_latents(encoding.latents, edits, pipeline.codec.tables.means, other.latents if other else None)
    return pipeline.decode_and_measure(picture, replace(encoding, latents=latents), progress=progress)


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
    works = ENCODE_WORK + STEP_WORK * refine, ENCODE_WORK if other else 0, 1
    encoding_part, other_part, decoding_part = split(progress, *works)
    compressed = None
    if quality is None and target_bpp is None and max_bytes is None:
        scale = scale_or_default(scale, is_limited=False)
        if scale == "auto":
            raise ValueError("the scale is chosen by the size of the file: give target_bpp or max_bytes")
        encoding = pipeline.encode(picture, color, encoding_part, scale)
    else:
        limits = scale, target_bpp, max_bytes
        encoding, compressed = pipeline.encode_and_write(
            picture, color, DEFAULT_QUALITY if quality is None else quality, *limits, encoding_part, refine
        )
    stored = pipeline.stored(encoding, compressed)
    blended = encode_other(pipeline, other, stored, other_part) if other else None
    return reconstruct_edited(pipeline, picture, stored, edits, blended, decoding_part), compressed


def channel_losses(
    pipeline: Pipeline, picture: Picture, encoding: Encoding, progress: Progress | None = None
) -> Iterator[float]:
    """Measure how much muting each channel costs.

    Args:
        pipeline: Decodes the picture.
        picture: The original.
        encoding: Of the picture.
        progress: Called with the share done, in (0, 1]; it may raise to stop the work.

    Yields:
        For each channel in order, the loss of luma PSNR in dB.
    """
    luma, channels = encoding.latents[:1], pipeline.latent_channels
    parts = split(progress, *[1] * (1 + channels))
    original = to_gray(picture)

    gains = [(), *(tuple(float(channel != muted) for channel in range(channels)) for muted in range(channels))]
    latents = [edit_latents(luma, Edits(some), pipeline.codec.tables.means) for some in gains]
    with closing(pipeline.decode_each([replace(encoding, latents=some) for some in latents], parts)) as decodings:
        whole = psnr(original, next(decodings).pixels)
        for decoding in decodings:
            yield whole - psnr(original, decoding.pixels)


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
        step = np.maximum(edits.step * deviation, np.finfo(np.float32).tiny)
        values = np.rint(values / step) * step
    if edits.noise:
        values = values + edits.noise * deviation * random.standard_normal(values.shape, np.float32)
    return np.asarray(values + means, np.float32)
