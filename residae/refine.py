"""Refinement: the encoder optimizes the symbols of one picture through the decoder.

The encoder's latent, rounded, is not the best that its bytes can hold. Refinement lowers

    J = 255^2 * MSE + bits per encoded pixel / lambda

where lambda is the quality's own (`residae.rate_model`) and the encoded pixels are those of the scaled picture, for
which lambda is meant. It does so by stochastic Gumbel annealing (Yang, Bamler and Mandt 2020, arXiv:2006.04240): Adam
moves continuous symbols, and each step rounds them at random to one of the two nearest whole numbers, more and more
surely to the nearer one. The result is an ordinary file, which takes no longer to decode.

Within a number of bytes, what counts is the error alone: lambda is raised where the file gets smaller than the one
without refinement, so that the bytes that are saved go into less error.
"""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from residae.arrays import Plane
from residae.codec import Codec, Compressed, Latent, Symbols
from residae.codec.codec import best_within
from residae.codec.quantizer import channel_gains, round_symbols, unrounded_symbols
from residae.codec.tables import ONE, Tables
from residae.engine import GradientDecoder, error_gradient
from residae.errors import SizeError
from residae.geometry import plane_shapes
from residae.image import Pixels
from residae.progress import Progress, between
from residae.quality import quality_level
from residae.rate_model import PLANE_WEIGHTS, estimate_bits, lagrange_multiplier

LEARNING_RATE = 0.18  # symbols; it falls along half a cosine
START_TEMPERATURE, ANNEALING = 0.5, 3.0  # the temperature falls by exp(-3)
# Of the paper's noise; fewer steps average out less of it. More would move the many symbols near 0 of smooth pictures,
# which so many steps do not bring back.
NOISE, NOISE_STEPS = 0.25, 20
MEASURE_INTERVAL = 5  # steps; J is measured by a decode, which takes about half a step
FEW_STEPS, FEW_INTERVAL = 20, 2  # up to so many it is measured more often, or there would be few files to choose from
# Within a number of bytes, lambda is raised by this power of the factor by which the file is too small, each time it is
# measured. Never below the quality's own: the first steps may make a file larger, the others make it smaller again.
LAMBDA_RESPONSE, MAX_LAMBDA_FACTOR = 4.0, 4.0


@dataclass(frozen=True)
class RefinementStep:
    """Where a refinement stands.

    Attributes:
        step: Steps done; 0 is the file without refinement.
        measured: Whether J was measured after this step; if not, the best file is that of the step before.
        bytes: Size of the best file so far.
        psnr: Its PSNR in dB.
        best: That file.
        pixels: What it decodes to, at the picture's own size; uint8.
    """

    step: int
    measured: bool
    bytes: int
    psnr: float
    best: Compressed = field(repr=False, compare=False)
    pixels: Pixels = field(repr=False, compare=False)


def refine(
    codec: Codec,
    decoder: GradientDecoder,
    planes: Sequence[Plane],
    latents: Sequence[Latent],
    scale: float,
    quality: float,
    steps: int,
    measure: Callable[[Compressed], tuple[Pixels, float]],
    *,
    max_bytes: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Generator[RefinementStep, None, None]:
    """Optimize the symbols of a picture. `Pipeline.refinement` is the same with less to give.

    Args:
        codec: Of the checkpoint.
        decoder: Of the checkpoint.
        planes: (H, W) of Y, or of Y, Cb and Cr, at the picture's own size.
        latents: (C, h, w) of each, unquantized.
        scale: At which they were encoded.
        quality: 0 to 100; lowered as far as `max_bytes` asks.
        steps: Each takes as long as two to three decodes.
        measure: Decodes a file, and returns its pixels and their PSNR in dB.
        max_bytes: Size that the file must not exceed; None to let J alone decide.
        seed: Of the random rounding. The same arguments give the same file.
        progress: Called with the share done, in (0, 1]; it may raise to stop the work.

    Yields:
        The step before the first, and each step that is done. The best file is the one with the smallest J of those
        measured; the one without refinement is the first of them. With `max_bytes`, it is the one with the smallest
        error among those within them and with no larger J than that without refinement.

    Raises:
        SizeError: No file is within `max_bytes`.
        ValueError: The quality or the number of steps is out of range.
    """
    if steps < 0:
        raise ValueError(f"there are 0 steps of refinement or more, not {steps}")
    height, width = planes[0].shape
    plain = codec.compress(latents, height, width, quality, scale)
    if max_bytes is not None and len(plain.data) > max_bytes:
        plain = codec.compress_within(latents, height, width, max_bytes, scale)
    quality = plain.quality
    level = quality_level(quality)
    shapes = plane_shapes(height, width, len(planes), scale)
    encoded = math.prod(shapes[0])
    multiplier = lagrange_multiplier(quality, len(codec.tables.gains))
    weight = multiplier * encoded / (height * width)  # of the picture's own pixels, each of which counts as several
    problems = [
        _Problem(decoder, codec.tables, index, level, plane, latent, shape, weight)
        for index, (plane, latent, shape) in enumerate(zip(planes, latents, shapes, strict=True))
    ]

    def candidate(compressed: Compressed) -> _Candidate:
        pixels, psnr = measure(compressed)
        bits = float(codec.channel_bits(compressed.symbols, compressed.quality).sum())
        return _Candidate(compressed, pixels, psnr, 255**2 * 10 ** (-psnr / 10) + bits / (encoded * multiplier))

    def compress(level: int) -> Compressed:
        """Round the symbols as they are now, in the quantization steps of a level."""
        symbols = [problem.rounded(level) for problem in problems]
        return codec.write(symbols, height, width, level / 100, scale)

    def within_limit(compressed: Compressed) -> Compressed | None:
        """The file of the symbols as they are now, of a lower level if need be; None if all are larger than allowed."""
        if max_bytes is None or len(compressed.data) <= max_bytes:
            return compressed
        try:
            return best_within(compress, level, max_bytes)
        except SizeError:
            return None

    best = start = candidate(plain)
    lambda_factor = 1.0
    yield best.after(0, measured=True)
    optimizer = torch.optim.Adam([problem.symbols for problem in problems], LEARNING_RATE)
    generator = torch.Generator().manual_seed(seed)
    noise = NOISE * min(1, steps / NOISE_STEPS)
    interval = FEW_INTERVAL if steps <= FEW_STEPS else MEASURE_INTERVAL
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * step / steps)) / 2
        temperature = START_TEMPERATURE * math.exp(-ANNEALING * step / steps)
        optimizer.zero_grad()
        for number, problem in enumerate(problems):
            begin, end = (step + (number + i) / len(problems) for i in (0, 1))
            share = between(progress, begin / steps, end / steps)
            problem.backward(temperature, noise, lambda_factor, generator, share)
        optimizer.step()
        done = step + 1
        is_measured = done % interval == 0 or done == steps
        if is_measured:
            compressed = compress(level)
            if max_bytes is not None:
                too_small = len(plain.data) / len(compressed.data)
                lambda_factor = min(max(1.0, lambda_factor * too_small**LAMBDA_RESPONSE), MAX_LAMBDA_FACTOR)
            if (fitting := within_limit(compressed)) and (found := candidate(fitting)).cost <= start.cost:
                best = min(best, found, key=lambda one: one.cost if max_bytes is None else -one.psnr)
        yield best.after(done, is_measured)


