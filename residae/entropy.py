"""Integer symbols to bytes and back, by integer tables and a context of symbols already coded.

A plane of symbols is (C, h, w) int32. It is coded channel by channel, each channel in two passes over a checkerboard:
pass 0 takes the cells with row + column even, pass 1 the others, both row by row. In pass p of channel c a cell knows
the features, in this order,

    1,  ring[0], here[0],  ring[1], here[1],  ...  ring[c - 1], here[c - 1]    and in pass 1 also  ring[c]

where here[k] is channel k in the same cell, and ring[k] the sum of it over the four cells that share an edge (0 beyond
the border), each symbol first clipped to +-CLIP. From the features follows the prediction m, from those of the symbols'
absolute values (|here|, and the sum of |.| over the ring) the expected distance s from it; with the weights of plane
kind, channel and pass, and >> the arithmetic shift:

    m = sum(mean_weights * features)            in units of 1 / ONE
    s = sum(spread_weights * features of |.|)   in units of 1 / ONE
    nearest = (m + ONE / 2) >> 12                   the prediction rounded; clipped to +-CLIP once offset is known
    offset = (m - nearest * ONE + ONE / 2) >> 9     its fraction, in OFFSETS steps from -1/2
    spread = number of THRESHOLDS <= s

Weights are stored for K qualities evenly spaced over 0 .. FINEST. Between two of them they are interpolated: with
position = quality * (K - 1), k = min(position // FINEST, K - 2), r = position - k * FINEST, each weight is
(w[k] * (FINEST - r) + w[k + 1] * r) // FINEST, rounded down.

The symbol x is coded by its distance d = x - nearest, in the order 0, 1, -1, 2, -2 .. REACH, -REACH, with the
frequencies counts[spread, offset], of total 2^24; or, where it is farther away, as ESCAPE, the last. After each pass
the escaped x follow as 32-bit two's complement: the upper 16 bits of each, then the lower 16 bits of each, in the order
of the pass, all uniform (frequency 2^8).

Here ONE = 2^12, OFFSETS = 8, REACH = 63, CLIP = 2^15 - 1, FINEST = 10,000, and 47 THRESHOLDS: 204, then t + t // 6.

The coder is the range coder of `constriction` 0.5, in words of 32 bits, stored little-endian. Its decoder starts with
range = 2^64 - 1, lower = 0 and point = the first two words, the first the upper. For each symbol, modulo 2^64:

    step = range >> 24;  take the symbol whose frequencies span (point - lower) // step, `below` being those before it
    lower += step * below;  range = step * frequency
    if range < 2^32:  range, lower and point <<= 32, and point += the next word, or 0 where there is none

The frequencies reach it as floating-point numbers that are exactly counts - 1: it adds 1 to each and scales them by
(2^24 - n) / (their sum) = 1. So no rounding takes place, on any machine.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from residae.errors import CheckpointError, CodecError

Symbols = NDArray[np.int32]  # (C, h, w)
Integers = NDArray[np.int64]

PLANES = ("Y", "Cb", "Cr")
FINEST = 10_000  # qualities are whole numbers 0 .. FINEST: hundredths of 0 .. 100

PRECISION = 24  # bits of a frequency, fixed by the range coder
TOTAL = 1 << PRECISION
REACH = 63  # farthest from the prediction without an escape
ESCAPE = 2 * REACH + 1
ALPHABET = ESCAPE + 1  # likely indices first: the coder searches from the start, and adds up all
OFFSET_BITS = 3
OFFSETS = 1 << OFFSET_BITS  # fractions of a prediction told apart
UNIT_BITS = 12
ONE = 1 << UNIT_BITS  # fixed point of weights, predictions and spreads
CLIP = (1 << 15) - 1  # of symbols in contexts: 4 * 2^15 * 2^31 * (1 + 2 C) fits 63 bits up to C = 2^12
SPREADS = 48
CHUNK = 1 << 14  # symbols handed to the coder at once: 8 MB of frequencies

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

    def between(self, quality: int) -> tuple[int, int]:
        """The knot below a quality 0 .. FINEST, and how far the quality is above it: 0 .. FINEST is the next knot."""
        position = quality * (len(self.gains) - 1)
        knot = min(position // FINEST, len(self.gains) - 2)
        return knot, position - knot * FINEST

    def weights(self, kind: int, quality: int) -> tuple[Integers, Integers]:
        """Mean and spread weights (C, 2, 1 + 2C) for one plane at a quality 0 .. FINEST."""
        knot, rest = self.between(quality)
        mean, spread = (
            (w[knot, kind].astype(np.int64) * (FINEST - rest) + w[knot + 1, kind].astype(np.int64) * rest) // FINEST
            for w in (self.mean_weights, self.spread_weights)
        )
        return mean, spread


class Context:
    """What the cells of a plane know of symbols already coded: the features of the module's docstring."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        channels, height, width = shape
        self._stride = width + 2  # of a plane with a border of zeros
        parity = np.add.outer(np.arange(height), np.arange(width)) % 2
        rows, columns = np.divmod(np.arange(height * width), width)
        padded = (rows + 1) * self._stride + columns + 1
        self.cells = tuple(np.flatnonzero(parity.ravel() == p) for p in (0, 1))  # of each pass, in the flat plane
        self._padded = tuple(padded[cells] for cells in self.cells)
        self._plane = np.zeros((height + 2) * self._stride, np.int64)
        # For each pass (1 + 2C, cells) of the symbols and of their absolute values; row 0 is 1.
        self.signed = tuple(np.zeros((1 + 2 * channels, len(cells)), np.int64) for cells in self.cells)
        self.absolute = tuple(np.zeros_like(features) for features in self.signed)
        for features in (*self.signed, *self.absolute):
            features[0] = 1

    def learn(self, channel: int, phase: int, values: NDArray[np.integer[Any]]) -> None:
        """Take in the symbols of one pass, which the cells of that pass see as `here` and the others as `ring`."""
        values = np.clip(values, -CLIP, CLIP).astype(np.int64)
        here, ring = 2 + 2 * channel, 1 + 2 * channel
        self.signed[phase][here] = values
        self.absolute[phase][here] = np.abs(values)
        self._plane[self._padded[phase]] = values
        other = self._padded[1 - phase]
        neighbours = [self._plane[other + step] for step in (-self._stride, -1, 1, self._stride)]
        self.signed[1 - phase][ring] = sum(neighbours)
        self.absolute[1 - phase][ring] = sum(np.abs(n) for n in neighbours)


