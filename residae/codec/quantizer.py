"""Latents to whole-number symbols and back, by a mean and a gain for each channel."""

import numpy as np
from numpy.typing import NDArray

from residae.codec.tables import MAX_LEVEL, Symbols, Tables

Latent = NDArray[np.float32]  # (C, h, w)
INT32 = np.iinfo(np.int32)


def quantize(latent: Latent, plane_index: int, level: int, tables: Tables) -> Symbols:
    """Latent (C, h, w) of PLANES[plane_index] -> symbols, at a quality of `level` hundredths. ValueError for NaN."""
    scaled = (latent - tables.means[plane_index][:, None, None]) * channel_gains(plane_index, level, tables)
    if np.isnan(scaled).any():
        raise ValueError("a latent must not hold NaN")
    return np.asarray(np.clip(np.rint(scaled), INT32.min, INT32.max), np.int32)


def dequantize(symbols: Symbols, plane_index: int, level: int, tables: Tables) -> Latent:
    """The inverse of `quantize`, to half a step."""
    latent = symbols / channel_gains(plane_index, level, tables) + tables.means[plane_index][:, None, None]
    return np.asarray(latent, np.float32)


def channel_gains(plane_index: int, level: int, tables: Tables) -> NDArray[np.float64]:
    """(C, 1, 1) symbols per unit of the latent."""
    logs = np.log(tables.gains[:, plane_index].astype(np.float64))
    knot, rest = tables.between(level)
    share = rest / MAX_LEVEL
    return np.asarray(np.exp(logs[knot] * (1 - share) + logs[knot + 1] * share))[:, None, None]
