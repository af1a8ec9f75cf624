"""Convolutions through oneDNN: the only file that uses private operators of torch."""

import ctypes
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

SLOW_BF16_SHAPE = (512, 32, 32)  # what 256 x 256 pixels become: in bfloat16, 34 rows would take a fifth less
MAX_KNOWN_SIZES = 256  # of inputs, for which a convolution remembers its layout


def has_onednn(dtype: torch.dtype) -> bool:
    """Whether torch has the CPU's library of convolutions, which a Mac has not, and in this precision."""
    built_in: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return built_in and (dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def cpu_has_amx() -> bool:
    """Tiles of matrices, which multiply bfloat16 eight times as fast as vector units do."""
    return torch.cpu._is_amx_tile_supported() and has_onednn(torch.bfloat16)


class Convolution:
    """A convolution and what comes after it, in one pass over memory where the device's library can do that.

    That library is oneDNN. torch reaches its fused forms through operators that torch.compile uses as well; they also
    take kernels in oneDNN's own layout, into which it would otherwise bring them at each call. Which one it wants
    depends on the size of the input: for each size it is asked once, and of its few layouts each is kept once.
    """

    def __init__(self, layer: nn.Conv2d, device: torch.device, dtype: torch.dtype) -> None:
        self.onednn = device.type == "cpu" and has_onednn(dtype)
        self.weight = layer.weight.to(device, dtype, memory_format=torch.channels_last)
        self.bias = None if layer.bias is None else layer.bias.to(device, dtype)
        self.options = cast(tuple[int, int], layer.padding), layer.stride, layer.dilation, layer.groups
        self.keeps_size = layer.kernel_size == (3, 3) and layer.stride == (1, 1)
        if self.onednn:
            self.weight = self.weight.to_mkldnn()
        self.layouts: list[Tensor] = []
        self.known: dict[tuple[int, ...], Tensor] = {}  # by the size of the input

    def __call__(self, x: Tensor, relu: bool = False) -> Tensor:
        padding, stride, dilation, groups = self.options
        if self.onednn:
            misfit, then = self._is_misfit(x), "relu" if relu else "none"
            options = (padding[0] + misfit, padding[1]), stride, dilation, groups
            kernels = self._laid_out(x, options)
            result = torch.ops.mkldnn._convolution_pointwise(x, kernels, self.bias, *options, then, [], None)
            result = result[:, :, 1:-1] if misfit else result
        else:
            result = F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
            result = F.relu_(result) if relu else result
        return cast(Tensor, result)

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        """`total` plus the convolution of `x`, in the place of `total`."""
        if not self.onednn or self._is_misfit(x):
            return total.add_(self(x))
        given = total, x, self._laid_out(x, self.options), self.bias, *self.options
        return cast(Tensor, torch.ops.mkldnn._convolution_pointwise_.binary(*given, "add", None, None, [], None))

    def _laid_out(self, x: Tensor, options: tuple[Any, ...]) -> Tensor:
        """The kernels as oneDNN wants them for `x`."""
        kernels = self.known.get(x.shape)
        if kernels is None:
            kernels = torch.ops.aten.mkldnn_reorder_conv2d_weight(self.weight, *options, x.shape)
            for each in self.layouts:
                if np.array_equal(_raw_bytes(each), _raw_bytes(kernels)):
                    kernels = each
                    break
            else:
                self.layouts.append(kernels)
            if len(self.known) == MAX_KNOWN_SIZES:
                self.known.clear()
            self.known[x.shape] = kernels
        return kernels

    def _is_misfit(self, x: Tensor) -> bool:
        """Whether to make one more row at each end, and cut it off, is faster."""
        return self.keeps_size and x.dtype == torch.bfloat16 and x.shape[1:] == SLOW_BF16_SHAPE


def _raw_bytes(tensor: Tensor) -> NDArray[np.uint8]:
    """The bytes of a tensor in oneDNN's layout, as they lie there."""
    size, address = torch.ops.mkldnn._nbytes(tensor), torch.ops.mkldnn.data_ptr(tensor)
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


class Int8Convolution:
    """A convolution of bytes with signed bytes, which have a scale for each channel that is made."""

    def __init__(self, layer: nn.Conv2d) -> None:
        self.scale = layer.weight.abs().amax((1, 2, 3)).clamp_min(1e-12) / 127
        self.zero = torch.zeros_like(self.scale, dtype=torch.int32)
        self.bias = layer.bias
        self.options = layer.stride, layer.padding, layer.dilation, layer.groups
        weight = (layer.weight / self.scale.view(-1, 1, 1, 1)).round().to(torch.int8)
        self.weight = torch.ops.onednn.qconv_prepack(weight, self.scale, 1.0, 0, *self.options, None)

    def __call__(self, x: Tensor) -> Tensor:
        """Bytes -> ReLU of their convolution, rounded to bytes."""
        given = x, 1.0, 0, self.weight, self.scale, self.zero, self.bias, *self.options
        return cast(Tensor, torch.ops.onednn.qconv2d_pointwise(*given, 1.0, 0, torch.uint8, "relu", [], None))

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        """`total` plus the convolution of bytes, in the precision of `total`."""
        given = x, 1.0, 0, self.weight, self.scale, self.zero, total, self.bias, *self.options
        operator = torch.ops.onednn.qconv2d_pointwise.binary
        return cast(Tensor, operator(*given, 1.0, 0, total.dtype, 1.0, 0, "sum", 1.0, "none", [], None))
