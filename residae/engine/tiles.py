"""Tiles of a picture: ranges of rows and columns, and the halo that each needs. Pure arithmetic."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from residae.geometry import STRIDE

Region = tuple[slice, slice]  # rows and columns in pixels
WHOLE: Region = (slice(None), slice(None))


@dataclass(frozen=True)
class Tile:
    """A part of a picture, its core, and the halo around it on which it depends. Lengths are in units of pixels.

    Attributes:
        rows: Rows of the core.
        columns: Columns of the core.
        bounds: Height and width of the picture, at whose edges the halo ends.
        halo: Width of the halo.
    """

    rows: range
    columns: range
    bounds: tuple[int, int]
    halo: int

    def core(self, scale: int = 1, origin: tuple[int, int] = (0, 0)) -> Region:
        """Where the core lies in an array.

        Args:
            scale: Pixels of the array to a unit of the tile.
            origin: Row and column at which the array begins, in its own pixels.

        Returns:
            Rows and columns of the array.
        """
        return _scale(self.rows, scale, origin[0]), _scale(self.columns, scale, origin[1])

    def outer(self, scale: int = 1, origin: tuple[int, int] = (0, 0)) -> Region:
        """Where core and halo lie in an array.

        Args:
            scale: As in `core`.
            origin: As in `core`.

        Returns:
            Rows and columns of the array; the halo ends at `bounds`.
        """
        rows, columns = self._outer()
        return _scale(rows, scale, origin[0]), _scale(columns, scale, origin[1])

    def inner(self, scale: int = 1) -> Region:
        """Where the core lies in the network's output for core and halo.

        Args:
            scale: Pixels of the output to a unit of the tile.

        Returns:
            Rows and columns of the output.
        """
        rows, columns = self._outer()
        return self.core(scale, (rows.start * scale, columns.start * scale))

    def cut(self, most: int) -> Iterator["Tile"]:
        """Split into near-equal tiles of at most `most` units, with the shortest cuts: the halos are computed twice.

        Args:
            most: Area of a core, at least 1.

        Yields:
            Tiles whose cores cover this one's, row by row.
        """
        height, width = len(self.rows), len(self.columns)
        best, shortest = (1, 1), math.inf
        for i in range(1, height + 1):
            rows = -(-height // i)
            columns = min(width, most // rows)
            length = (i - 1) * width + (-(-width // columns) - 1) * height if columns else math.inf
            if length <= shortest:
                best, shortest = (rows, columns), length
        return self.split(*best)

    def split(self, height: int, width: int) -> Iterator["Tile"]:
        """Split into near-equal tiles of at most `height` x `width` units.

        Args:
            height: Of a core, at least 1.
            width: Of a core, at least 1.

        Yields:
            Tiles whose cores cover this one's, row by row.
        """
        for rows in _split_range(self.rows, height):
            for columns in _split_range(self.columns, width):
                yield replace(self, rows=rows, columns=columns)

    def _outer(self) -> tuple[range, range]:
        height, width = self.bounds
        return _widen(self.rows, self.halo, height), _widen(self.columns, self.halo, width)


def _scale(units: range, scale: int, origin: int = 0) -> slice:
    return slice(units.start * scale - origin, units.stop * scale - origin)


def _widen(units: range, halo: int, length: int) -> range:
    return range(max(units.start - halo, 0), min(units.stop + halo, length))


def _split_range(units: range, side: int) -> Iterator[range]:
    count = -(-len(units) // side)
    cuts = [units.start + round(i * len(units) / count) for i in range(count + 1)]
    return (range(a, b) for a, b in itertools.pairwise(cuts))


def pixel_range(part: slice, length: int) -> range:
    """The pixels of one axis in a region.

    Args:
        part: The rows or the columns of the region.
        length: Of the axis, in pixels.

    Raises:
        ValueError: The slice is empty, or its step is not 1.
    """
    pixels = range(length)[part]
    if not pixels or pixels.step != 1:
        raise ValueError(f"{part} is empty or has gaps on an axis of {length} pixels")
    return pixels


def covering(pixels: range | slice, side: int = STRIDE) -> range:
    """The units of `side` pixels that contain these pixels.

    Args:
        pixels: Start and stop along one axis; not empty, and a slice has both.
        side: Pixels of a unit.
    """
    return range(pixels.start // side, -(-pixels.stop // side))
