"""The rate-distortion loss: what a latent costs in the codec's own terms, made differentiable."""

import math
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from residae.codec.tables import ONE, PLANES, Tables, laplace_counts
from residae.model import PreActResidualDecoder, PreActResidualEncoder, ResidualAutoencoder
from residae.train.tables import KNOTS, PLANE_WEIGHTS

LOWER = 2
# Worth of squared error in bits, at each knot: bits per pixel + LAMBDA * 255^2 * MSE is what the knot minimizes.
LAMBDA = [0.0005 * 2.6**knot for knot in range(KNOTS)]  # 0.0005 .. 0.059
LEAST_SPREAD = 0.05  # symbols
MAX_BITS = 56.0  # of an escaped symbol: 24 and 32
LEAST_ERROR = 32.0  # gray levels^2, 33 dB: below, a crop counts no more than others


class RateModel(nn.Module):
    """`residae.codec.Tables` as parameters: gains, and the linear predictions of symbols and of their distances.

    A symbol is taken to be Laplace distributed about its prediction. Gains grow with quality by construction.
    """

    begun: Tensor  # whether it stands for latents yet
    known: Tensor  # (C, 2, 1 + 2C) features of a pass that are table_indices by then
    cross: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        kinds, features = len(PLANES), 1 + 2 * channels
        self.means = nn.Parameter(torch.zeros(kinds, channels))
        self.first = nn.Parameter(torch.zeros(kinds, channels))  # logarithm of the gains at quality 0
        self.growth = nn.Parameter(torch.zeros(KNOTS - 1, kinds, channels))  # softplus of it is added at each knot
        self.mean_weights = nn.Parameter(torch.zeros(KNOTS, kinds, channels, 2, features))
        self.spread_weights = nn.Parameter(torch.zeros(KNOTS, kinds, channels, 2, features))
        self.spread_weights.data[..., 0] = 1.0

        self.register_buffer("begun", torch.tensor(False))
        known = torch.arange(features) < 1 + 2 * torch.arange(channels)[:, None, None] + torch.arange(2)[:, None]
        self.register_buffer("known", known, persistent=False)
        cross = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]).expand(channels, 1, 3, 3)
        self.register_buffer("cross", cross.contiguous(), persistent=False)

    @torch.no_grad()
    def take(self, tables: Tables) -> None:
        """Go on from the upper KNOTS of `tables`."""
        self.begun.fill_(True)
        logs = torch.from_numpy(tables.gains[-KNOTS:].astype(np.float64)).log()
        self.means.copy_(torch.from_numpy(tables.means))
        self.first.copy_(logs[0])
        self.growth.copy_(logs.diff(dim=0).expm1().log())  # the inverse of softplus
        self.mean_weights.copy_(torch.from_numpy(tables.mean_weights[-KNOTS:]) / ONE)
        self.spread_weights.copy_(torch.from_numpy(tables.spread_weights[-KNOTS:]) / ONE)

    @torch.no_grad()
    def tables(self) -> Tables:
        """For the codec, with the frequencies of Laplace distributions. Below the trained qualities are LOWER knots
        whose gains fall on as from the second to the first: not every picture can be small at the lowest of them."""
        rows = [0] * LOWER + list(range(KNOTS))
        mean, spread = (
            (weights[rows] * self.known * ONE).round().to("cpu", torch.int32).numpy()
            for weights in (self.mean_weights, self.spread_weights.clamp(min=0))
        )
        logs = self.log_gains()
        below = torch.arange(-LOWER, 0, device=logs.device)[:, None, None] * (logs[1] - logs[0]) + logs[0]
        gains = torch.cat((below, logs)).exp().cpu().numpy()
        return Tables(self.means.cpu().numpy(), gains, mean, spread, laplace_counts())

    def log_gains(self) -> Tensor:
        """(KNOTS, 3, C) logarithms of symbols per unit of the latent."""
        return self.first + F.pad(F.softplus(self.growth), (0, 0, 0, 0, 1, 0)).cumsum(0)

    def forward(self, z: Tensor, kind: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Latent (B, C, h, w), its plane's kind (B,) and place (B,) on the knots, 0 .. KNOTS - 1 -> the latent as the
        decoder gets it, rounded, and the bits (B,) that it costs. Gradients pass rounding as if it were not there; the
        rate is that of symbols with uniform noise in its place."""
        knot = position.long().clamp(max=KNOTS - 2)
        share = (position - knot)[:, None]

        def at(table: Tensor, share: Tensor) -> Tensor:
            return torch.lerp(table[knot, kind], table[knot + 1, kind], share)

        mean = self.means[kind][:, :, None, None]
        gain = at(self.log_gains(), share).exp()[:, :, None, None]
        symbols = (z - mean) * gain
        rounded = symbols + (symbols.round() - symbols).detach()
        noisy = symbols + torch.rand_like(symbols) - 0.5

        share = share[..., None, None]
        predicted = self._predict(noisy, at(self.mean_weights, share))
        spread = self._predict(noisy.abs(), at(self.spread_weights, share))
        spread = LEAST_SPREAD + F.softplus(spread - LEAST_SPREAD, beta=32)
        return rounded / gain + mean, laplace_bits(noisy - predicted, spread).sum((1, 2, 3))

    def _predict(self, symbols: Tensor, weights: Tensor) -> Tensor:
        """(B, C, h, w) from weights (B, C, 2, 1 + 2C): those of the first pass where row + column is even."""
        batch, channels, height, width = symbols.shape
        ring = F.conv2d(symbols, self.cross, padding=1, groups=channels)
        features = torch.stack((ring, symbols), 2).flatten(1, 2)
        features = F.pad(features, (0, 0, 0, 0, 1, 0), value=1.0).flatten(2)  # (B, 1 + 2C, h * w)
        both = torch.einsum("bcpf,bfn->bcpn", weights * self.known, features)
        parity = torch.arange(height, device=symbols.device)[:, None] + torch.arange(width, device=symbols.device)
        first = (parity % 2 == 0).flatten()
        return torch.where(first, both[:, :, 0], both[:, :, 1]).view(batch, channels, height, width)


def laplace_bits(distance: Tensor, spread: Tensor) -> Tensor:
    """Bits of symbols at a distance from their prediction, of a Laplace distribution of mean distance `spread`: minus
    the logarithm of its mass over a unit interval about them; at most MAX_BITS."""
    a = distance.abs()
    inside = a.clamp(max=0.5)
    peak = 1 - 0.5 * (torch.exp((inside - 0.5) / spread) + torch.exp(-(inside + 0.5) / spread))
    tail = (a.clamp(min=0.5) - 0.5) / spread - torch.log(-0.5 * torch.expm1(-1 / spread))
    return (torch.where(a < 0.5, -peak.log(), tail) / math.log(2)).clamp(max=MAX_BITS)


def encode(encoder: PreActResidualEncoder, x: Tensor) -> Tensor:
    """What `encoder` computes. The blocks of its widest stage are computed again when gradients are asked for: that
    costs a tenth of its time, and what they would keep until then is a third of all."""
    z = encoder.stem(x)
    for number, stage in enumerate(encoder.stages, start=1):
        for block in cast(nn.Sequential, stage):
            z = checkpoint(block, z, use_reentrant=False) if number == 1 else block(z)
    return cast(Tensor, z)


def decode(decoder: PreActResidualDecoder, z: Tensor) -> Tensor:
    """What `decoder` computes, its widest stage as in `encode`, and each 1x1 convolution before the upsampling: they
    commute, and it has a quarter of the pixels there."""
    for number, stage in enumerate(decoder.stages, start=1):
        upsampling, convolution, norm, *blocks = cast(nn.Sequential, stage)
        z = norm(upsampling(convolution(z)))
        for block in blocks:
            z = checkpoint(block, z, use_reentrant=False) if number == len(decoder.stages) else block(z)
    return cast(Tensor, decoder.out(z).sigmoid())


class RateDistortion(nn.Module):
    """Network and rate model as one module, from crops to what is minimized."""

    weights: Tensor  # (3,) of the planes' errors
    log_lambda: Tensor  # (KNOTS,)

    def __init__(self, network: ResidualAutoencoder) -> None:
        super().__init__()
        self.network = network
        self.rate = RateModel(network.latent_channels)
        self.register_buffer("weights", torch.tensor(PLANE_WEIGHTS), persistent=False)
        self.register_buffer("log_lambda", torch.tensor(LAMBDA).log(), persistent=False)

    def forward(self, x: Tensor, kind: Tensor, position: Tensor, exact: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Crops (B, 1, H, W) in [0, 1], kind (B,) of their planes, place (B,) on the knots of quality, and whether
        (B,) the latent is to stay unquantized -> three times (B,): squared error in gray levels^2, the rate in bits
        per pixel, and the rate in units of error, rate / lambda, which is 0 where the latent is unquantized."""
        z = encode(self.network.encoder, x)
        with torch.autocast(x.device.type, enabled=False):
            z = z.float()
            rounded, bits = self.rate(z, kind, position)
            z = torch.where(exact[:, None, None, None], z, rounded)
            rate = bits / x[0].numel()
        x_hat = decode(self.network.decoder, z)
        error = 255**2 * (x_hat.float() - x).square().mean((1, 2, 3)) * self.weights[kind]
        knot = position.long().clamp(max=KNOTS - 2)
        log_lambda = torch.lerp(self.log_lambda[knot], self.log_lambda[knot + 1], position - knot)
        return error, rate, torch.where(exact, 0.0, rate / log_lambda.exp())


def relative(error: Tensor, cost: Tensor) -> Tensor:
    """The loss: error + cost of each crop (B,), relative to its error. The balance between the two is left as it is,
    but easy crops count like hard ones, since quality is judged in decibels, the mean over pictures."""
    return ((error + cost) / (error.detach() + LEAST_ERROR)).mean()
