"""Metrics of two 8-bit pictures, and the rate of a file.

SSIM is implemented here because torchmetrics pads the picture, counts the padded border, and takes 8.6 GB for 24
megapixels. The mean over tiles is exact and needs little memory.
"""

import io
import math
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

from residae.arrays import Floats, Pixels
from residae.progress import raise_if_cancelled

PEAK = 255
WINDOW = 11  # taps of the Gaussian (Wang et al. 2004)
SIGMA = 1.5
C1 = (0.01 * PEAK) ** 2
C2 = (0.03 * PEAK) ** 2
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest scale first (Wang et al. 2003)
TILE = 128  # window positions per tile side: small enough for the cache, large beside the overlap of WINDOW - 1


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio over all samples.

    Args:
        a: (H, W) or (H, W, 3) uint8.
        b: Of the same shape.

    Returns:
        Decibels; infinity for equal pictures.

    Raises:
        ValueError: Shapes differ, or samples are not uint8.
    """
    _check(a, b)
    distance = np.maximum(a, b) - np.minimum(a, b)  # |a - b| without leaving uint8
    mse = float(np.square(distance, dtype=np.uint16).mean())  # 255^2 = 65,025 fits
    return 10 * math.log10(PEAK**2 / mse) if mse else math.inf


def ssim(a: Pixels, b: Pixels) -> float:
    """Structural similarity (Wang, Bovik, Sheikh and Simoncelli 2004).

    Args:
        a: (H, W) or (H, W, 3) uint8.
        b: Of the same shape.

    Returns:
        The mean over every position where the whole 11 x 11 window fits, and over channels: 1 for equal pictures, NaN
        if a side is below 11 pixels.

    Raises:
        ValueError: As `psnr`.
    """
    _check(a, b)
    if min(a.shape[:2]) < WINDOW:
        return math.nan
    return float(np.mean([_similarity(x, y)[0] for x, y in zip(_planes(a), _planes(b), strict=True)]))


def ms_ssim(a: Pixels, b: Pixels) -> float:
    """Multi-scale structural similarity over five scales (Wang, Simoncelli and Bovik 2003).

    Args:
        a: (H, W) or (H, W, 3) uint8.
        b: Of the same shape.

    Returns:
        The mean over channels: 1 for equal pictures, NaN if a side is below 161 pixels, where the window does not fit
        the fifth scale. A negative contrast term counts as 0, because its fractional power is not real.

    Raises:
        ValueError: As `psnr`.
    """
    _check(a, b)
    if min(a.shape[:2]) <= (WINDOW - 1) * 2 ** (len(SCALE_WEIGHTS) - 1):
        return math.nan
    return float(np.mean([_multiscale(x, y) for x, y in zip(_planes(a), _planes(b), strict=True)]))


def ssimulacra2(a: Pixels, b: Pixels) -> float:
    """SSIMULACRA 2 of the original `a` and `b`, by the package of that name, which must be installed.

    Args:
        a: (H, W) or (H, W, 3) uint8 in sRGB.
        b: Of the same shape.

    Returns:
        At most 100, for equal pictures; 90 is visually lossless, 50 medium and 10 very low quality; NaN if a side is
        below 8 pixels.

    Raises:
        ImportError: The package is not installed.
        ValueError: As `psnr`.
    """
    from ssimulacra2 import compute_ssimulacra2

    _check(a, b)
    if min(a.shape[:2]) < 8:
        return math.nan
    return float(compute_ssimulacra2(_as_pnm(a), _as_pnm(b)))


def bits_per_pixel(file_bytes: int, width: int, height: int) -> float:
    """The rate of a whole file, header included.

    Args:
        file_bytes: Size of the file.
        width: Of the picture at its own size, in pixels.
        height: Of the picture at its own size, in pixels.
    """
    return 8 * file_bytes / (width * height)


def byte_budget(rate: float, width: int, height: int) -> int:
    """The most bytes that a file of at most `rate` bits per pixel has.

    Args:
        rate: Bits per pixel, above 0.
        width: Of the picture at its own size, in pixels.
        height: Of the picture at its own size, in pixels.

    Returns:
        Bytes, rounded down. The rate is the decimal number that Python prints for it: of 0.29 bits, 800 pixels take 29
        bytes, and not the 28 of the binary fraction just below 0.29.

    Raises:
        ValueError: The rate is not above 0, or not finite.
    """
    if not 0 < rate < math.inf:
        raise ValueError(f"a rate is a finite number of bits per pixel above 0, not {rate}")
    return math.floor(Fraction(str(rate)) * width * height / 8)


def _as_pnm(picture: Pixels) -> io.BytesIO:
    """The picture as an uncompressed PGM or PPM file."""
    height, width = picture.shape[:2]
    kind = "P5" if picture.ndim == 2 else "P6"
    return io.BytesIO(f"{kind} {width} {height} 255\n".encode() + picture.tobytes())


def _check(a: Pixels, b: Pixels) -> None:
    if a.shape != b.shape:
        raise ValueError(f"pictures differ in shape: {a.shape} and {b.shape}")
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"pictures must be uint8, not {a.dtype} and {b.dtype}")


def _planes(picture: Pixels) -> Pixels:
    return np.moveaxis(np.atleast_3d(picture), -1, 0)  # (C, H, W)


def _multiscale(x: Floats | Pixels, y: Floats | Pixels) -> float:
    product = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        if scale:
            x, y = _halve(x), _halve(y)
        similarity, contrast = _similarity(x, y)
        last = scale == len(SCALE_WEIGHTS) - 1  # luminance counts at the coarsest scale only
        product *= max(similarity if last else contrast, 0.0) ** weight
    return product


def _halve(x: Floats | Pixels) -> Floats:
    """Average each 2 x 2 square; the last row or column is repeated if a side is odd, as in Wang's own code."""
    height, width = x.shape
    even = np.pad(x, ((0, height % 2), (0, width % 2)), mode="edge")
    rows: Floats = np.add(even[::2], even[1::2], dtype=np.float32)
    return (rows[:, ::2] + rows[:, 1::2]) / 4


def _similarity(x: Floats | Pixels, y: Floats | Pixels) -> tuple[float, float]:
    """The means of SSIM and of its contrast-structure term over all window positions in two (H, W) planes."""
    height, width = (side - WINDOW + 1 for side in x.shape)
    similarity = contrast = 0.0
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            raise_if_cancelled()
            tile = np.s_[top : top + TILE + WINDOW - 1, left : left + TILE + WINDOW - 1]
            p, q = x[tile].astype(np.float64), y[tile].astype(np.float64)
            rows, columns = (_gaussian()[: side - WINDOW + 1, :side] for side in p.shape)
            mean_p, mean_q, pp, qq, pq = rows @ np.stack((p, q, p * p, q * q, p * q)) @ columns.T
            covariance = pq - mean_p * mean_q
            variances = pp - mean_p**2 + qq - mean_q**2
            structure = (2 * covariance + C2) / (variances + C2)
            luminance = (2 * mean_p * mean_q + C1) / (mean_p**2 + mean_q**2 + C1)
            contrast += structure.sum()
            similarity += (luminance * structure).sum()
    return float(similarity / (height * width)), float(contrast / (height * width))


@cache
def _gaussian() -> NDArray[np.float64]:
    """The filter as a matrix (TILE, TILE + WINDOW - 1), whose row i weights samples i .. i + WINDOW - 1."""
    taps = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
    matrix = np.zeros((TILE, TILE + WINDOW - 1))
    for i in range(TILE):
        matrix[i, i : i + WINDOW] = taps / taps.sum()
    return matrix
