"""Fit the codec tables of a checkpoint to latents of training pictures.

No range coder is needed: code lengths come from the tables alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from residae.arrays import Floats, Plane
from residae.checkpoint import Checkpoint
from residae.codec import PLANES, Latent, Symbols, Tables
from residae.codec.coder import table_indices
from residae.codec.context import Context
from residae.codec.quantizer import quantize
from residae.codec.tables import ALPHABET, OFFSETS, ONE, SPREADS, Integers, laplace_counts, normalized
from residae.engine import Engine, default_device, preferred_float
from residae.errors import CheckpointError
from residae.geometry import STRIDE
from residae.image import open_picture, to_planes
from residae.progress import Progress
from residae.quality import MAX_LEVEL
from residae.rate_model import KNOTS, PLANE_WEIGHTS
from residae.resample import resample
from residae.train.data import choose_pictures
from residae.train.recipe import LARGEST_SCALE, SCALED_SHARE
from residae.weights import TABLES, write_tables

# PSNR in dB that rounding alone would leave at each knot. Below 20 little of a picture is left; above 42 the network's
# own error, 15 dB larger, hides what finer steps would bring.
NOISE_PSNR = np.linspace(20, 42, KNOTS)
PRIOR = 32  # symbols of a Laplace distribution that are added to the symbols counted for each table
REWEIGHTINGS = 8  # of the least squares that fit expected distances
SENSITIVITY_PICTURES = 8  # crops of 256 x 256 pixels, each decoded once for each channel
GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, fill the unit interval evenly


def measure_sensitivity(engine: Engine, latents: Iterable[Latent], seed: int = 0) -> Floats:
    """Measure what noise in each latent channel costs in the picture.

    Each latent is decoded once for each channel, with noise of a tenth of the channel's standard deviation.

    Args:
        engine: Of the network that made the latents.
        latents: (C, h, w) of luma.
        seed: Of the noise.

    Returns:
        (C,) squared error in gray levels^2 per pixel for unit noise in every cell of one channel.
    """
    generator = np.random.default_rng(seed)
    costs = []
    for latent in latents:
        height, width = latent.shape[1] * STRIDE, latent.shape[2] * STRIDE
        plain = engine.decode(latent, height, width)
        cost = np.empty(len(latent))
        for channel, values in enumerate(latent):
            scale = 0.1 * float(values.std()) + 1e-3
            noisy = latent.copy()
            noisy[channel] += scale * generator.standard_normal(values.shape, np.float32)
            error = 255 * (engine.decode(noisy, height, width) - plain)
            cost[channel] = np.square(error, dtype=np.float64).mean() / scale**2
        costs.append(cost)
    return np.asarray(np.mean(costs, axis=0))


def balance_gains(sensitivity: Floats, latents: Sequence[Sequence[Latent]]) -> tuple[Floats, Floats]:
    """Means and gains with which every channel adds the same noise to the picture; training starts from them.

    Args:
        sensitivity: (C,) as `measure_sensitivity` gives it.
        latents: (C, h, w) arrays of Y, of Cb and of Cr.

    Returns:
        Means (3, C) and gains (K, 3, C), as `residae.codec.Tables` holds them.
    """
    channels = len(sensitivity)
    cost = np.maximum(sensitivity, sensitivity.mean() / 1000)  # the decoder may ignore a channel
    means = np.array([np.concatenate([z.reshape(channels, -1) for z in group], 1).mean(1) for group in latents])
    noise = 255**2 / 10 ** (NOISE_PSNR / 10)
    steps = np.sqrt(12 * noise[:, None, None] / (channels * cost * np.array(PLANE_WEIGHTS)[:, None]))
    return means, 1 / steps


def fit_contexts(latents: Sequence[Sequence[Latent]], means: Floats, gains: Floats) -> Tables:
    """Fit predictions and frequencies to latents, at given means and gains.

    Predictions are least squares. Expected distances from them are least squares with the weights of a Laplace
    distribution.

    Args:
        latents: (C, h, w) arrays of Y, of Cb and of Cr.
        means: (3, C) latent values that become the symbol 0.
        gains: (K, 3, C) symbols per unit of the latent.

    Returns:
        Tables with K knots.
    """
    knots, _, channels = gains.shape
    shape = (knots, len(PLANES), channels, 2, 1 + 2 * channels)
    mean_weights, spread_weights = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    tables = Tables(
        means.astype(np.float32),
        gains.astype(np.float32),
        mean_weights,
        spread_weights,
        laplace_counts(),
    )
    seen = np.zeros((SPREADS * OFFSETS, ALPHABET), np.int64)
    for knot in range(knots):
        level = knot * MAX_LEVEL // (knots - 1)
        for plane, group in enumerate(latents):
            symbols = [quantize(latent, plane, level, tables) for latent in group]
            mean_weights[knot, plane], spread_weights[knot, plane] = _fit_weights(symbols)
            for quantized in symbols:
                np.add.at(seen, table_indices(quantized, plane, level, tables), 1)
    prior = (PRIOR * tables.counts.astype(np.int64)) >> 14  # 2^10 for each symbol
    return replace(tables, counts=normalized((seen.reshape(prior.shape) << 10) + prior))


def refit_tables(engine: Engine, latents: Sequence[Sequence[Latent]], old: Tables | None) -> Tables:
    """Fit tables to latents, keeping the means and gains of `old`; balanced ones (`balance_gains`) where it is None.

    Args:
        engine: Of the network that made the latents.
        latents: (C, h, w) arrays of Y, of Cb and of Cr.
        old: The tables so far, or None.

    Returns:
        Tables with the predictions and frequencies of these latents.
    """
    if old:
        return fit_contexts(latents, old.means.astype(np.float64), old.gains.astype(np.float64))
    sensitivity = measure_sensitivity(engine, [luma[:, :16, :16] for luma in latents[0][:SENSITIVITY_PICTURES]])
    return fit_contexts(latents, *balance_gains(sensitivity, latents))


def _fit_weights(planes: Sequence[Symbols]) -> tuple[Integers, Integers]:
    """Mean and spread weights (C, 2, 1 + 2C) of planes (C, h, w) at one quality."""
    channels = len(planes[0])
    contexts = []
    for plane in planes:
        context = Context(plane.shape)
        for channel, values in enumerate(plane.reshape(channels, -1)):
            for phase, cells in enumerate(context.cells):
                context.update(channel, phase, values[cells])
        contexts.append(context)
    mean = np.zeros((channels, 2, 1 + 2 * channels), np.int64)
    spread = np.zeros_like(mean)
    for phase in (0, 1):
        signed = np.concatenate([context.signed[phase] for context in contexts], 1).astype(np.float64)
        absolute = np.concatenate([context.absolute[phase] for context in contexts], 1).astype(np.float64)
        for channel in range(channels):
            known = 1 + 2 * channel + phase
            values = signed[2 + 2 * channel]
            weights = np.rint(_least_squares(signed[:known], values, np.ones_like(values)) * ONE)
            mean[channel, phase, :known] = weights
            distance = np.abs(values - weights @ signed[:known] / ONE)
            spread[channel, phase, :known] = np.rint(_fit_spread(absolute[:known], distance) * ONE)
    return mean, spread


def _fit_spread(features: Floats, distance: Floats) -> Floats:
    """Non-negative weights whose product with the features is the expected distance: the likeliest for exponentially
    distributed distances, whose variance is the square of the expectation. Features with negative weights drop out."""
    kept = np.ones(len(features), bool)
    expected = np.full_like(distance, distance.mean() + 1 / 64)
    for _ in range(REWEIGHTINGS):
        weights = np.zeros(len(features))
        weights[kept] = _least_squares(features[kept], distance, 1 / expected**2)
        kept &= weights > 0
        kept[0] = True
        expected = np.maximum(weights @ features, 1 / 64)
    return np.maximum(weights, 0)


def _least_squares(features: Floats, values: Floats, weights: Floats) -> Floats:
    weighted = features * weights
    gram = weighted @ features.T
    gram[np.diag_indices_from(gram)] += 1e-3 + 1e-4 * np.trace(gram) / len(gram)  # a feature may be 0 throughout
    return np.asarray(np.linalg.solve(gram, weighted @ values), np.float64)


def fit_checkpoint(
    folder: Path,
    pictures: Path,
    count: int,
    scaled_share: float = SCALED_SHARE,
    max_scale: float = LARGEST_SCALE,
    force: bool = False,
    progress: Progress | None = None,
) -> None:
    """Fit tables to pictures and write them into the folder of a checkpoint, keeping the gains it has.

    Args:
        folder: Of the checkpoint.
        pictures: Folder of pictures, searched through all its folders.
        count: How many of them are used, chosen evenly.
        scaled_share: Share of them that are enlarged.
        max_scale: Factor by which they are enlarged at most.
        force: Whether to replace tables that are there.
        progress: Called with the share done, in (0, 1].

    Raises:
        CheckpointError: `folder` is not the folder of a checkpoint, or has tables already.
        ImageError: There is no picture.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder: tables are written beside weights that are on this machine.")
    if (folder / TABLES).exists() and not force:
        raise CheckpointError(
            f"{folder} has tables already, and files made with them would no longer open: replace them with --force."
        )
    checkpoint = Checkpoint.open(folder)
    tables = fit_tables(checkpoint, pictures, count, default_device(), scaled_share, max_scale, progress)
    write_tables(folder, tables.arrays())


