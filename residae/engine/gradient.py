"""The decoder with a gradient to its latent, and to nothing else.

Weights are frozen, so the backward pass of a convolution is the convolution with flipped kernels, and needs nothing of
the forward pass. Both passes are the engine's own layers. What a pass keeps is a byte for each value that a ReLU
makes: whether it is above zero. Every operation is deterministic, on a GPU as well.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import Function

from residae.arrays import Plane
from residae.engine.blocks import FloatBlock, Layer, OutputLayer, as_depthwise_conv, fold_batchnorm, upsample
from residae.engine.onednn import Convolution
from residae.engine.stages import MAX_STAGE_COLUMNS, MAX_STAGE_TENSOR_BYTES, DecoderLayers, build_decoder, plan_stages
from residae.engine.tiles import Region, Tile
from residae.malloc import release_free_memory
from residae.model import PreActResidualBlock, PreActResidualDecoder
from residae.progress import Progress
from residae.resample import taps

COARSE_STAGES = 2  # of the four; their tensors are a quarter of the others' or less, their halos the largest
MAX_GPU_TENSOR_BYTES = 2**27  # of one of the widest tensors; both passes take about seven


@dataclass(frozen=True)
class Features:
    """What the coarse stages make of a part of a latent.

    Attributes:
        values: (1, C', H', W'), with a gradient.
        origin: Row and column of the first of them.
        cells: Rows and columns of the whole latent.
    """

    values: Tensor
    origin: tuple[int, int]
    cells: tuple[int, int]

    def detach(self) -> "Features":
        """The same, as leaves whose gradient adds up over several calls of `GradientDecoder.decode`."""
        return replace(self, values=self.values.detach().requires_grad_(True))


class GradientDecoder:
    """The inference form of a decoder, through which gradients flow back to the latent.

    It works in two halves, so that a large picture needs little memory and is decoded with little overlap: the coarse
    stages make the features of a block, from which the others decode it in tiles.

    Args:
        decoder: In eval mode.
        device: Where it computes.
        dtype: float32 or bfloat16, the precision of the convolutions of both passes.

    Attributes:
        device: Where it computes.
        block: Pixels of the blocks in which to begin.
        tile: Height and width in pixels of the tiles in which to decode a block.
    """

    def __init__(self, decoder: PreActResidualDecoder, device: torch.device, dtype: torch.dtype) -> None:
        layers = DecoderLayers(_build_convolution, _linear(upsample, upsample_adjoint), GradientBlock, GradientOutput)
        with torch.no_grad():
            self._stages = build_decoder(decoder, device, dtype, layers)
        self.device = device
        on_gpu = device.type == "cuda"
        pixels = (MAX_GPU_TENSOR_BYTES if on_gpu else MAX_STAGE_TENSOR_BYTES) // (
            decoder.out.in_channels * dtype.itemsize
        )
        self.block = 4 * pixels  # of the coarse stages' pixels, each is worth 16, and has 4 times the channels
        columns = math.isqrt(pixels) if on_gpu else min(MAX_STAGE_COLUMNS, math.isqrt(pixels))
        halo = self._stages[-1].halo * self._stages[-1].target
        self.tile = max(1, pixels // columns - 2 * halo), max(1, columns - 2 * halo)

    def begin(self, latent: Tensor, wanted: Region) -> Features:
        """The features from which a part of a picture is decoded.

        Args:
            latent: (C, h, w) float32 on the decoder's device, of the whole picture.
            wanted: Rows and columns of the decoded plane (16h, 16w), in pixels.
        """
        cells = latent.shape[1], latent.shape[2]
        return self._run(Features(latent[None], (0, 0), cells), wanted, slice(COARSE_STAGES))

    def decode(self, features: Features, wanted: Region) -> Tensor:
        """Decode a part of a picture: (H, W) float32 in [0, 1].

        Args:
            features: From `begin`, of this part or of a larger one.
            wanted: As in `begin`.
        """
        pixels = self._run(features, wanted, slice(COARSE_STAGES, None))
        return pixels.values[(0, 0, *_shift(wanted, pixels.origin))]

    def _run(self, features: Features, wanted: Region, stages: slice) -> Features:
        x, origin = features.values, features.origin
        for stage, tile in plan_stages(self._stages, features.cells, wanted)[stages]:
            outer = tile.outer(stage.source)
            x = cast(Tensor, _Crop.apply(x.to(stage.dtype), _shift(outer, origin)))  # type: ignore[no-untyped-call]
            for layer in stage.layers:
                x = layer(x)
            enlargement = stage.target // stage.source
            origin = enlargement * outer[0].start, enlargement * outer[1].start
        return Features(x, origin, features.cells)


def _shift(region: Region, origin: tuple[int, int]) -> Region:
    """A region, in an array that begins at `origin`."""
    rows, columns = (slice(part.start - start, part.stop - start) for part, start in zip(region, origin, strict=True))
    return rows, columns


def error_gradient(
    decoder: GradientDecoder,
    latent: Tensor,
    shape: tuple[int, int],
    plane: Plane,
    progress: Progress | None = None,
) -> Tensor:
    """The gradient of the squared error of a decoded plane, computed in tiles.

    A tile's share is the error of its own pixels, decoded from the cells that they depend on. So the sum over tiles is
    the gradient of the whole, whatever their size.

    Args:
        decoder: Of the checkpoint.
        latent: (C, ceil(h / 16), ceil(w / 16)) float32 on the decoder's device.
        shape: Height h and width w of the decoded plane, which is resampled to that of `plane`.
        plane: (H, W) in [0, 1], the original.
        progress: Called with the share done, in (0, 1]; it may raise to stop the work.

    Returns:
        The gradient of sum((decoded - plane)^2), in the shape of `latent`.
    """
    latent = latent.detach().requires_grad_(True)
    (height, width), device = plane.shape, decoder.device
    shrinking = height / shape[0], width / shape[1]
    sides = [max(1, int(side * factor)) for side, factor in zip(decoder.tile, shrinking, strict=True)]
    done = 0
    for block in Tile(range(height), range(width), plane.shape, 0).cut(int(decoder.block * math.prod(shrinking))):
        features = decoder.begin(latent, _resampling(shape, plane.shape, block.core())[0])
        leaf = features.detach()
        for tile in block.split(*sides):
            release_free_memory()
            region, vertical, horizontal = _resampling(shape, plane.shape, tile.core())
            decoded = (vertical.to(device) @ decoder.decode(leaf, region) @ horizontal.to(device).T).clamp(0, 1)
            original = torch.from_numpy(plane[tile.core()]).to(device)
            torch.autograd.backward(decoded, 2 * (decoded - original).detach())  # adds to leaf.values.grad
            done += len(tile.rows) * len(tile.columns)
            if progress:
                progress(done / plane.size)
        torch.autograd.backward(features.values, leaf.values.grad)  # adds to latent.grad
    assert latent.grad is not None
    return latent.grad


def _resampling(shape: tuple[int, int], new_shape: tuple[int, int], wanted: Region) -> tuple[Region, Tensor, Tensor]:
    """The region of a plane that a part of it depends on after resampling, and the matrices that compute that part:
    the first times the region, times the transpose of the second."""
    ranges, matrices = [], []
    for length, new_length, part in zip(shape, new_shape, wanted, strict=True):
        first, weights = (array[part] for array in taps(length, new_length))
        start, count = int(first[0]), weights.shape[1]
        matrix = np.zeros((len(first), int(first[-1]) + count - start), np.float32)
        np.put_along_axis(matrix, np.asarray(first[:, None] - start + np.arange(count), np.int64), weights, axis=1)
        ranges.append(slice(start, start + matrix.shape[1]))
        matrices.append(torch.from_numpy(matrix))
    return (ranges[0], ranges[1]), matrices[0], matrices[1]


def _linear(function: Layer, adjoint: Layer) -> Layer:
    """`function`, whose backward pass is `adjoint`; both on (B, C, H, W), channels last."""
    return lambda x: cast(Tensor, _Linear.apply(x, function, adjoint))  # type: ignore[no-untyped-call]


def _build_convolution(layer: nn.Conv2d, device: torch.device, dtype: torch.dtype) -> Layer:
    return _linear(Convolution(layer, device, dtype), Convolution(flip(layer), device, dtype))


def flip(layer: nn.Conv2d) -> nn.Conv2d:
    """The adjoint of a convolution that keeps height and width, as a convolution.

    Args:
        layer: With stride 1, an odd square kernel and padding of half of it; its bias does not matter to the adjoint.
    """
    size = cast(tuple[int, int], layer.kernel_size)
    flipped = nn.Conv2d(layer.out_channels, layer.in_channels, size, padding=size[0] // 2, bias=False)
    flipped.weight.copy_(layer.weight.transpose(0, 1).flip(2, 3))
    return flipped


class GradientBlock:
    """A residual block. It may overwrite its input.

    Args:
        block: A `PreActResidualBlock` in eval mode that keeps channels and size; it is not changed.
        device: Where the layers run.
        dtype: float32 or bfloat16.
    """

    def __init__(self, block: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        block = cast(PreActResidualBlock, block)
        self.forward = FloatBlock(block, device, dtype)
        first = flip(fold_batchnorm(block.conv1, block.bn2))
        first.weight.mul_(as_depthwise_conv(block.bn1).weight)  # (C, 1, 1, 1) on the C channels that it makes
        self.first, self.second = Convolution(first, device, dtype), Convolution(flip(block.conv2), device, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return cast(Tensor, _Block.apply(x, self))  # type: ignore[no-untyped-call]


class GradientOutput:
    """The last convolution and the sigmoid: (1, C, H, W) -> (1, 1, H, W) float32.

    Args:
        layer: As in `OutputLayer`.
        device: Where the layers run.
        dtype: float32 or bfloat16.
    """

    def __init__(self, layer: nn.Conv2d, device: torch.device, dtype: torch.dtype) -> None:
        self.forward = OutputLayer(layer, device, dtype)
        self.adjoint, self.dtype = Convolution(flip(layer), device, dtype), dtype

    def __call__(self, x: Tensor) -> Tensor:
        return cast(Tensor, _Output.apply(x, self))  # type: ignore[no-untyped-call]


def upsample_adjoint(gradient: Tensor) -> Tensor:
    """The adjoint of `residae.engine.blocks.upsample`.

    Args:
        gradient: (1, C, 2h, 2w), with respect to the output of `upsample`.

    Returns:
        (1, C, h, w), with respect to its input.
    """
    return _halve(_halve(gradient, 2), 3)


def _halve(gradient: Tensor, axis: int) -> Tensor:
    """Each value goes into two of twice as many, and for a quarter into the neighbors' nearer ones."""
    shape = list(gradient.shape)
    shape[axis] //= 2
    result = torch.empty(shape, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last)
    old = result.movedim(axis, 0)
    even, odd = gradient.movedim(axis, 0)[0::2], gradient.movedim(axis, 0)[1::2]
    torch.add(even, odd, out=old).mul_(0.75)
    old[1:].add_(odd[:-1], alpha=0.25)
    old[:-1].add_(even[1:], alpha=0.25)
    old[0].add_(even[0], alpha=0.25)
    old[-1].add_(odd[-1], alpha=0.25)
    return result


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Layer, adjoint: Layer) -> Tensor:
        ctx.adjoint = adjoint
        return function(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.adjoint(gradients[0]), None, None


class _Block(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, block: GradientBlock) -> Tensor:
        outer = block.forward.activation(x)
        inner = block.forward.first(outer, relu=True)
        ctx.block = block
        ctx.save_for_backward(outer > 0, inner > 0)
        ctx.mark_dirty(x)
        return block.forward.second.onto(x, inner)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        outer, inner = ctx.saved_tensors
        gradient = ctx.block.second(gradients[0]).mul_(inner)
        return ctx.block.first(gradient).mul_(outer).add_(gradients[0]), None


class _Output(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, output: GradientOutput) -> Tensor:
        ctx.output = output
        pixels = output.forward(x)
        ctx.save_for_backward(pixels)
        return pixels

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (pixels,) = ctx.saved_tensors
        gradient = gradients[0] * pixels * (1 - pixels)
        return ctx.output.adjoint(gradient.to(ctx.output.dtype, memory_format=torch.channels_last)), None


class _Crop(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, region: Region) -> Tensor:
        """A part of (B, C, H, W), channels last in both passes."""
        ctx.shape, ctx.region = x.shape, region
        return x[:, :, *region].clone(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        whole = torch.empty(
            ctx.shape, dtype=gradients[0].dtype, device=gradients[0].device, memory_format=torch.channels_last
        ).zero_()
        whole[:, :, *ctx.region] = gradients[0]
        return whole, None
