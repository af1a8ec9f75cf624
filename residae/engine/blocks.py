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

from residae.engine.onednn import Convolution, Int8Convolution
from residae.model import PreActResidualBlock

# Standard deviations above the mean at which int8 activations are clipped: the distributions of trained activations
# have long tails, and clipping them costs more than coarser steps do.
INT8_CLIP_SIGMA = 20
# Added, in steps, before truncating to uint8, so as to round: a half, less what bfloat16 adds when it rounds the tails.
ROUNDING_BIAS = 15 / 32
Layer = Callable[[Tensor], Tensor]


class FloatBlock:
    """A residual block in float32 or bfloat16, with its second BatchNorm folded into the convolution before it.

    The call maps (1, C, H, W) to (1, C', H', W') and may overwrite its input.

    Args:
        block: A `PreActResidualBlock` in eval mode; it is not changed.
        device: Where the layers run.
        dtype: float32 or bfloat16.
    """

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
    """A residual block whose two convolutions are int8, and whose residual sum is in `dtype`.

    The inputs of both convolutions were normalized and are not negative, so the parameters of BatchNorm give the range
    of each channel, and no calibration pictures are needed. Steps that differ between channels cost nothing: the layer
    before the rounding is divided by them, the kernels after it are multiplied by them.

    The call maps (1, C, H, W) to (1, C', H', W') and may overwrite its input.

    Args:
        block: A `PreActResidualBlock` in eval mode; it is not changed.
        device: The CPU.
        dtype: Of the input, the residual sum and the output: float32 or bfloat16.
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
        cast(Tensor, norm.bias).add_(ROUNDING_BIAS)  # the conversion to uint8 truncates
        self.norm = Convolution(norm, device, dtype)
        self.first, self.second = Int8Convolution(first, dtype), Int8Convolution(second, dtype)
        shortcut = block.shortcut
        self.shortcut = Convolution(shortcut, device, dtype) if isinstance(shortcut, nn.Conv2d) else None

    def __call__(self, x: Tensor) -> Tensor:
        y = self.first(self.norm(x, relu=True).clamp_max_(255).to(torch.uint8))
        return self.second.onto(self.shortcut(x) if self.shortcut else x, y)


def int8_step(norm: nn.BatchNorm2d) -> Tensor:
    """The quantization step (C,) of each channel: 255 of them reach INT8_CLIP_SIGMA deviations above its mean.

    Args:
        norm: In eval mode; its weight is the deviation of its output, and its bias the mean.
    """
    return (norm.bias + INT8_CLIP_SIGMA * norm.weight.abs()).clamp_min(1e-3) / 255


class OutputLayer:
    """The last convolution and the sigmoid, for a block of 4 x 4 pixels at a time: (1, C, H, W) -> (1, 1, H, W).

    A convolution with one output channel leaves most lanes of a vector unit idle; sixteen fill them. H and W are
    multiples of 4.

    Args:
        layer: A convolution to one channel with a bias; it is not changed.
        device: Where the layer runs.
        dtype: float32 or bfloat16.
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
    """BatchNorm and ReLU, in one pass over memory where oneDNN can do that.

    Args:
        norm: In eval mode; it is not changed.
        device: Where the layer runs.
        dtype: float32 or bfloat16.

    Returns:
        A layer from (1, C, H, W) to the same shape.
    """
    depthwise = Convolution(as_depthwise_conv(norm), device, dtype)
    if depthwise.fused:
        return functools.partial(depthwise, relu=True)
    norm = copy.deepcopy(norm).to(device)  # the network keeps its own
    return lambda x: F.relu_(norm(x))


def as_depthwise_conv(norm: nn.BatchNorm2d) -> nn.Conv2d:
    """BatchNorm as a depthwise 1x1 convolution.

    Args:
        norm: In eval mode, of C channels; it is not changed.

    Returns:
        A convolution with C groups and a bias, which computes the same.
    """
    identity = nn.Conv2d(norm.num_features, norm.num_features, 1, groups=norm.num_features, bias=False)
    nn.init.ones_(identity.weight)
    return fold_batchnorm(identity.eval(), norm)


def upsample(x: Tensor) -> Tensor:
    """Bilinear upsampling to twice the height and width, as `F.interpolate` with align_corners=False.

    Args:
        x: (1, C, h, w).

    Returns:
        (1, C, 2h, 2w) in the same precision.
    """
    if x.device.type == "cpu" and x.dtype == torch.bfloat16:  # two passes of lerp take half the time there
        return _double(_double(x, 2), 3)
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _double(x: Tensor, axis: int) -> Tensor:
    """Linear upsampling along one axis: each value becomes two, each a quarter of the way to its neighbor.

    It writes in place for speed, which gradients do not allow: `residae.train.rate.double` is made for these.
    """
    shape = list(x.shape)
    shape[axis] *= 2
    result = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    new, old = result.movedim(axis, 0), x.movedim(axis, 0)
    new[0], new[-1] = old[0], old[-1]
    torch.lerp(old[1:], old[:-1], 0.25, out=new[2::2])
    torch.lerp(old[:-1], old[1:], 0.25, out=new[1:-1:2])
    return result


def fold_batchnorm(convolution: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """One convolution that computes `norm` after `convolution`.

    Args:
        convolution: An `nn.Conv2d` in eval mode; it is not changed.
        norm: The `nn.BatchNorm2d` after it, in eval mode; it is not changed.
    """
    return fuse_conv_bn_eval(cast(nn.Conv2d, convolution), cast(nn.BatchNorm2d, norm))
