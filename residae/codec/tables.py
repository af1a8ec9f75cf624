"""The codec's integer tables: all that it knows of a checkpoint beside the weights.

Symbols, alphabets and units are those of `residae.codec.context`.
"""

from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from residae.errors import CheckpointError

Symbols = NDArray[np.int32]  # (C, h, w)
Integers = NDArray[np.int64]
PLANES = ("Y", "Cb", "Cr")
MAX_LEVEL = 10_000  # qualities are whole numbers 0 .. MAX_LEVEL: hundredths of 0 .. 100
PRECISION = 24  # bits of a frequency, fixed by the range coder
TOTAL = 1 << PRECISION
MAX_DISTANCE = 63  # farthest from the prediction without an escape
ESCAPE = 2 * MAX_DISTANCE + 1
ALPHABET = ESCAPE + 1  # likely indices first: the coder searches from the start, and adds up all
OFFSET_BITS = 3
OFFSETS = 1 << OFFSET_BITS  # fractions of a prediction told apart
UNIT_BITS = 12
ONE = 1 << UNIT_BITS  # fixed point of weights, predictions and spreads
SPREADS = 48
MAX_CHANNELS = 1 << 12
MAX_KNOTS = 1 << 8


def _thresholds() -> Integers:
    """From 0.05 upwards, each a sixth above the last: a table is used up to 8 % from its own spread, costing 0.3 %."""
    steps = [ONE // 20]
    while len(steps) < SPREADS - 1:
        steps.append(steps[-1] + steps[-1] // 6)
    return np.array(steps, np.int64)


THRESHOLDS = _thresholds()


@dataclass(frozen=True, eq=False)
class Tables:
    """All that the codec knows of a checkpoint beside its weights. K knots of quality, 3 kinds of plane, C channels.

    CheckpointError where an array has another shape or type, or holds what the coder cannot use.
    """

    means: NDArray[np.float32]  # (3, C) latent value that becomes the symbol 0
    gains: NDArray[np.float32]  # (K, 3, C) symbols per unit of the latent, growing with quality
    mean_weights: NDArray[np.int32]  # (K, 3, C, 2, 1 + 2C)
    spread_weights: NDArray[np.int32]  # (K, 3, C, 2, 1 + 2C)
    counts: NDArray[np.int32]  # (SPREADS, OFFSETS, ALPHABET) frequencies of at least 1, each table's sum TOTAL

    def __post_init__(self) -> None:
        knots, _, channels = self.gains.shape if self.gains.ndim == 3 else (0, 0, 0)
        if not (2 <= knots <= MAX_KNOTS and 1 <= channels <= MAX_CHANNELS):
            raise CheckpointError("The codec tables of the checkpoint have gains of an impossible shape.")
        weights = np.int32, (knots, 3, channels, 2, 1 + 2 * channels)
        expected = {
            "means": (np.float32, (3, channels)),
            "gains": (np.float32, (knots, 3, channels)),
            "mean_weights": weights,
            "spread_weights": weights,
            "counts": (np.int32, (SPREADS, OFFSETS, ALPHABET)),
        }
        for name, (dtype, shape) in expected.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape:
                raise CheckpointError(f"The codec tables of the checkpoint have {name} of the wrong shape or type.")
        if not (np.isfinite(self.means).all() and np.isfinite(self.gains).all()):
            raise CheckpointError("The codec tables of the checkpoint hold values that are not finite.")
        if (self.gains <= 0).any() or (np.diff(self.gains, axis=0) <= 0).any():
            raise CheckpointError("The gains of the checkpoint's codec tables do not grow with quality.")
        if (self.counts < 1).any() or (self.counts.sum(-1, dtype=np.int64) != TOTAL).any():
            raise CheckpointError("The frequencies of the checkpoint's codec tables do not add up.")

    @classmethod
    def default(cls, channels: int) -> Self:
        """For a checkpoint that brings none, from constants alone: it works for any latent, and suits none well.

        Steps of 256 units of the latent at quality 0 halve down to 1 at 100. Nothing is predicted; the spread of a
        channel is taken to be that of the channels before it, and of its ring.
        """
        knots = 9
        gains = np.repeat(2.0 ** np.arange(1 - knots, 1), 3 * channels).reshape(knots, 3, channels)
        spread = np.zeros((channels, 2, 1 + 2 * channels), np.int32)
        spread[0, 0, 0] = 4 * ONE
        spread[0, 1, :2] = ONE // 8, ONE // 4
        for channel in range(1, channels):
            spread[channel, :, 0] = ONE // 8
            spread[channel, 0, 2 : 1 + 2 * channel : 2] = ONE // channel
            spread[channel, 1, 2 : 1 + 2 * channel : 2] = ONE // (2 * channel)
            spread[channel, 1, 1 + 2 * channel] = ONE // 8
        spread = np.broadcast_to(spread, (knots, 3, *spread.shape)).copy()
        means = np.zeros((3, channels), np.float32)
        return cls(means, gains.astype(np.float32), np.zeros_like(spread), spread, laplace_counts())

    @property
    def channels(self) -> int:
        return int(self.gains.shape[2])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array by its name, contiguous: safetensors writes memory as it lies."""
        return {field.name: np.ascontiguousarray(getattr(self, field.name)) for field in fields(self)}

    @cached_property
    def frequencies(self) -> NDArray[np.float32]:
        """(SPREADS * OFFSETS, ALPHABET) counts - 1, as the range coder wants them; exact, being below 2^24."""
        return (self.counts - 1).reshape(-1, ALPHABET).astype(np.float32)

    @cached_property
    def bits(self) -> NDArray[np.float32]:
        """(SPREADS * OFFSETS, ALPHABET) code length of each index, the 32 bits after an escape included."""
        bits = PRECISION - np.log2(self.counts.reshape(-1, ALPHABET).astype(np.float64))
        bits[:, ESCAPE] += 32
        return bits.astype(np.float32)

    def between(self, level: int) -> tuple[int, int]:
        """The knot below a level 0 .. MAX_LEVEL, and how far the level is above it: MAX_LEVEL is the next knot."""
        position = level * (len(self.gains) - 1)
        knot = min(position // MAX_LEVEL, len(self.gains) - 2)
        return knot, position - knot * MAX_LEVEL

    def weights(self, plane_index: int, level: int) -> tuple[Integers, Integers]:
        """Mean and spread weights (C, 2, 1 + 2C) for one plane at a quality 0 .. MAX_LEVEL."""
        knot, rest = self.between(level)
        mean, spread = (
            (
                w[knot, plane_index].astype(np.int64) * (MAX_LEVEL - rest)
                + w[knot + 1, plane_index].astype(np.int64) * rest
            )
            // MAX_LEVEL
            for w in (self.mean_weights, self.spread_weights)
        )
        return mean, spread


@cache
def laplace_counts() -> NDArray[np.int32]:
    """(SPREADS, OFFSETS, ALPHABET) frequencies of a Laplace distribution of each spread about each offset.

    In whole numbers throughout, so that they are the same everywhere: the density falls by (16 s - 1) / (16 s + 1)
    for each eighth of a symbol, which is exp(-1 / 8 s) to second order.
    """
    spread = np.concatenate((THRESHOLDS[:1], THRESHOLDS))
    spread = spread + spread // 12  # the middle of the spreads that share a table
    density = [np.full(SPREADS, 1 << 34)]  # times 16 * spread < 2^23 in the loop, and times 8 * TOTAL after: 61 bits
    for _ in range(OFFSETS * (MAX_DISTANCE + 2)):
        density.append(np.maximum(density[-1] * np.maximum(16 * spread - ONE, 0) // (16 * spread + ONE), 1))
    distance = index_distance(np.arange(ESCAPE))
    # In sixteenths of a symbol: the middles of its eight eighths, from the middle of each offset's step.
    part = 2 * np.arange(OFFSETS) + 1 - OFFSETS
    sixteenths = np.abs(16 * distance[:, None] + part - part[:, None, None])
    mass = np.array(density)[sixteenths // 2].sum(2)  # (OFFSETS, ESCAPE, SPREADS)
    mass = np.concatenate((mass, mass.min(1, keepdims=True)), 1)
    return normalized(np.moveaxis(mass, -1, 0))


def normalized(mass: Integers) -> NDArray[np.int32]:
    """Frequencies (..., ALPHABET) of at least 1 and total TOTAL, in proportion to whole numbers below 2^39."""
    counts: Integers = 1 + mass * (TOTAL - ALPHABET) // mass.sum(-1, keepdims=True)
    likeliest = counts.argmax(-1)[..., None]
    rest = TOTAL - counts.sum(-1, keepdims=True)
    np.put_along_axis(counts, likeliest, np.take_along_axis(counts, likeliest, -1) + rest, -1)
    return np.ascontiguousarray(counts, np.int32)


def symbol_index(values: Integers, nearest: Integers) -> Integers:
    distance = values - nearest
    return np.asarray(np.minimum(2 * np.abs(distance) - (distance > 0), ESCAPE))


def index_distance(index: Integers) -> Integers:
    return np.where(index & 1, (index + 1) >> 1, -(index >> 1))
