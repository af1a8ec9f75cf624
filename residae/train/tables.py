"""Fit the codec tables of a checkpoint to latents of training pictures."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from residae.checkpoint import Checkpoint
from residae.codec.coder import table_indices
from residae.codec.context import Context
from residae.codec.quantizer import quantize
from residae.codec.tables import (
    ALPHABET,
    MAX_LEVEL,
    OFFSETS,
    ONE,
    PLANES,
    SPREADS,
    Integers,
    Symbols,
    Tables,
    laplace_counts,
    normalized,
)
from residae.engine import Engine, Latent, default_device, preferred_float
from residae.errors import ImageError
from residae.geometry import STRIDE
from residae.image import open_picture
from residae.pipeline import Pipeline
from residae.progress import Progress
from residae.weights import write_tables

Floats = NDArray[np.float64]

# PSNR in dB that rounding alone would leave at each knot. Below 20 little of a picture is left; above 42 the network's
# own error, 15 dB larger, hides what finer steps would bring.
NOISE_PSNR = (20, 24.4, 28.8, 33.2, 37.6, 42)
KNOTS = len(NOISE_PSNR)
# Error of RGB per pixel that unit errors of chroma cost, each over 2 x 2 pixels, relative to luma (BT.601):
# Cb: 4 (0.344^2 + 1.772^2) / 3, Cr: 4 (1.402^2 + 0.714^2) / 3
PLANE_WEIGHTS = (1.0, 4.34, 3.30)
PRIOR = 32  # symbols of a Laplace distribution that are added to what each table has seen
ROUNDS = 8  # of reweighting
SENSITIVITY_PICTURES = 8  # crops of 256 x 256 pixels, each decoded once for each channel


def sensitivity(engine: Engine, latents: Iterable[Latent], seed: int = 0) -> Floats:
    """(C,) squared error in gray levels^2 per pixel that unit noise in every cell of one channel costs.

    Measured by decoding each luma latent (C, h, w) with noise of a tenth of the channel's deviation.
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


def balanced(cost: Floats, planes: Sequence[Sequence[Latent]]) -> tuple[Floats, Floats]:
    """Means (3, C) of the latents `planes`, of Y, Cb and Cr, and gains (K, 3, C) that give every channel the same noise
    in the picture; `cost` (C,) is the channels' `sensitivity`. What training by gradient begins with."""
    channels = len(cost)
    cost = np.maximum(cost, cost.mean() / 1000)  # a channel that the decoder ignores
    means = np.array([np.concatenate([p.reshape(channels, -1) for p in group], 1).mean(1) for group in planes])
    noise = 255**2 / 10 ** (np.array(NOISE_PSNR) / 10)
    steps = np.sqrt(12 * noise[:, None, None] / (channels * cost * np.array(PLANE_WEIGHTS)[:, None]))
    return means, 1 / steps


def fit(planes: Sequence[Sequence[Latent]], means: Floats, gains: Floats) -> Tables:
    """Tables for latents (C, h, w) like those of `planes`, of Y, Cb and Cr, at `means` (3, C) and `gains` (K, 3, C).

    The predictions are least squares, and the expected distances from them least squares weighted as a Laplace
    distribution asks for.
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
        quality = knot * MAX_LEVEL // (knots - 1)
        for kind, group in enumerate(planes):
            symbols = [quantize(plane, kind, quality, tables) for plane in group]
            mean_weights[knot, kind], spread_weights[knot, kind] = _weights(symbols)
            for plane in symbols:
                np.add.at(seen, table_indices(plane, kind, quality, tables), 1)
    prior = (PRIOR * tables.counts.astype(np.int64)) >> 14  # 2^10 for each symbol
    return replace(tables, counts=normalized((seen.reshape(prior.shape) << 10) + prior))


def refit(engine: Engine, planes: Sequence[Sequence[Latent]], old: Tables | None) -> Tables:
    """Tables for latents like those of `planes`: contexts fitted anew about the means and gains of `old`, or about
    `balanced` ones where there are none."""
    if old:
        return fit(planes, old.means.astype(np.float64), old.gains.astype(np.float64))
    cost = sensitivity(engine, [luma[:, :16, :16] for luma in planes[0][:SENSITIVITY_PICTURES]])
    return fit(planes, *balanced(cost, planes))


def _weights(planes: Sequence[Symbols]) -> tuple[Integers, Integers]:
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
            spread[channel, phase, :known] = np.rint(_expected(absolute[:known], distance) * ONE)
    return mean, spread


def _expected(features: Floats, distance: Floats) -> Floats:
    """Non-negative weights whose product with the features is the expected distance: the likeliest for exponentially
    distributed distances, whose variance is the square of the expectation. Features with negative weights drop out."""
    kept = np.ones(len(features), bool)
    expected = np.full_like(distance, distance.mean() + 1 / 64)
    for _ in range(ROUNDS):
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


def fit_checkpoint(source: Path, folder: Path, pictures: int, progress: Progress | None = None) -> None:
    """Fit tables to pictures below `folder`, and save them in the checkpoint's folder; gains that it has are kept.

    ImageError where `folder` holds no picture, CheckpointError as `Checkpoint.open`.
    """
    checkpoint = Checkpoint.open(source)
    tables = fit_tables(checkpoint, folder, pictures, default_device(), progress)
    write_tables(source, tables.arrays())


def fit_tables(
    checkpoint: Checkpoint, folder: Path, pictures: int, device: torch.device, progress: Progress | None = None
) -> Tables:
    """Tables fitted to `pictures` of the pictures below `folder`, drawn evenly, about the gains of the checkpoint.

    Luma stands in for chroma where no picture has any. ImageError where `folder` holds no picture.
    """
    # Not in int8: what it rounds away is more than the noise by which the sensitivity of channels is measured.
    pipeline = Pipeline(checkpoint, device, preferred_float(device))
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    count = min(pictures, len(paths))
    chosen = [paths[i * len(paths) // count] for i in range(count)]
    planes: tuple[list[Latent], ...] = ([], [], [])
    for done, path in enumerate(chosen, start=1):
        with suppress(ImageError):
            picture = open_picture(path)
            latents = pipeline.encode(picture, color=picture.pixels.ndim == 3).latents
            for group, latent in zip(planes, latents, strict=False):  # a gray one has no chroma
                group.append(latent)
        if progress:
            progress(0.9 * done / len(chosen))
    if not planes[0]:
        raise ImageError(f"There is no picture in {folder}.")
    tables = refit(pipeline.engine, [group or planes[0] for group in planes], checkpoint.tables)
    if progress:
        progress(1)
    return tables
