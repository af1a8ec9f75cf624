"""Scalar quantization of a latent, with a mean and a gain for each channel."""

import numpy as np
from numpy.typing import NDArray

from residae.arrays import Latent
from residae.codec.tables import Symbols, Tables
from residae.quality import MAX_LEVEL

INT32 = np.iinfo(np.int32)


def quantize(latent: Latent, plane_index: int, level: int, tables: Tables) -> Symbols:
    """Quantize the latent of one plane.

    Args:
        latent: (C, h, w) float32.
        plane_index: Index of the plane in `PLANES`.
        level: Quality in hundredths, 0 .. MAX_LEVEL.
        tables: The codec's tables.

    Returns:
        (C, h, w) int32, clipped to its range.

    Raises:
        ValueError: The latent holds NaN.
    """
    return round_symbols(unrounded_symbols(latent, plane_index, level, tables))


def round_symbols(symbols: NDArray[np.float64]) -> Symbols:
    """The nearest whole numbers, clipped to the range of int32.

    Args:
        symbols: Any shape.

    Returns:
        int32 of the same shape.
    """
    return np.asarray(np.clip(np.rint(symbols), INT32.min, INT32.max), np.int32)


def unrounded_symbols(latent: Latent, plane_index: int, level: int, tables: Tables) -> NDArray[np.float64]:
    """A latent in units of the quantization step, from the mean of each channel.

    Args:
        latent: (C, h, w) float32.
        plane_index: As in `quantize`.
        level: As in `quantize`.
        tables: As in `quantize`.

    Returns:
        (C, h, w) float64.

    Raises:
        ValueError: The latent holds NaN.
    """
    if np.isnan(latent).any():
        raise ValueError("a latent must not hold NaN")
    return np.asarray(
        (latent - tables.means[plane_index][:, None, None]) * channel_gains(plane_index, level, tables), np.float64
    )


def dequantize(symbols: Symbols, plane_index: int, level: int, tables: Tables) -> Latent:
    """The inverse of `quantize`, to within half a quantization step.

    Args:
        symbols: (C, h, w) int32.
        plane_index: As in `quantize`.
        level: As in `quantize`.
        tables: As in `quantize`.

    Returns:
        (C, h, w) float32.
    """
    latent = symbols / channel_gains(plane_index, level, tables) + tables.means[plane_index][:, None, None]
    return np.asarray(latent, np.float32)


def channel_gains(plane_index: int, level: int, tables: Tables) -> NDArray[np.float64]:
    """The gain of each channel at a level, in symbols per unit of the latent.

    Args:
        plane_index: As in `quantize`.
        level: As in `quantize`.
        tables: As in `quantize`; their gains are interpolated between knots in the log domain.

    Returns:
        (C, 1, 1) float64.
    """
    logs = np.log(tables.gains[:, plane_index].astype(np.float64))
    knot, rest = tables.between(level)
    share = rest / MAX_LEVEL
    return np.asarray(np.exp(logs[knot] * (1 - share) + logs[knot + 1] * share))[:, None, None]
