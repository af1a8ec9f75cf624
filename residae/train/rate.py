"""The rate-distortion loss: what a latent costs in the codec's own terms, made differentiable."""

from contextlib import nullcontext
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from residae.codec import PLANES, Tables
from residae.codec.tables import ONE, laplace_counts
from residae.model import PreActResidualBlock, PreActResidualDecoder, PreActResidualEncoder, ResidualAutoencoder
from residae.rate_model import KNOTS, LAMBDA, PLANE_WEIGHTS, estimate_bits, known_features
from residae.train.batchnorm import frozen_statistics

EXTRA_KNOTS = 2  # of quality in the codec's tables, below the trained ones
MIN_ERROR = 10.0  # gray levels^2, 38 dB: added to each crop's error, so that the easiest get no unbounded weight


class RateModel(nn.Module):
    """`residae.codec.Tables` as parameters: gains, and linear predictions of symbols and of their distances.

    A symbol is taken to be Laplace distributed about its prediction. Gains grow with quality by construction. Below, K
    is KNOTS and C the number of latent channels.

    Attributes:
        means: (3, C) latent values that become the symbol 0, for Y, Cb and Cr.
        first: (3, C) logarithms of the gains at the lowest quality.
        growth: (K - 1, 3, C) the softplus of it is added to the logarithm from knot to knot.
        mean_weights: (K, 3, C, 2, 1 + 2C) weights that predict a symbol from the features of its pass.
        spread_weights: (K, 3, C, 2, 1 + 2C) weights that predict its distance from that.
        initialized: () bool, whether the parameters stand for latents yet.

    Args:
        channels: C.
    """

    initialized: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        planes, features = len(PLANES), 1 + 2 * channels
        self.means = nn.Parameter(torch.zeros(planes, channels))
        self.first = nn.Parameter(torch.zeros(planes, channels))
        self.growth = nn.Parameter(torch.zeros(KNOTS - 1, planes, channels))
        self.mean_weights = nn.Parameter(torch.zeros(KNOTS, planes, channels, 2, features))
        self.spread_weights = nn.Parameter(torch.zeros(KNOTS, planes, channels, 2, features))
        self.spread_weights.data[..., 0] = 1.0

        self.register_buffer("initialized", torch.tensor(False))

    @torch.no_grad()
    def load_tables(self, tables: Tables) -> None:
        """Continue from the upper KNOTS of `tables`.

        Args:
            tables: Of as many channels, with at least KNOTS knots.
        """
        self.initialized.fill_(True)
        logs = torch.from_numpy(tables.gains[-KNOTS:].astype(np.float64)).log()
        self.means.copy_(torch.from_numpy(tables.means))
        self.first.copy_(logs[0])
        self.growth.copy_(logs.diff(dim=0).expm1().log())  # the inverse of softplus
        self.mean_weights.copy_(torch.from_numpy(tables.mean_weights[-KNOTS:]) / ONE)
        self.spread_weights.copy_(torch.from_numpy(tables.spread_weights[-KNOTS:]) / ONE)

    @torch.no_grad()
    def to_tables(self) -> Tables:
        """The tables for the codec, with the frequencies of Laplace distributions.

        Below the trained qualities are EXTRA_KNOTS whose gains fall on as from the second trained knot to the first,
        because some pictures are still large at the lowest of them.
        """
        rows = [0] * EXTRA_KNOTS + list(range(KNOTS))
        known = known_features(self.means.shape[1], self.means.device)
        mean, spread = (
            (weights[rows] * known * ONE).round().to("cpu", torch.int32).numpy()
            for weights in (self.mean_weights, self.spread_weights.clamp(min=0))
        )
        logs = self.log_gains()
        below = torch.arange(-EXTRA_KNOTS, 0, device=logs.device)[:, None, None] * (logs[1] - logs[0]) + logs[0]
        gains = torch.cat((below, logs)).exp().cpu().numpy()
        return Tables(self.means.cpu().numpy(), gains, mean, spread, laplace_counts())

    def log_gains(self) -> Tensor:
        """(K, 3, C) logarithms of symbols per unit of the latent."""
        return self.first + F.pad(F.softplus(self.growth), (0, 0, 0, 0, 1, 0)).cumsum(0)

    def forward(self, z: Tensor, plane: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Quantize latents and estimate their rate.

        Gradients pass through rounding unchanged (the straight-through estimator). The rate is that of symbols with
        additive uniform noise in place of rounding (Balle et al. 2017, arXiv:1611.01704).

        Args:
            z: (B, C, h, w) latents.
            plane: (B,) int64 indices of `residae.codec.PLANES`.
            position: (B,) qualities as positions between knots, in [0, K - 1].

        Returns:
            The latents as the decoder gets them, and the bits (B,) of each.
        """
        knot = position.long().clamp(max=KNOTS - 2)
        share = (position - knot)[:, None]

        def at(table: Tensor, share: Tensor) -> Tensor:
            return torch.lerp(table[knot, plane], table[knot + 1, plane], share)

        mean = self.means[plane][:, :, None, None]
        gain = at(self.log_gains(), share).exp()[:, :, None, None]
        symbols = (z - mean) * gain
        rounded = symbols + (symbols.round() - symbols).detach()
        noisy = symbols + torch.rand_like(symbols) - 0.5

        share = share[..., None, None]
        bits = estimate_bits(noisy, at(self.mean_weights, share), at(self.spread_weights, share))
        return rounded / gain + mean, bits


def run_encoder(encoder: PreActResidualEncoder, x: Tensor) -> Tensor:
    """What `encoder` computes, in less memory.

    The blocks of the widest stage are recomputed for their gradients: that adds a tenth to the time of a step, and
    their activations would be a third of its memory.

    Args:
        encoder: In train mode or eval mode.
        x: (B, 1, H, W) in [0, 1]; H and W are multiples of 16.

    Returns:
        (B, C, H/16, W/16), differentiable.
    """
    z = encoder.stem(x)
    for number, stage in enumerate(encoder.stages, start=1):
        for block in cast(nn.Sequential, stage):
            z = _recomputed(block, z) if number == 1 else block(z)
    return cast(Tensor, z)


def run_decoder(decoder: PreActResidualDecoder, z: Tensor) -> Tensor:
    """What `decoder` computes, in less memory and time.

    The widest stage is recomputed as in `run_encoder`. Each 1x1 convolution comes before the upsampling, where there
    are a quarter of the pixels: the two commute.

    Args:
        decoder: In train mode or eval mode.
        z: (B, C, h, w).

    Returns:
        (B, 1, 16h, 16w) in [0, 1], differentiable.
    """
    for number, stage in enumerate(decoder.stages, start=1):
        upsampling, convolution, norm, *blocks = cast(nn.Sequential, stage)
        z = convolution(z)
        z = norm(double(double(z, 2), 3) if torch.compiler.is_compiling() else upsampling(z))
        for block in blocks:
            z = _recomputed(block, z) if number == len(decoder.stages) else block(z)
    return cast(Tensor, decoder.out(z).sigmoid())


def double(x: Tensor, dim: int) -> Tensor:
    """Linear upsampling along one dimension, as `nn.Upsample` with align_corners=False.

    It is made of operations that a compiler fuses, forward and backward; the gradient of the interpolation itself would
    be a scattered sum. The engine, which needs no gradient, has a faster one on the CPU in `residae.engine.blocks`.

    Args:
        x: Any shape.
        dim: The dimension whose length is doubled.

    Returns:
        Each value becomes two, a quarter of the way to its neighbors.
    """
    length = x.shape[dim]
    first, last = x.narrow(dim, 0, 1), x.narrow(dim, length - 1, 1)
    before = torch.cat((first, x.narrow(dim, 0, length - 1)), dim)
    after = torch.cat((x.narrow(dim, 1, length - 1), last), dim)
    return torch.stack((0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after), dim + 1).flatten(dim, dim + 1)


def _recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """The output of a block whose activations are computed again for its gradients instead of being kept."""
    if x.is_cuda or torch.compiler.is_compiling():  # a GPU has the memory, and a compiler decides itself what is kept
        return cast(Tensor, block(x))
    contexts = nullcontext(), frozen_statistics(cast(PreActResidualBlock, block))
    return cast(Tensor, checkpoint(block, x, use_reentrant=False, context_fn=lambda: contexts))


class RateDistortion(nn.Module):
    """Network and rate model as one module, from crops to the terms of the loss.

    Args:
        network: Becomes part of the module; the rate model is new.
        compiled: Whether PyTorch generates kernels for the network's passes, which takes a minute at the first step.
    """

    weights: Tensor  # (3,) of the planes' errors
    log_lambda: Tensor  # (KNOTS,)

    def __init__(self, network: ResidualAutoencoder, compiled: bool = False) -> None:
        super().__init__()
        self.network = network
        compiling = partial(torch.compile, dynamic=False, disable=not compiled)
        self._encode, self._decode = compiling(run_encoder), compiling(run_decoder)
        self.rate = RateModel(network.latent_channels)
        self.register_buffer("weights", torch.tensor(PLANE_WEIGHTS), persistent=False)
        self.register_buffer("log_lambda", torch.tensor(LAMBDA).log(), persistent=False)

    def forward(self, x: Tensor, plane: Tensor, position: Tensor, exact: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode and decode crops.

        Args:
            x: (B, 1, H, W) in [0, 1].
            plane: (B,) int64 indices of `residae.codec.PLANES`.
            position: (B,) qualities as positions between knots, in [0, KNOTS - 1].
            exact: (B,) bool, whether the decoder gets the unquantized latent.

        Returns:
            Three tensors (B,): the squared error in gray levels^2, weighted by plane; the rate in bits per pixel; and
            the rate divided by lambda, in units of the error, which is 0 where the latent is unquantized.
        """
        z = self._encode(self.network.encoder, x)
        with torch.autocast(x.device.type, enabled=False):
            z = z.float()
            rounded, bits = self.rate(z, plane, position)
            z = torch.where(exact[:, None, None, None], z, rounded)
            rate = bits / x[0].numel()
        x_hat = self._decode(self.network.decoder, z)
        error = 255**2 * (x_hat.float() - x).square().mean((1, 2, 3)) * self.weights[plane]
        knot = position.long().clamp(max=KNOTS - 2)
        log_lambda = torch.lerp(self.log_lambda[knot], self.log_lambda[knot + 1], position - knot)
        return error, rate, torch.where(exact, 0.0, rate / log_lambda.exp())


def normalized_loss(error: Tensor, cost: Tensor) -> Tensor:
    """The mean of (error + cost) / (error + MIN_ERROR), the divisor being a constant.

    Each crop keeps its balance between rate and error, but easy crops count as much as hard ones, because quality is
    measured in decibels, averaged over pictures.

    Args:
        error: (B,) squared error of each crop, in gray levels^2.
        cost: (B,) rate of each crop, in the same units.

    Returns:
        The loss, a scalar.
    """
    return ((error + cost) / (error.detach() + MIN_ERROR)).mean()