@dataclass(frozen=True)
class _Candidate:
    compressed: Compressed
    pixels: Pixels
    psnr: float
    cost: float  # J

    def after(self, steps: int, measured: bool) -> RefinementStep:
        """As the best file after so many steps, the last of which was measured or not."""
        return RefinementStep(steps, measured, len(self.compressed.data), self.psnr, self.compressed, self.pixels)


class _Problem:
    """The symbols of one plane, and the gradient of its part of J."""

    def __init__(
        self,
        decoder: GradientDecoder,
        tables: Tables,
        plane_index: int,
        level: int,
        plane: Plane,
        latent: Latent,
        shape: tuple[int, int],
        weight: float,
    ) -> None:
        def on_device(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(array.astype(np.float32)).to(decoder.device)

        self._decoder, self._plane, self._shape = decoder, plane, shape
        self._tables, self._plane_index, self._level = tables, plane_index, level
        self._gain = on_device(channel_gains(plane_index, level, tables))
        self._mean = on_device(tables.means[plane_index][:, None, None])
        self._weights = [on_device(weights / ONE)[None] for weights in tables.weights(plane_index, level)]
        self._error_weight = 255**2 * PLANE_WEIGHTS[plane_index] * weight
        self.symbols = on_device(unrounded_symbols(latent, plane_index, level, tables)).requires_grad_(True)

    def rounded(self, level: int) -> Symbols:
        """The nearest whole numbers, in the quantization steps of a level."""
        wanted, own = (channel_gains(self._plane_index, one, self._tables) for one in (level, self._level))
        return round_symbols(self.symbols.detach().cpu().numpy() * (wanted / own))

    def backward(
        self,
        temperature: float,
        noise: float,
        lambda_factor: float,
        generator: torch.Generator,
        progress: Progress | None,
    ) -> None:
        """Add the gradient at symbols rounded at random to that of `symbols`; the error counts by `lambda_factor`."""
        rounded = round_stochastically(self.symbols, temperature, noise, generator)
        latent = (rounded / self._gain + self._mean).detach()
        gradient = error_gradient(self._decoder, latent, self._shape, self._plane, progress) / self._gain
        bits = estimate_bits(rounded[None], *self._weights)
        weight = lambda_factor * self._error_weight
        torch.autograd.backward([rounded, bits], [weight * gradient, torch.ones_like(bits)])


def round_stochastically(symbols: Tensor, temperature: float, noise: float, generator: torch.Generator) -> Tensor:
    """A relaxed sample of each symbol rounded up or down, differentiable: stochastic Gumbel annealing.

    The logits are those of the paper. Of two classes, the softmax with Gumbel noise is the sigmoid of the logits'
    difference with logistic noise.

    Args:
        symbols: Any shape.
        temperature: Above 0. The lower it is, the surer a symbol is rounded to the nearer number, and wholly.
        noise: 1 for the distribution of the paper, 0 for none.
        generator: On the CPU, so that the noise is that of the seed on every device.

    Returns:
        Of the same shape: values between each symbol's two neighboring whole numbers.
    """
    lower = symbols.detach().floor()
    above = (symbols - lower).clamp(1e-4, 1 - 1e-4)
    logistic = torch.logit(torch.rand(symbols.shape, generator=generator), eps=1e-6).to(symbols.device)
    return lower + torch.sigmoid((torch.atanh(above) - torch.atanh(1 - above)) / temperature + noise * logistic)
