"""The layers of the network in their inference form, with BatchNorm folded into convolutions."""

import copy
import functools
import itertools
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from residae.engine import onednn
from residae.engine.onednn import Convolution, Int8Convolution
from residae.model import PreActResidualBlock

INT8_CLIP_SIGMA = (
    20  # standard deviations: trained activations have long tails, and what is cut off costs more than coarse steps
)
ROUNDING_BIAS = (
    15 / 32
)  # of a step, added so that cutting rounds: a half, less what bfloat16 adds by rounding long tails itself
Layer = Callable[[Tensor], Tensor]


class FloatBlock:
    """A residual block, with its second BatchNorm folded into the convolution before it. It may overwrite its input."""

    def __init__(self, block: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        block = cast(PreActResidualBlock, block)
        self.activation = build_activation(block.bn1, device, dtype)
        self.first = Convolution(fold_batchnorm(block.conv1, block.bn2), device, dtype)
        self.second = Convolution(block.conv2, device, dtype)
        shortcut = block.shortcut
        self.shortcut = Convolution(shortcut, device, dtype) if isinstance(shortcut, nn.Conv2d) else None

    def __call__(self, x: Tensor) -> Tensor:
        y = self.first(self.activation(x), relu=True)
        return self.second.onto(self.shortcut(x) if self.shortcut else x, y)


class Int8Block:
    """A residual block whose two convolutions multiply bytes; its sum is floating-point. It may overwrite its input.

    What a convolution is given was normalized and is positive, so that BatchNorm itself tells the range of each
    channel, and no picture is needed to find it. That steps differ between channels costs nothing: what comes before a
    rounding is divided by them, the kernels after it are multiplied by them.
    """

    def __init__(self, block: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        block = cast(PreActResidualBlock, block)
        outer, inner = int8_step(block.bn1), int8_step(block.bn2)
        norm, first, second = (
            as_depthwise_conv(block.bn1),
            fold_batchnorm(block.conv1, block.bn2),
            copy.deepcopy(block.conv2),
        )
        for layer, step in ((norm, outer), (first, inner)):
            layer.weight.div_(step.view(-1, 1, 1, 1))
            cast(Tensor, layer.bias).div_(step)
        for layer, step in ((first, outer), (second, inner)):
            layer.weight.mul_(step.view(1, -1, 1, 1))
        cast(Tensor, norm.bias).add_(ROUNDING_BIAS)  # bytes are cut, not rounded
        self.norm = Convolution(norm, device, dtype)
        self.first, self.second = Int8Convolution(first), Int8Convolution(second)
        shortcut = block.shortcut
        self.shortcut = Convolution(shortcut, device, dtype) if isinstance(shortcut, nn.Conv2d) else None

    def __call__(self, x: Tensor) -> Tensor:
        y = self.first(self.norm(x, relu=True).clamp_max_(255).to(torch.uint8))
        return self.second.onto(self.shortcut(x) if self.shortcut else x, y)


def int8_step(norm: nn.BatchNorm2d) -> Tensor:
    """What one of 255 steps is worth in each channel, to reach INT8_CLIP_SIGMA standard deviations above its mean."""
    return (norm.bias + INT8_CLIP_SIGMA * norm.weight.abs()).clamp_min(1e-3) / 255


class OutputLayer:
    """The last convolution and the sigmoid, for a block of 4 x 4 pixels at a time: (1, C, H, W) -> (1, 1, H, W).

    Sixteen results are what vector units are made for; one would leave most of them idle. H and W are multiples of 4.
    """

    side = 4

    def __init__(self, layer: nn.Conv2d, device: torch.device, dtype: torch.dtype) -> None:
        size, side = layer.kernel_size[0], self.side
        block = nn.Conv2d(layer.in_channels, side * side, size + side - 1, stride=side, padding=size // 2)
        kernels = torch.zeros_like(block.weight)
        for y, x in itertools.product(range(side), repeat=2):
            kernels[side * y + x, :, y : y + size, x : x + size] = layer.weight[0]
        block.weight.copy_(kernels)
        cast(Tensor, block.bias).fill_(cast(Tensor, layer.bias).item())
        self.convolution = Convolution(block, device, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.convolution(x).float(), self.side).sigmoid_()


def build_activation(norm: nn.BatchNorm2d, device: torch.device, dtype: torch.dtype) -> Layer:
    """BatchNorm and ReLU: one pass of oneDNN where there is oneDNN."""
    if device.type == "cpu" and onednn.has_onednn(dtype):
        return functools.partial(Convolution(as_depthwise_conv(norm), device, dtype), relu=True)
    norm = norm.to(device)
    return lambda x: F.relu_(norm(x))


def as_depthwise_conv(norm: nn.BatchNorm2d) -> nn.Conv2d:
    """BatchNorm as a convolution of each channel with one number."""
    identity = nn.Conv2d(norm.num_features, norm.num_features, 1, groups=norm.num_features, bias=False)
    nn.init.ones_(identity.weight)
    return fold_batchnorm(identity.eval(), norm)


def upsample(x: Tensor) -> Tensor:
    """Bilinear, to twice height and width."""
    if x.device.type == "cpu" and x.dtype == torch.bfloat16:  # there, two passes of lerp take half the time
        return _double(_double(x, 2), 3)
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _double(x: Tensor, axis: int) -> Tensor:
    """Each value becomes two, a quarter of the way to its neighbors, or itself where there is none."""
    shape = list(x.shape)
    shape[axis] *= 2
    result = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    new, old = result.movedim(axis, 0), x.movedim(axis, 0)
    new[0], new[-1] = old[0], old[-1]
    torch.lerp(old[1:], old[:-1], 0.25, out=new[2::2])
    torch.lerp(old[:-1], old[1:], 0.25, out=new[1:-1:2])
    return result


def fold_batchnorm(convolution: nn.Module, norm: nn.Module) -> nn.Conv2d:
    return fuse_conv_bn_eval(cast(nn.Conv2d, convolution), cast(nn.BatchNorm2d, norm))
