"""Convolutions through oneDNN. This is the only file that uses private operators of torch.

torch reaches the fused and the quantized convolutions of oneDNN through operators that torch.compile uses as well, and
that may change in any release. Each is therefore tried once against `F.conv2d`, on a small tensor, before it is used.
"""

import functools
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# oneDNN's bfloat16 is slow at this size (channels, rows, columns), to which a 256 x 256 picture comes: with 34 rows it
# takes a fifth less time.
SLOW_BF16_SHAPE = (512, 32, 32)
# Luma and chroma alternate between two sizes. A 256 x 256 picture in color, encoded and decoded on one core with AVX2,
# takes 2.80 s of CPU time with two layouts or with all of them, 2.93 s with one, and 3.02 s with none.
KEPT_LAYOUTS = 2
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}  # of the largest value
INT8_TOLERANCE = 1  # quantization step

Operator = Callable[..., Any]
Operators = tuple[Operator, ...]
Options = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]  # padding, stride, dilation, groups
Comparison = tuple[Tensor, Tensor, float]  # result, expected result, largest difference allowed

logger = logging.getLogger(__name__)


def find_operator(name: str) -> Operator:
    """Look up an operator of `torch.ops`.

    Args:
        name: Namespace and name with dots between, such as `mkldnn._is_mkldnn_bf16_supported`.

    Raises:
        AttributeError: This version of torch does not have it.
    """
    return cast(Operator, functools.reduce(getattr, name.split("."), torch.ops))


