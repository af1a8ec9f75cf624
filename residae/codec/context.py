"""Integer symbols to bytes and back, by integer tables and a context of symbols already coded.

A plane of symbols is (C, h, w) int32. It is coded channel by channel, each channel in two passes over a
checkerboard: pass 0 takes the cells with row + column even, pass 1 the others, both row by row. In pass p
of channel c a cell knows the features, in this order,

    1,  ring[0], here[0],  ring[1], here[1],  ...  ring[c - 1], here[c - 1]    and in pass 1 also  ring[c]

where here[k] is channel k in the same cell, and ring[k] the sum of it over the four cells that share an edge (0 beyond
the border), each symbol first clipped to +-CLIP. From the features follows the prediction m, from those of the symbols'
absolute values (|here|, and the sum of |.| over the ring) the expected distance s from it; with the weights of the
plane, channel and pass, and >> the arithmetic shift:

    m = sum(mean_weights * features)            in units of 1 / ONE
    s = sum(spread_weights * features of |.|)   in units of 1 / ONE
    nearest = (m + ONE / 2) >> 12                   the prediction rounded; clipped to +-CLIP once offset is known
    offset = (m - nearest * ONE + ONE / 2) >> 9     its fraction, in OFFSETS steps from -1/2
    spread = number of THRESHOLDS <= s

A level is a quality in hundredths. Weights are stored for K levels evenly spaced over 0 .. MAX_LEVEL. Between
two of them they are interpolated: with position = level * (K - 1), k = min(position // MAX_LEVEL, K - 2) and
r = position - k * MAX_LEVEL, each weight is (w[k] * (MAX_LEVEL - r) + w[k + 1] * r) // MAX_LEVEL, rounded down.

The symbol x is coded by its distance d = x - nearest, in the order 0, 1, -1, 2 .. MAX_DISTANCE, -MAX_DISTANCE, with
the frequencies counts[spread, offset], of total 2^24; or, where it is farther away, as ESCAPE, the last. After each pass
the escaped x follow as 32-bit two's complement: the upper 16 bits of each, then the lower 16 bits of each, in the order
of the pass, all uniform (frequency 2^8).

Here ONE = 2^12, OFFSETS = 8, MAX_DISTANCE = 63, CLIP = 2^15 - 1, MAX_LEVEL = 10,000, and 47 THRESHOLDS: 204,
then t + t // 6.

The coder is the range coder of `constriction` 0.5, in words of 32 bits, stored little-endian. Its decoder starts with
range = 2^64 - 1, lower = 0 and point = the first two words, the first the upper. For each symbol, modulo 2^64:

    step = range >> 24;  take the symbol whose frequencies span (point - lower) // step, `below` being those before it
    lower += step * below;  range = step * frequency
    if range < 2^32:  range, lower and point <<= 32, and point += the next word, or 0 where there is none

The frequencies reach it as floating-point numbers that are exactly counts - 1: it adds 1 to each and scales them by
(2^24 - n) / (their sum) = 1. So no rounding takes place, on any machine.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from residae.codec.tables import OFFSET_BITS, OFFSETS, ONE, THRESHOLDS, UNIT_BITS, Integers, Tables

CLIP = (1 << 15) - 1  # of symbols in contexts: 4 * 2^15 * 2^31 * (1 + 2 C) fits 63 bits up to C = 2^12


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

    def update(self, channel: int, phase: int, values: NDArray[np.integer[Any]]) -> None:
        """Take in the symbols of one pass, which the cells of that pass see as `here` and the others as `ring`."""
        values = np.clip(values, -CLIP, CLIP).astype(np.int64)
        here, ring = 2 + 2 * channel, 1 + 2 * channel
        self.signed[phase][here] = values
        self.absolute[phase][here] = np.abs(values)
        self._plane[self._padded[phase]] = values
        other = self._padded[1 - phase]
        neighbors = [self._plane[other + step] for step in (-self._stride, -1, 1, self._stride)]
        self.signed[1 - phase][ring] = sum(neighbors)
        self.absolute[1 - phase][ring] = sum(np.abs(n) for n in neighbors)


Coder = Callable[[NDArray[np.int64], Integers, Integers], Integers]


def for_each_pass(shape: tuple[int, int, int], plane_index: int, level: int, tables: Tables, coder: Coder) -> None:
    """Visit a plane in coding order: `coder` gets the flat positions in (C, h, w), the predictions and the tables of
    one pass, and returns its symbols."""
    mean_weights, spread_weights = tables.weights(plane_index, level)
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
            context.update(channel, phase, values)
