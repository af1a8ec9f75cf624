"""The codec's tables: quantizer, context model and frequencies of one checkpoint.

`residae.codec.context` defines the symbols, alphabets and units.
"""

from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from residae.errors import CheckpointError
from residae.quality import MAX_LEVEL

Symbols = NDArray[np.int32]  # (C, h, w)
Integers = NDArray[np.int64]
PLANES = ("Y", "Cb", "Cr")
PRECISION = 24  # bits of a frequency, as in the range coder of constriction
TOTAL = 1 << PRECISION
MAX_DISTANCE = 63  # from the prediction; a symbol farther away is escaped
ESCAPE = 2 * MAX_DISTANCE + 1
ALPHABET = ESCAPE + 1  # by falling probability: constriction searches a table from its start
OFFSET_BITS = 3
OFFSETS = 1 << OFFSET_BITS  # steps in the fraction of a prediction, each with frequencies of its own
UNIT_BITS = 12
ONE = 1 << UNIT_BITS  # 1 in the fixed-point format of weights, predictions and spreads
SPREADS = 48  # steps in the expected distance from the prediction
MAX_CHANNELS = 1 << 12
MAX_KNOTS = 1 << 8


def _thresholds() -> Integers:
    """Thresholds between the spreads: from 0.05 on, each a sixth above the one before.

    A table then serves spreads up to 8 % from its own, which costs at most 0.3 % of the bits.
    """
    steps = [ONE // 20]
    while len(steps) < SPREADS - 1:
        steps.append(steps[-1] + steps[-1] // 6)
    return np.array(steps, np.int64)


THRESHOLDS = _thresholds()


@dataclass(frozen=True, eq=False)
class Tables:
    """The codec's tables of one checkpoint.

    There are C channels, 3 planes (Y, Cb, Cr) and K knots, which are levels evenly spaced from 0 to MAX_LEVEL.

    Attributes:
        means: (3, C) float32; the latent value that is quantized to 0.
        gains: (K, 3, C) float32; symbols per unit of the latent, growing with the level.
        mean_weights: (K, 3, C, 2, 1 + 2C) int32; weights of the prediction.
        spread_weights: (K, 3, C, 2, 1 + 2C) int32; weights of the expected distance from it.
        counts: (SPREADS, OFFSETS, ALPHABET) int32; frequencies of at least 1 that add up to TOTAL in each table.

    Raises:
        CheckpointError: An array has the wrong shape or type, or holds values that the codec cannot use.
    """

    means: NDArray[np.float32]
    gains: NDArray[np.float32]
    mean_weights: NDArray[np.int32]
    spread_weights: NDArray[np.int32]
    counts: NDArray[np.int32]

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
        """Tables for a checkpoint that has none: they work for any latent, but are fitted to no network.

        The quantization step is 256 at quality 0 and is halved eight times, to 1 at quality 100. The prediction is 0.
        The expected distance from it is estimated from the preceding channels and the neighboring cells.

        Args:
            channels: C, 1 to MAX_CHANNELS.

        Returns:
            Tables with nine knots.
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
        """The arrays by name. They are contiguous, because safetensors ignores strides."""
        return {field.name: np.ascontiguousarray(getattr(self, field.name)) for field in fields(self)}

    @cached_property
    def frequencies(self) -> NDArray[np.float32]:
        """(SPREADS * OFFSETS, ALPHABET) counts - 1, as the range coder takes them; below 2^24, so exact in float32."""
        return (self.counts - 1).reshape(-1, ALPHABET).astype(np.float32)

    @cached_property
    def bits(self) -> NDArray[np.float32]:
        """(SPREADS * OFFSETS, ALPHABET) code length of each index in bits, with the 32 bits that follow an escape."""
        bits = PRECISION - np.log2(self.counts.reshape(-1, ALPHABET).astype(np.float64))
        bits[:, ESCAPE] += 32
        return bits.astype(np.float32)

    def between(self, level: int) -> tuple[int, int]:
        """The knot below a level, and the level's distance from it in units of 1 / MAX_LEVEL of the knots' spacing.

        Args:
            level: 0 .. MAX_LEVEL.

        Returns:
            The knot, 0 .. K - 2, and the distance, 0 .. MAX_LEVEL.
        """
        position = level * (len(self.gains) - 1)
        knot = min(position // MAX_LEVEL, len(self.gains) - 2)
        return knot, position - knot * MAX_LEVEL

    def weights(self, plane_index: int, level: int) -> tuple[Integers, Integers]:
        """Mean and spread weights of one plane at a level, interpolated between knots.

        Args:
            plane_index: Index of the plane in `PLANES`.
            level: 0 .. MAX_LEVEL.

        Returns:
            (C, 2, 1 + 2C) int64 each, in units of 1 / ONE.
        """
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
    """Frequencies of a Laplace distribution of each spread about each offset: (SPREADS, OFFSETS, ALPHABET).

    Computed in integers, so that they are identical on every machine. For a spread s the density falls by the factor
    (16 s - 1) / (16 s + 1) for each eighth of a symbol, which is exp(-1 / (8 s)) to second order.
    """
    spread = np.concatenate((THRESHOLDS[:1], THRESHOLDS))
    spread = spread + spread // 12  # the middle of each table's spreads
    density = [np.full(SPREADS, 1 << 34)]  # times 16 * spread < 2^23 in the loop, and times 8 * TOTAL after: 61 bits
    for _ in range(OFFSETS * (MAX_DISTANCE + 2)):
        density.append(np.maximum(density[-1] * np.maximum(16 * spread - ONE, 0) // (16 * spread + ONE), 1))
    distance = index_distance(np.arange(ESCAPE))
    # In sixteenths of a symbol: the distance of the middle of each of its eighths from the middle of an offset's step.
    part = 2 * np.arange(OFFSETS) + 1 - OFFSETS
    sixteenths = np.abs(16 * distance[:, None] + part - part[:, None, None])
    mass = np.array(density)[sixteenths // 2].sum(2)  # (OFFSETS, ESCAPE, SPREADS)
    mass = np.concatenate((mass, mass.min(1, keepdims=True)), 1)
    return normalized(np.moveaxis(mass, -1, 0))


def normalized(mass: Integers) -> NDArray[np.int32]:
    """Scale integer masses to frequencies of at least 1 that add up to TOTAL.

    Args:
        mass: (..., ALPHABET) int64, not negative, each below 2^39 and at least one of each table above 0.

    Returns:
        (..., ALPHABET) int32.
    """
    counts: Integers = 1 + mass * (TOTAL - ALPHABET) // mass.sum(-1, keepdims=True)
    likeliest = counts.argmax(-1)[..., None]
    rest = TOTAL - counts.sum(-1, keepdims=True)
    np.put_along_axis(counts, likeliest, np.take_along_axis(counts, likeliest, -1) + rest, -1)
    return np.ascontiguousarray(counts, np.int32)


def symbol_index(values: Integers, nearest: Integers) -> Integers:
    """Index in the alphabet of symbols, given their rounded predictions; ESCAPE where they are too far apart.

    Args:
        values: Symbols, of any shape.
        nearest: Their predictions, rounded to whole symbols; of the same shape.

    Returns:
        0 .. ESCAPE, of the same shape.
    """
    distance = values - nearest
    return np.asarray(np.minimum(2 * np.abs(distance) - (distance > 0), ESCAPE))


def index_distance(index: Integers) -> Integers:
    """The distance from the prediction that an index below ESCAPE stands for: 0, 1, -1, 2, -2, ...

    Args:
        index: 0 .. ESCAPE - 1, of any shape; the result for ESCAPE itself means nothing.
    """
    return np.where(index & 1, (index + 1) >> 1, -(index >> 1))