def has_onednn(dtype: torch.dtype) -> bool:
    """Whether torch was built with oneDNN (on a Mac it was not), and oneDNN computes in this precision here.

    Args:
        dtype: float32 or bfloat16.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype != torch.bfloat16:
        return True
    try:
        return bool(find_operator("mkldnn._is_mkldnn_bf16_supported")())
    except (AttributeError, RuntimeError):
        return True  # the trial of the operators shows it


def cpu_supports(feature: str) -> bool:
    """Whether the processor has an instruction set, by its name in `torch.cpu.get_capabilities`.

    Args:
        feature: `amx_tile`, `avx512_vnni`, `avx_vnni` or another of those names.

    Returns:
        False where this version of torch cannot tell.
    """
    if hasattr(torch.cpu, "get_capabilities"):
        return bool(torch.cpu.get_capabilities().get(feature))
    before = {  # torch 2.8 has private functions only
        "amx_tile": "_is_amx_tile_supported",
        "avx512_bf16": "_is_avx512_bf16_supported",
        "avx512_vnni": "_is_vnni_supported",
    }
    query = getattr(torch.cpu, before.get(feature, ""), None)
    return bool(query and query())


@dataclass(eq=False)
class FastPath:
    """Private operators that replace a public function where a trial shows that they compute the same.

    Attributes:
        operators: Their names in `torch.ops`.
        trial: Runs the operators in a precision, and yields results beside expected results.
        opened: The verdict for each precision that was tried: the operators, or None.
    """

    operators: tuple[str, ...]
    trial: Callable[[Operators, torch.dtype], Iterator[Comparison]]
    opened: dict[torch.dtype, Operators | None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, dtype: torch.dtype) -> Operators | None:
        """The operators, or None where one of them is missing, raises, or computes something else.

        The first call for a precision runs the trial, and logs a warning if it fails. Threads may call this at once.

        Args:
            dtype: Of the tensors that the operators take; for INT8_CONVOLUTION, of the sums.
        """
        with self._lock:
            if dtype not in self.opened:
                self.opened[dtype] = self._try(dtype)
            return self.opened[dtype]

    def _try(self, dtype: torch.dtype) -> Operators | None:
        try:
            operators = tuple(find_operator(name) for name in self.operators)
            with torch.inference_mode():
                agree = all(_agree(*comparison) for comparison in self.trial(operators, dtype))
            problem = "" if agree else "the result differs from that of the public operator"
        except Exception as error:  # a private operator may raise anything
            problem = f"{type(error).__name__}: {error}"
        if not problem:
            return operators
        names = " and ".join(f"torch.ops.{name}" for name in self.operators)
        kind = str(dtype).removeprefix("torch.")
        logger.warning("%s cannot be used in %s, so public operators do the work: %s", names, kind, problem)
        return None


def _agree(result: Tensor, expected: Tensor, tolerance: float) -> bool:
    same_kind = (result.shape, result.dtype) == (expected.shape, expected.dtype)
    return same_kind and bool((result.double() - expected.double()).abs().max() <= tolerance)


def _trial_convolutions(dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor, Tensor, Options]]:
    """Input, kernels, bias and options of a few convolutions like the network's, without touching torch's seed."""
    generator = torch.Generator().manual_seed(0)
    for kernel, stride, groups in ((3, 1, 1), (3, 2, 1), (1, 1, 16)):
        weight = torch.randn(16, 16 // groups, kernel, kernel, generator=generator)
        bias = torch.randn(16, generator=generator)
        x = torch.randn(1, 16, 10, 12, generator=generator).to(dtype, memory_format=torch.channels_last)
        yield x, weight.to(dtype), bias.to(dtype), ((kernel // 2,) * 2, (stride,) * 2, (1, 1), groups)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, options: Options) -> Tensor:
    """The public operator."""
    padding, stride, dilation, groups = options
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


def _try_convolution(operators: Operators, dtype: torch.dtype) -> Iterator[Comparison]:
    reorder, convolve = operators
    for x, weight, bias, options in _trial_convolutions(dtype):
        expected = _convolve(x, weight, bias, options)
        tolerance = TOLERANCE[dtype] * float(expected.abs().max())
        arguments = reorder(weight.to_mkldnn(), *options, x.shape), bias, *options
        yield convolve(x, *arguments, "none", [], None), expected, tolerance
        yield convolve(x, *arguments, "relu", [], None), F.relu(expected), tolerance


def _try_sum(operators: Operators, dtype: torch.dtype) -> Iterator[Comparison]:
    reorder, accumulate = operators
    for x, weight, bias, options in _trial_convolutions(dtype):
        total = _convolve(x.flip(3), weight, bias, options)
        expected = total + _convolve(x, weight, bias, options)
        arguments = reorder(weight.to_mkldnn(), *options, x.shape), bias, *options
        result = accumulate(total, x, *arguments, "add", None, None, [], None)
        yield result, expected, TOLERANCE[dtype] * float(expected.abs().max())


def _try_int8(operators: Operators, dtype: torch.dtype) -> Iterator[Comparison]:
    """Try products over their whole range, which overflow without VNNI, and sums of `dtype` below 128."""
    prepack, convolve, accumulate = operators
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (32, 64, 3, 3), generator=generator)
    x = torch.randint(0, 256, (1, 64, 10, 12), generator=generator)
    x = x.to(torch.uint8).contiguous(memory_format=torch.channels_last)
    scale = 8e-5 * (1 + torch.rand(32, generator=generator))
    bias, zero = 10 * torch.randn(32, generator=generator), torch.zeros(32, dtype=torch.int32)
    total = 20 * torch.randn(1, 32, 10, 12, generator=generator)
    total = total.to(dtype, memory_format=torch.channels_last)
    exact = F.conv2d(x.double(), weight * scale.double().view(-1, 1, 1, 1), bias.double(), padding=1)
    sums = (total.double() + exact).to(dtype)

    options = (1, 1), (1, 1), (1, 1), 1
    packed = prepack(weight.to(torch.int8), scale, 1.0, 0, *options, None)
    given = x, 1.0, 0, packed, scale, zero
    result = convolve(*given, bias, *options, 1.0, 0, torch.uint8, "relu", [], None)
    yield result, exact.round().clamp(0, 255).to(torch.uint8), INT8_TOLERANCE
    yield accumulate(*given, total, bias, *options, *_sum_into(dtype)), sums, INT8_TOLERANCE


def _sum_into(dtype: torch.dtype) -> tuple[Any, ...]:
    """The last arguments of the quantized convolution whose result is added to a tensor of `dtype`."""
    return 1.0, 0, dtype, 1.0, 0, "sum", 1.0, "none", [], None


def _try_int8_product(operators: Operators, dtype: torch.dtype) -> Iterator[Comparison]:
    (multiply,) = operators
    a, b = torch.randint(-128, 128, (2, 32, 32), generator=torch.Generator().manual_seed(0))
    yield multiply(a.to(dtype), b.to(dtype)), (a @ b).to(torch.int32), 0


REORDER = "aten.mkldnn_reorder_conv2d_weight"
CONVOLUTION = FastPath((REORDER, "mkldnn._convolution_pointwise"), _try_convolution)
CONVOLUTION_SUM = FastPath((REORDER, "mkldnn._convolution_pointwise_.binary"), _try_sum)
INT8_CONVOLUTION = FastPath(  # its precision is that of the sums
    ("onednn.qconv_prepack", "onednn.qconv2d_pointwise", "onednn.qconv2d_pointwise.binary"), _try_int8
)
INT8_PRODUCT = FastPath(("aten._int_mm",), _try_int8_product)


class Convolution:
    """A convolution and what comes after it, in one pass over memory where oneDNN can do that.

    The operators take kernels in oneDNN's own layout, into which it would otherwise bring them at each call. Which
    layout that is depends on the size of the input. The layouts of the last KEPT_LAYOUTS sizes are kept.

    Args:
        layer: It is not changed.
        device: Where the convolution runs.
        dtype: float32 or bfloat16.
    """

    def __init__(self, layer: nn.Conv2d, device: torch.device, dtype: torch.dtype) -> None:
        fast = device.type == "cpu" and has_onednn(dtype)
        self.fused = CONVOLUTION.open(dtype) if fast else None
        self.fused_sum = CONVOLUTION_SUM.open(dtype) if self.fused else None
        self.weight = layer.weight.to(device, dtype, memory_format=torch.channels_last)
        self.bias = None if layer.bias is None else layer.bias.to(device, dtype)
        self.options: Options = cast(tuple[int, int], layer.padding), layer.stride, layer.dilation, layer.groups
        self.keeps_size = layer.kernel_size == (3, 3) and layer.stride == (1, 1)
        if self.fused:
            self.weight = self.weight.to_mkldnn()
        self.layouts: tuple[tuple[torch.Size, Tensor], ...] = ()  # the latest first; size of input, kernels

    def __call__(self, x: Tensor, relu: bool = False) -> Tensor:
        """The convolution of x, and ReLU after it if `relu`."""
        if self.fused is None:
            result = _convolve(x, self.weight, self.bias, self.options)
            return F.relu_(result) if relu else result
        padding, *others = self.options
        pad_rows = self._is_slow_in_bf16(x)
        options = (padding[0] + pad_rows, padding[1]), *others
        kernels = self._kernels(x.shape, options)
        _, convolve = self.fused
        result = cast(Tensor, convolve(x, kernels, self.bias, *options, "relu" if relu else "none", [], None))
        return result[:, :, 1:-1] if pad_rows else result

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        """Add the convolution of x to `total`, which is overwritten.

        Args:
            total: (1, C', H', W'), of the shape and in the precision of the convolution's output.
            x: (1, C, H, W) in the same precision.

        Returns:
            The sum, in the memory of `total`.
        """
        if self.fused_sum is None or self._is_slow_in_bf16(x):
            return total.add_(self(x))
        _, accumulate = self.fused_sum
        kernels = self._kernels(x.shape, self.options)
        return cast(Tensor, accumulate(total, x, kernels, self.bias, *self.options, "add", None, None, [], None))

    def _kernels(self, size: torch.Size, options: tuple[Any, ...]) -> Tensor:
        """The kernels in the layout that oneDNN wants for an input of `size`."""
        layouts = self.layouts
        for known, kernels in layouts:
            if known == size:
                return kernels
        reorder, _ = cast(Operators, self.fused)
        kernels = cast(Tensor, reorder(self.weight, *options, size))
        self.layouts = ((size, kernels), *layouts)[:KEPT_LAYOUTS]  # replaced as a whole, since threads share it
        return kernels

    def _is_slow_in_bf16(self, x: Tensor) -> bool:
        """Whether it is faster to compute one more row at each end, and to cut it off."""
        return self.keeps_size and x.dtype == torch.bfloat16 and x.shape[1:] == SLOW_BF16_SHAPE


class Int8Convolution:
    """A convolution of uint8 activations with int8 kernels, which have a scale for each output channel.

    Args:
        layer: The convolution, for activations in quantization steps.
        dtype: Precision of the tensors that `onto` adds to.

    Raises:
        RuntimeError: The operators cannot be used here; `residae.engine.precision.has_fast_int8` tells before.
    """

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype) -> None:
        operators = INT8_CONVOLUTION.open(dtype)
        if operators is None:
            raise RuntimeError("oneDNN has no int8 convolution here")
        prepack, self.convolve, self.accumulate = operators
        self.scale = layer.weight.abs().amax((1, 2, 3)).clamp_min(1e-12) / 127
        self.zero = torch.zeros_like(self.scale, dtype=torch.int32)
        self.bias = layer.bias
        self.options = layer.stride, layer.padding, layer.dilation, layer.groups
        weight = (layer.weight / self.scale.view(-1, 1, 1, 1)).round().to(torch.int8)
        self.weight = prepack(weight, self.scale, 1.0, 0, *self.options, None)

    def __call__(self, x: Tensor) -> Tensor:
        """ReLU of the convolution of x (uint8), rounded and clamped to uint8."""
        given = x, 1.0, 0, self.weight, self.scale, self.zero, self.bias, *self.options
        return cast(Tensor, self.convolve(*given, 1.0, 0, torch.uint8, "relu", [], None))

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        """`total` plus the convolution of x (uint8), in the precision of `total`.

        Args:
            total: (1, C', H', W') float32 or bfloat16; it may be overwritten.
            x: (1, C, H, W) uint8.
        """
        given = x, 1.0, 0, self.weight, self.scale, self.zero, total, self.bias, *self.options
        return cast(Tensor, self.accumulate(*given, *_sum_into(total.dtype)))
