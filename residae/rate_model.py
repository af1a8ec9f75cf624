"""The codec's rate as a differentiable function of the symbols, and what a bit is worth at each quality.

The predictions are those of `residae.codec.context`, in floating point and of all cells at once. The symbols may be any
numbers; each is taken to be Laplace distributed about its prediction.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from residae.quality import MAX_QUALITY

KNOTS = 6  # of quality, evenly spaced up to MAX_QUALITY, that training optimizes
# Weight of the squared error at each knot, which minimizes bits per pixel + LAMBDA * 255^2 * MSE.
LAMBDA = [0.0005 * 2.6**knot for knot in range(KNOTS)]  # 0.0005 .. 0.059
# Squared error of RGB for a unit error in one pixel of Y, Cb or Cr (BT.601), relative to Y. A pixel of chroma covers
# four of the picture. Cb: 4 (0.344^2 + 1.772^2) / 3, Cr: 4 (1.402^2 + 0.714^2) / 3
PLANE_WEIGHTS = (1.0, 4.34, 3.30)
MIN_SPREAD = 0.05  # symbols
MAX_BITS = 56.0  # of an escaped symbol: 24 and 32


def lagrange_multiplier(quality: float, knots: int) -> float:
    """The weight of the squared error at a quality, interpolated between knots in the log domain.

    Args:
        quality: 0 to 100.
        knots: Number of the codec's knots, of which the last KNOTS are those of LAMBDA. Below them the first counts.

    Returns:
        Bits per pixel for a squared error of one gray level^2 per pixel.
    """
    position = min(max(quality / MAX_QUALITY * (knots - 1) - (knots - KNOTS), 0), KNOTS - 1)
    knot = min(int(position), KNOTS - 2)
    ratio: float = LAMBDA[knot + 1] / LAMBDA[knot]
    return LAMBDA[knot] * math.pow(ratio, position - knot)


def known_features(channels: int, device: torch.device | None = None) -> Tensor:
    """(C, 2, 1 + 2C) bool: which features are known when a pass of a channel is coded.

    Args:
        channels: C, of the latent.
        device: Of the result; the default device if it is None.
    """
    passes = 2 * torch.arange(channels, device=device)[:, None, None] + torch.arange(2, device=device)[:, None]
    return torch.arange(1 + 2 * channels, device=device) < 1 + passes


def predict(symbols: Tensor, weights: Tensor) -> Tensor:
    """The linear predictions of the context model.

    Args:
        symbols: (B, C, h, w), or their absolute values.
        weights: (B, C, 2, 1 + 2C) of the two passes, the first of which takes the cells where row + column is even;
            those of features that a pass does not know do not count.

    Returns:
        (B, C, h, w).
    """
    batch, channels, height, width = symbols.shape
    # 0 1 0 / 1 0 1 / 0 1 0. A tensor made of a list would be copied to a GPU, and every copy waits for all its work.
    cross = (torch.arange(9, device=symbols.device) % 2).to(symbols).view(3, 3).expand(channels, 1, 3, 3)
    ring = F.conv2d(symbols, cross, padding=1, groups=channels)
    features = torch.stack((ring, symbols), 2).flatten(1, 2)
    features = F.pad(features, (0, 0, 0, 0, 1, 0), value=1.0).flatten(2)  # (B, 1 + 2C, h * w)
    both = torch.einsum("bcpf,bfn->bcpn", weights * known_features(channels, weights.device), features)
    parity = torch.arange(height, device=symbols.device)[:, None] + torch.arange(width, device=symbols.device)
    first = (parity % 2 == 0).flatten()
    return torch.where(first, both[:, :, 0], both[:, :, 1]).view(batch, channels, height, width)


def estimate_bits(symbols: Tensor, mean_weights: Tensor, spread_weights: Tensor) -> Tensor:
    """Estimate the bits that coding takes.

    Args:
        symbols: (B, C, h, w).
        mean_weights: (B, C, 2, 1 + 2C) that predict a symbol from the features of its pass.
        spread_weights: (B, C, 2, 1 + 2C) that predict its distance from that.

    Returns:
        (B,) bits of each latent, differentiable.
    """
    spread = predict(symbols.abs(), spread_weights)
    spread = MIN_SPREAD + F.softplus(spread - MIN_SPREAD, beta=32)
    return laplace_bits(symbols - predict(symbols, mean_weights), spread).sum((1, 2, 3))


def laplace_bits(distance: Tensor, spread: Tensor) -> Tensor:
    """Bits of symbols under Laplace distributions, each integrated over a unit interval about the symbol.

    Args:
        distance: Of each symbol from its prediction.
        spread: Mean absolute distance of its distribution, above 0.

    Returns:
        Bits of each symbol, at most MAX_BITS.
    """
    a = distance.abs()
    inside = a.clamp(max=0.5)
    peak = 1 - 0.5 * (torch.exp((inside - 0.5) / spread) + torch.exp(-(inside + 0.5) / spread))
    tail = (a.clamp(min=0.5) - 0.5) / spread - torch.log(-0.5 * torch.expm1(-1 / spread))
    return (torch.where(a < 0.5, -peak.log(), tail) / math.log(2)).clamp(max=MAX_BITS)