def fit_tables(
    checkpoint: Checkpoint,
    pictures: Path,
    count: int,
    device: torch.device,
    scaled_share: float = SCALED_SHARE,
    max_scale: float = LARGEST_SCALE,
    progress: Progress | None = None,
) -> Tables:
    """Fit tables to latents of pictures at several scales, about the means and gains of a checkpoint.

    Luma stands in for chroma where no picture has color.

    Args:
        checkpoint: Whose network encodes the pictures.
        pictures: Folder of pictures, searched through all its folders.
        count: How many of them are used, chosen evenly.
        device: On which they are encoded.
        scaled_share: Share of them that are enlarged. Of these, only the middle is used, so that each picture has the
            same number of symbols.
        max_scale: Factor by which they are enlarged at most.
        progress: Called with the share done, in (0, 1].

    Returns:
        Tables to go with the checkpoint's weights.

    Raises:
        ImageError: There is no picture.
    """
    # Not in int8, whose rounding is more than the noise by which the sensitivity of channels is measured.
    engine = Engine(checkpoint.network, device, preferred_float(device))
    chosen = choose_pictures(pictures, count)
    latents: tuple[list[Latent], ...] = ([], [], [])
    for number, path in enumerate(chosen):
        picture, scale = open_picture(path), _scale(number, scaled_share, max_scale)
        for group, plane in zip(latents, to_planes(picture, picture.color), strict=False):  # a gray one has no chroma
            group.append(engine.encode(enlarge_middle(plane, scale)))
        if progress:
            progress(0.9 * (number + 1) / len(chosen))
    tables = refit_tables(engine, [group or latents[0] for group in latents], checkpoint.tables)
    if progress:
        progress(1)
    return tables


def enlarge_middle(plane: Plane, scale: float) -> Plane:
    """Enlarge the middle of a plane to the size of the whole.

    Args:
        plane: (H, W) float32 in [0, 1].
        scale: At least 1.

    Returns:
        (H, W) float32 in [0, 1]; `plane` itself where nothing is cut off.
    """
    height, width = plane.shape
    rows, columns = max(1, round(height / scale)), max(1, round(width / scale))
    if (rows, columns) == plane.shape:
        return plane
    top, left = (height - rows) // 2, (width - columns) // 2
    return resample(plane[top : top + rows, left : left + columns], height, width)


def _scale(number: int, share: float, most: float) -> float:
    """The scale of one picture: 1 for all but a share, in which scales are evenly spread up to `most`, by logarithm."""
    place = number * GOLDEN % 1
    return most ** (place / share) if place < share else 1.0