Coder = Callable[[NDArray[np.int64], Integers, Integers], Integers]


def walk(shape: tuple[int, int, int], kind: int, quality: int, tables: Tables, coder: Coder) -> None:
    """Visit a plane in coding order: `coder` gets the flat positions in (C, h, w), the predictions and the tables of
    one pass, and returns its symbols."""
    mean_weights, spread_weights = tables.weights(kind, quality)
    context = Context(shape)
    for channel in range(shape[0]):
        for phase, cells in enumerate(context.cells):
            if not len(cells):
                continue
            known = 1 + 2 * channel + phase
            mean = mean_weights[channel, phase, :known] @ context.signed[phase][:known]
            spread = spread_weights[channel, phase, :known] @ context.absolute[phase][:known]
            nearest = (mean + ONE // 2) >> UNIT_BITS
            offset = (mean - (nearest << UNIT_BITS) + ONE // 2) >> (UNIT_BITS - OFFSET_BITS)
            table = np.searchsorted(THRESHOLDS, spread, side="right") * OFFSETS + offset
            nearest = np.clip(nearest, -CLIP, CLIP)
            values = coder(channel * shape[1] * shape[2] + cells, nearest, table)
            context.learn(channel, phase, values)


def encode(symbols: Symbols, kind: int, quality: int, tables: Tables) -> bytes:
    """A plane (C, h, w) of any int32, of PLANES[kind], quantised at a quality 0 .. FINEST, as a multiple of 4 bytes."""
    from constriction import stream  # type: ignore[import-untyped]  # here: most of what imports us codes nothing

    family, half = stream.model.Categorical(perfect=False), stream.model.Uniform(1 << 16)
    encoder = stream.queue.RangeEncoder()
    flat = symbols.ravel()

    def coder(cells: Integers, nearest: Integers, table: Integers) -> Integers:
        values = flat[cells].astype(np.int64)
        index = _index(values, nearest).astype(np.int32)
        for part in _chunks(len(cells)):
            encoder.encode(index[part], family, tables.frequencies[table[part]])
        escaped = values[index == ESCAPE]
        if len(escaped):
            encoder.encode((escaped >> 16 & 0xFFFF).astype(np.int32), half)
            encoder.encode((escaped & 0xFFFF).astype(np.int32), half)
        return values

    walk(symbols.shape, kind, quality, tables, coder)
    return bytes(encoder.get_compressed().astype("<u4").tobytes())


def decode(data: bytes, shape: tuple[int, int, int], kind: int, quality: int, tables: Tables) -> Symbols:
    """The inverse of `encode`. CodecError where `data` is not what it made."""
    from constriction import stream

    if len(data) % 4:
        raise CodecError("The file is damaged: its symbols do not end where they should.")
    family, half = stream.model.Categorical(perfect=False), stream.model.Uniform(1 << 16)
    decoder = stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
    symbols = np.empty(shape, np.int32)
    flat = symbols.reshape(-1)

    def coder(cells: Integers, nearest: Integers, table: Integers) -> Integers:
        parts = [decoder.decode(family, tables.frequencies[table[part]]) for part in _chunks(len(cells))]
        index = np.concatenate(parts).astype(np.int64)
        values = nearest + _distance(index)
        escaped = np.flatnonzero(index == ESCAPE)
        if len(escaped):
            upper = decoder.decode(half, len(escaped)).astype(np.int64)
            lower = decoder.decode(half, len(escaped)).astype(np.int64)
            values[escaped] = (upper << 16 | lower).astype(np.uint32).view(np.int32)
        flat[cells] = values
        return values

    try:
        walk(shape, kind, quality, tables, coder)
    except (AssertionError, ValueError) as error:  # as constriction reports words that no symbols lead to
        raise CodecError("The file is damaged: its symbols make no sense.") from error
    if not decoder.maybe_exhausted():
        raise CodecError("The file is damaged: its symbols do not end where they should.")
    return symbols


def coded(symbols: Symbols, kind: int, quality: int, tables: Tables) -> tuple[Integers, Integers]:
    """Of every symbol (C, h, w): its table, as spread * OFFSETS + offset, and its index in the table's alphabet."""
    flat = symbols.ravel()
    chosen, index = np.empty(flat.shape, np.int64), np.empty(flat.shape, np.int64)

    def coder(cells: Integers, nearest: Integers, table: Integers) -> Integers:
        values = flat[cells].astype(np.int64)
        chosen[cells], index[cells] = table, _index(values, nearest)
        return values

    walk(symbols.shape, kind, quality, tables, coder)
    return chosen.reshape(symbols.shape), index.reshape(symbols.shape)


def ideal_bits(symbols: Symbols, kind: int, quality: int, tables: Tables) -> NDArray[np.float64]:
    """(C,) bits that a perfect coder would spend on each channel, with these tables and contexts."""
    bits: NDArray[np.float64] = tables.bits[coded(symbols, kind, quality, tables)].sum((1, 2), dtype=np.float64)
    return bits


def static_bits(planes: Iterable[Symbols]) -> float:
    """Bits for planes of one kind with one static table per channel, and that the best there can be for just these
    planes, sent at no cost: the order-0 entropy. What contexts save is measured against this."""
    bits = 0.0
    for values in zip(*planes, strict=True):
        pooled = np.concatenate([v.ravel() for v in values])
        count = np.unique(pooled, return_counts=True)[1]
        bits += float(count @ np.log2(pooled.size / count))
    return bits


@cache
def laplace_counts() -> NDArray[np.int32]:
    """(SPREADS, OFFSETS, ALPHABET) frequencies of a Laplace distribution of each spread about each offset.

    In whole numbers throughout, so that they are the same everywhere: the density falls by (16 s - 1) / (16 s + 1)
    for each eighth of a symbol, which is exp(-1 / 8 s) to second order.
    """
    spread = np.concatenate((THRESHOLDS[:1], THRESHOLDS))
    spread = spread + spread // 12  # the middle of the spreads that share a table
    density = [np.full(SPREADS, 1 << 34)]  # times 16 * spread < 2^23 in the loop, and times 8 * TOTAL after: 61 bits
    for _ in range(OFFSETS * (REACH + 2)):
        density.append(np.maximum(density[-1] * np.maximum(16 * spread - ONE, 0) // (16 * spread + ONE), 1))
    distance = _distance(np.arange(ESCAPE))
    # In sixteenths of a symbol: the middles of its eight eighths, from the middle of each offset's step.
    part = 2 * np.arange(OFFSETS) + 1 - OFFSETS
    sixteenths = np.abs(16 * distance[:, None] + part - part[:, None, None])
    mass = np.array(density)[sixteenths // 2].sum(2)  # (OFFSETS, ESCAPE, SPREADS)
    mass = np.concatenate((mass, mass.min(1, keepdims=True)), 1)
    return normalised(np.moveaxis(mass, -1, 0))


def normalised(mass: Integers) -> NDArray[np.int32]:
    """Frequencies (..., ALPHABET) of at least 1 and total TOTAL, in proportion to whole numbers below 2^39."""
    counts: Integers = 1 + mass * (TOTAL - ALPHABET) // mass.sum(-1, keepdims=True)
    likeliest = counts.argmax(-1)[..., None]
    rest = TOTAL - counts.sum(-1, keepdims=True)
    np.put_along_axis(counts, likeliest, np.take_along_axis(counts, likeliest, -1) + rest, -1)
    return np.ascontiguousarray(counts, np.int32)


def _index(values: Integers, nearest: Integers) -> Integers:
    distance = values - nearest
    return np.asarray(np.minimum(2 * np.abs(distance) - (distance > 0), ESCAPE))


def _distance(index: Integers) -> Integers:
    return np.where(index & 1, (index + 1) >> 1, -(index >> 1))


def _chunks(length: int) -> Iterator[slice]:
    for start in range(0, length, CHUNK):
        yield slice(start, start + CHUNK)
