"""The context model: the distribution of each symbol, predicted in integers from the symbols coded before it.

This docstring defines the coded stream. A plane of symbols has the shape (C, h, w) and holds 32-bit signed integers.
It is coded channel by channel, each channel in two passes over a checkerboard: pass 0 takes the cells in which row +
column is even, pass 1 the others, both row by row. A cell in channel c has these features, in this order:

    1,  ring[0], here[0],  ring[1], here[1],  ...  ring[c - 1], here[c - 1]    and in pass 1 also  ring[c]

Here here[k] is the symbol of channel k in the same cell, and ring[k] is the sum of the symbols of channel k in the four
cells that share an edge with it (0 beyond the border). Each symbol is first clipped to -CLIP .. CLIP. The prediction m
is a weighted sum of these features. The expected distance s from it is a weighted sum of the same features computed
from the absolute values of the symbols. The weights depend on plane, channel and pass; >> is the arithmetic shift:

    m = sum(mean_weights * features)                      in units of 1 / ONE
    s = sum(spread_weights * features of the |symbols|)   in units of 1 / ONE
    nearest = (m + ONE / 2) >> 12                         the rounded prediction, clipped after offset is computed
    offset = (m - nearest * ONE + ONE / 2) >> 9           the fraction of the prediction, in OFFSETS steps from -1/2
    spread = the number of THRESHOLDS <= s

Then nearest is clipped to -CLIP .. CLIP.

A level is a quality in hundredths. The tables hold weights for K levels evenly spaced over 0 .. MAX_LEVEL, and weights
are interpolated between them: with position = level * (K - 1), k = min(position // MAX_LEVEL, K - 2) and
r = position - k * MAX_LEVEL, each weight is (w[k] * (MAX_LEVEL - r) + w[k + 1] * r) // MAX_LEVEL, rounded down.

A symbol x is coded as its distance d = x - nearest. The alphabet is d = 0, 1, -1, 2, ..., MAX_DISTANCE, -MAX_DISTANCE
and, last, ESCAPE for all larger distances; the frequencies are counts[spread, offset], whose total is 2^24. After each
pass the escaped x follow as 32-bit two's complement: the upper 16 bits of each, then the lower 16 bits of each, in the
order of the pass, each of the 2^16 values with the frequency 2^8.

Constants: ONE = 2^12, OFFSETS = 8, MAX_DISTANCE = 63, CLIP = 2^15 - 1, MAX_LEVEL = 10,000. There are 47 THRESHOLDS: the
first is 204, and t is followed by t + t // 6.

The coder is the range coder of `constriction` 0.5 with words of 32 bits, stored little-endian. Its decoder starts with
range = 2^64 - 1, lower = 0 and point = the first two words, the first of them the upper one. For each symbol, modulo
2^64:

    step = range >> 24
    take the symbol with below <= (point - lower) // step < below + frequency, where below is the sum of the frequencies
    of the symbols before it in the alphabet
    lower += step * below;  range = step * frequency
    if range < 2^32:  range, lower and point <<= 32, and point += the next word, or 0 if there is none

In this implementation the frequencies reach the coder as floating-point numbers that are exactly counts - 1: it scales
them by (2^24 - the size of the alphabet) / (their sum) = 1 and adds 1 to each. Nothing is rounded, on any machine.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from residae.codec.tables import OFFSET_BITS, OFFSETS, ONE, THRESHOLDS, UNIT_BITS, Integers, Tables
from residae.progress import raise_if_cancelled

CLIP = (1 << 15) - 1  # |symbol| in a feature: 4 * 2^15 * 2^31 * (1 + 2C) then fits 63 bits up to C = 2^12


class Context:
    """The features of every cell of a plane, as the module's docstring defines them, updated pass by pass.

    Attributes:
        cells: For each pass, the flat positions of its cells in (h, w).
        signed: For each pass, (1 + 2C, cells) features.
        absolute: For each pass, (1 + 2C, cells) features of the symbols' absolute values.

    Args:
        shape: (C, h, w) of the plane.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        channels, height, width = shape
        self._stride = width + 2  # of the plane with a border of zeros around it
        parity = np.add.outer(np.arange(height), np.arange(width)) % 2
        rows, columns = np.divmod(np.arange(height * width), width)
        padded = (rows + 1) * self._stride + columns + 1
        self.cells = tuple(np.flatnonzero(parity.ravel() == p) for p in (0, 1))
        self._padded = tuple(padded[cells] for cells in self.cells)
        self._plane = np.zeros((height + 2) * self._stride, np.int64)
        self.signed = tuple(np.zeros((1 + 2 * channels, len(cells)), np.int64) for cells in self.cells)
        self.absolute = tuple(np.zeros_like(features) for features in self.signed)
        for features in (*self.signed, *self.absolute):
            features[0] = 1  # the constant feature

    def update(self, channel: int, phase: int, values: NDArray[np.integer[Any]]) -> None:
        """Add the symbols of one pass: to `here` of that pass's cells and to `ring` of the other pass's.

        Args:
            channel: 0 .. C - 1.
            phase: 0 for the cells where row + column is even, coded first; 1 for the others.
            values: (cells,) symbols in the order of `cells[phase]`; they enter the features clipped to -CLIP .. CLIP.
        """
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
    """Run a coder over a plane in coding order.

    Args:
        shape: (C, h, w) of the plane.
        plane_index: Index of the plane in `PLANES`.
        level: Quality in hundredths, 0 .. MAX_LEVEL.
        tables: The codec's tables.
        coder: Called for each pass with the flat positions of its cells in (C, h, w), their rounded predictions and
            their frequency tables (spread * OFFSETS + offset); it returns their symbols.
    """
    mean_weights, spread_weights = tables.weights(plane_index, level)
    context = Context(shape)
    for channel in range(shape[0]):
        for phase, cells in enumerate(context.cells):
            if not len(cells):
                continue
            raise_if_cancelled()
            known = 1 + 2 * channel + phase
            mean = mean_weights[channel, phase, :known] @ context.signed[phase][:known]
            spread = spread_weights[channel, phase, :known] @ context.absolute[phase][:known]
            nearest = (mean + ONE // 2) >> UNIT_BITS
            offset = (mean - (nearest << UNIT_BITS) + ONE // 2) >> (UNIT_BITS - OFFSET_BITS)
            table = np.searchsorted(THRESHOLDS, spread, side="right") * OFFSETS + offset
            nearest = np.clip(nearest, -CLIP, CLIP)
            values = coder(channel * shape[1] * shape[2] + cells, nearest, table)
            context.update(channel, phase, values)
