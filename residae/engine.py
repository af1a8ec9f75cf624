"""Run the network on planes of any size: the right device and precision, and tiles that change nothing.

In inference everything is local. A latent cell sees at most 108 pixels around its own 16 x 16, a pixel at most 5 cells
around its own. Tiles cut on multiples of 16 with that much context around them therefore give the answer of the whole
picture, to float rounding, and need no blending. The same holds of each stage, with a few pixels of context: on a CPU a
tile is cut once more at each stage, so that the widest layers fit into the cache and take little memory.
"""

import copy
import ctypes
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from residae.errors import OutOfMemoryError, ResidaeError, memory_watched
from residae.model import STRIDE, PreActResidualBlock, PreActResidualDecoder, PreActResidualEncoder, ResidualAutoencoder

ENCODER_HALO = 112 // STRIDE  # cells; 108 pixels rounded up to whole cells
DECODER_HALO = 5  # cells
CPU_MEMORY = 2**30  # bytes that a tile may take between two stages
CPU_COLUMNS = 240  # that a stage makes at once: beyond 250, oneDNN's bfloat16 is slower, three times at its worst
CPU_BYTES = 28 * 10**6  # of one of its tensors: 32 MiB and more come fresh from the system each time, page by page
CPU_MISFIT = (512, 32, 32)  # what 256 x 256 pixels become: in bfloat16, 34 rows would take a fifth less
MOST_SIZES = 256  # of inputs, for which a convolution remembers its layout
REACH = 20  # standard deviations: trained activations have long tails, and what is cut off costs more than coarse steps
HALF = 15 / 32  # of a step, added so that cutting rounds: a half, less what bfloat16 adds by rounding long tails itself

Plane = NDArray[np.float32]  # (H, W) in [0, 1]
Latent = NDArray[np.float32]  # (C, H/16, W/16)
Progress = Callable[[float], None]  # is told the share of the work done, in (0, 1]
Region = tuple[slice, slice]  # rows and columns, in pixels
WHOLE: Region = (slice(None), slice(None))
Layer = Callable[[Tensor], Tensor]


class Engine:
    """The inference form of one network on one device.

    `device` is CUDA where there is one, else the CPU. `dtype` is the precision of the convolutions: int8 on CPUs that
    multiply bytes faster than anything else, bfloat16 where the device is faster in it than in float32, else that. int8
    is for the residual blocks alone, and unless asked for not used with a network that loses by it; their sums and all
    the rest are in the better of the other two. `tile` is the side of a tile in latent cells of 16 x 16 pixels; without
    it, tiles are as large as the free memory of the device allows. A progress callback may raise to stop the work.
    ResidaeError where int8 is asked for and not to be had.
    """

    def __init__(
        self,
        network: ResidualAutoencoder,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        tile: int | None = None,
    ) -> None:
        self.device = torch.device(device) if device else default_device()
        if dtype == torch.int8 and not multiplies_bytes(self.device):
            raise ResidaeError("int8 is for CPUs that multiply bytes.")
        self.tile = tile
        self.latent_channels = network.latent_channels
        self._width = network.base_channels
        network = copy.deepcopy(network).eval()
        self._prepare(network, dtype or preferred_dtype(self.device))
        if dtype is None and self.dtype == torch.int8 and not self._is_as_good_as(network):
            self._prepare(network, preferred_float(self.device))

    @torch.inference_mode()
    def _prepare(self, network: ResidualAutoencoder, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._encoder = _encoder(network.encoder, self.device, dtype)
        self._decoder = _decoder(network.decoder, self.device, dtype)

    @torch.inference_mode()
    def _is_as_good_as(self, network: ResidualAutoencoder) -> bool:
        """Whether a picture of waves and edges comes out less than 0.1 dB worse than from the plain module.

        int8 trusts in the statistics of BatchNorm, and weights that were made elsewhere may belie them.
        """
        y, x = np.mgrid[:96, :96].astype(np.float32)
        plane = (0.5 + 0.25 * np.sin(x * y / 300) + 0.25 * np.sign(np.sin(y / 7) * np.cos((x + y) / 13))).clip(0, 1)
        plain = network(torch.from_numpy(plane)[None, None])[0][0, 0].numpy()
        ours = self.decode(self.encode(plane), *plane.shape)
        return bool(np.mean((ours - plane) ** 2) < 10**0.01 * np.mean((plain - plane) ** 2))

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def description(self) -> str:
        """Device and precision in words, such as `CPU, float32`."""
        name = torch.cuda.get_device_name(self.device) if self.on_gpu else "CPU"
        return f"{name}, {str(self.dtype).removeprefix('torch.')}"

    def encode(self, plane: Plane, progress: Progress | None = None) -> Latent:
        """(H, W) float32 in [0, 1], any size -> latent (C, ceil(H/16), ceil(W/16)) float32.

        The plane is continued to a multiple of 16 by repeating its last row and column.
        """
        cells = latent_shape(*plane.shape)
        latent = np.empty((self.latent_channels, *cells), np.float32)
        turns = _Turns()

        def compute(tile: _Tile, told: Progress | None) -> None:
            part = plane[tile.outer(STRIDE)]
            missing = [(0, -length % STRIDE) for length in part.shape]  # only where the picture ends within a cell
            padded = np.pad(part, missing, mode="edge")
            latent[:, *tile.core()] = self._run(self._encoder, padded[None], tile.inner(), turns, told)

        self._in_tiles(compute, _Tile(range(cells[0]), range(cells[1]), cells, ENCODER_HALO), progress)
        return latent

    def decode(
        self, latent: Latent, height: int, width: int, progress: Progress | None = None, region: Region = WHOLE
    ) -> Plane:
        """Latent (C, ceil(height/16), ceil(width/16)) -> plane (height, width) float32 in [0, 1].

        With a region, those rows and columns of that plane alone, from no more cells than they depend on.
        """
        cells = latent_shape(height, width)
        if latent.shape != (self.latent_channels, *cells):
            raise ValueError(f"a {height} x {width} plane has no latent of shape {latent.shape}")
        rows, columns = _pixels(region[0], height), _pixels(region[1], width)
        whole = _Tile(_covering(rows), _covering(columns), cells, DECODER_HALO)
        top, left = whole.rows.start * STRIDE, whole.columns.start * STRIDE
        plane = np.empty((len(whole.rows) * STRIDE, len(whole.columns) * STRIDE), np.float32)
        turns = _Turns()

        def compute(tile: _Tile, told: Progress | None) -> None:
            part = self._run(self._decoder, latent[:, *tile.outer()], tile.inner(STRIDE), turns, told)
            plane[tile.core(STRIDE, (top, left))] = part[0]

        self._in_tiles(compute, whole, progress)
        return plane[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]

    def _in_tiles(
        self, compute: Callable[["_Tile", Progress | None], None], whole: "_Tile", progress: Progress | None
    ) -> None:
        """`compute` each tile of the whole. Where a GPU's memory does not suffice, go on with tiles half as large."""
        waiting = list(whole.split(self.tile, self.tile) if self.tile else whole.cut(self._most_cells()))
        done, total = 0, len(whole.rows) * len(whole.columns)
        while waiting:
            tile = waiting[0]
            cells = len(tile.rows) * len(tile.columns)
            try:
                with memory_watched():
                    compute(tile, between(progress, done / total, (done + cells) / total))
            except OutOfMemoryError:
                side = max(len(tile.rows), len(tile.columns)) // 2
                if not self.on_gpu or not side:
                    raise
            else:
                waiting, done = waiting[1:], done + cells
                continue
            torch.cuda.empty_cache()  # not in the handler: there the exception still holds the tensors
            waiting = [part for tile in waiting for part in tile.split(side, side)]

    def _most_cells(self) -> int:
        """Cells of the largest tile for which there is memory now."""
        values = 192 * self._width  # of the two largest tensors between stages, for each cell: the encoder's first two
        if self.on_gpu:
            reserved = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            memory = 0.8 * (torch.cuda.mem_get_info(self.device)[0] + reserved)
            values += 4 * STRIDE**2 * self._width  # the widest layer, what it makes, and what its kernels need
        else:
            memory = min(CPU_MEMORY, psutil.virtual_memory().available / 3)
        return max(1, int(memory / (values * _between_convolutions(self.dtype).itemsize)))

    @torch.inference_mode()
    def _run(
        self,
        stages: list["_Stage"],
        array: NDArray[np.float32],
        wanted: Region,
        turns: "_Turns",
        progress: Progress | None,
    ) -> NDArray[np.float32]:
        """(C, H, W) through `stages`, one after the other -> what is wanted of (C', H', W'), good until the next run
        in the same memory."""
        x = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None]
        origin = (0, 0)
        for done, (stage, tile) in enumerate(_plan(stages, array.shape[1:], wanted)):
            x = stage(x, origin, tile, turns, between(progress, done / len(stages), (done + 1) / len(stages)))
            origin = tile.rows.start * stage.target, tile.columns.start * stage.target
        return cast(NDArray[np.float32], x[0].float().cpu().numpy())


def latent_shape(height: int, width: int) -> tuple[int, int]:
    """Cells (h, w) that cover `height` x `width` pixels."""
    return -(-height // STRIDE), -(-width // STRIDE)


def default_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def preferred_dtype(device: torch.device) -> torch.dtype:
    """The precision in which `device` convolves fastest at no visible loss: bfloat16, int8 or float32."""
    return torch.int8 if multiplies_bytes(device) and not _cpu_has_amx() else preferred_float(device)


def preferred_float(device: torch.device) -> torch.dtype:
    """The faster of bfloat16 and float32 on `device`."""
    if device.type == "cuda":
        prefers_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        prefers_bfloat16 = _cpu_prefers_bfloat16()
    return torch.bfloat16 if prefers_bfloat16 else torch.float32


def multiplies_bytes(device: torch.device) -> bool:
    """VNNI: about four times as many products of bytes as of float32. Without it, sums of products would overflow."""
    if device.type != "cpu" or not _has_onednn(torch.float32) or not hasattr(torch.ops.onednn, "qconv2d_pointwise"):
        return False
    capable = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # not in 2.8
    return torch.cpu._is_vnni_supported() or bool(capable.get("avx_vnni"))


def _cpu_has_amx() -> bool:
    """Tiles of matrices, which multiply bfloat16 eight times as fast as vector units do."""
    return torch.cpu._is_amx_tile_supported() and _has_onednn(torch.bfloat16)


def _between_convolutions(dtype: torch.dtype) -> torch.dtype:
    """What planes are kept in: bytes are for the convolutions alone."""
    return preferred_float(torch.device("cpu")) if dtype == torch.int8 else dtype


@functools.cache
def _cpu_prefers_bfloat16() -> bool:
    """With AMX, bfloat16 is several times faster than float32. Without, it is measured, since having the instructions
    does not tell: with AVX512-BF16 alone it can be half as fast, or twice."""
    if _cpu_has_amx():
        return True
    emulated = torch.cpu._is_avx512_supported() and not torch.cpu._is_avx512_bf16_supported()
    if emulated or not _has_onednn(torch.bfloat16):
        return False
    layer = nn.Conv2d(128, 128, 3, padding=1, bias=False, device="meta").to_empty(device="cpu")
    with torch.inference_mode():
        layer.weight.zero_()
        tried = []
        for dtype in (torch.bfloat16, torch.float32):
            x = torch.zeros(1, 128, 128, 128, dtype=dtype).contiguous(memory_format=torch.channels_last)
            tried.append((_Convolution(layer, torch.device("cpu"), dtype), x))
        shortest = [math.inf, math.inf]
        for _ in range(6):  # in turns, so that whatever else the machine does disturbs both alike
            for i, (convolution, x) in enumerate(tried):
                start = time.perf_counter()
                convolution(x)
                shortest[i] = min(shortest[i], time.perf_counter() - start)
    return shortest[0] < 0.8 * shortest[1]


def _has_onednn(dtype: torch.dtype) -> bool:
    """Whether torch has the CPU's library of convolutions, which a Mac has not, and in this precision."""
    built_in: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return built_in and (dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


# Layers


def _encoder(network: PreActResidualEncoder, device: torch.device, dtype: torch.dtype) -> list["_Stage"]:
    """Four stages, each halving height and width; the stem belongs to the first."""
    block, dtype = (_ByteBlock if dtype == torch.int8 else _Block), _between_convolutions(dtype)
    convolution, norm, _ = network.stem
    stem = functools.partial(_Convolution(_folded(convolution, norm), device, dtype), relu=True)
    stages: list[list[Layer]] = [
        [block(each, device, dtype) for each in cast(nn.Sequential, stage)] for stage in network.stages
    ]
    stages[0].insert(0, stem)
    width = cast(nn.Conv2d, convolution).out_channels
    # 7 of the pixels that a stage is given matter on each side of one that it makes, 10 with the stem.
    return [
        _Stage(layers, width << i, device, dtype, source=2, target=1, halo=4 if i else 5)
        for i, layers in enumerate(stages)
    ]


def _decoder(network: PreActResidualDecoder, device: torch.device, dtype: torch.dtype) -> list["_Stage"]:
    """Four stages, each doubling height and width; the output belongs to the last.

    The 1x1 convolution goes before the upsampling: they commute, and it has a quarter of the pixels there. From there
    it goes on to the end of the stage before, which then has less to hand over.
    """
    block, dtype = (_ByteBlock if dtype == torch.int8 else _Block), _between_convolutions(dtype)
    convolutions: list[Layer] = []
    stages: list[list[Layer]] = []
    for stage in network.stages:
        _, convolution, norm, *blocks = list[nn.Module](cast(nn.Sequential, stage))
        convolutions.append(_Convolution(_folded(convolution, norm), device, dtype))
        stages.append([_upsample, *(block(each, device, dtype) for each in blocks)])
    first, *ends = convolutions
    stages[0].insert(0, first)
    for layers, end in zip(stages, [*ends, cast(Layer, _Output(network.out, device, dtype))], strict=True):
        layers.append(end)
    *rest, last = stages
    width = network.out.in_channels
    # 4 of the pixels that a stage makes matter on each side of one, 7 before the output.
    return [
        *(_Stage(layers, width << 3 - i, device, dtype, source=1, target=2, halo=3) for i, layers in enumerate(rest)),
        _Stage(last, width, device, dtype, source=2, target=4, halo=2),
    ]


class _Convolution:
    """A convolution and what comes after it, in one pass over memory where the device's library can do that.

    That library is oneDNN. torch reaches its fused forms through operators that torch.compile uses as well; they also
    take kernels in oneDNN's own layout, into which it would otherwise bring them at each call. Which one it wants
    depends on the size of the input: for each size it is asked once, and of its few layouts each is kept once.
    """

    def __init__(self, layer: nn.Conv2d, device: torch.device, dtype: torch.dtype) -> None:
        self.onednn = device.type == "cpu" and _has_onednn(dtype)
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
                if np.array_equal(_memory(each), _memory(kernels)):
                    kernels = each
                    break
            else:
                self.layouts.append(kernels)
            if len(self.known) == MOST_SIZES:
                self.known.clear()
            self.known[x.shape] = kernels
        return kernels

    def _is_misfit(self, x: Tensor) -> bool:
        """Whether to make one more row at each end, and cut it off, is faster."""
        return self.keeps_size and x.dtype == torch.bfloat16 and x.shape[1:] == CPU_MISFIT


def _memory(tensor: Tensor) -> NDArray[np.uint8]:
    """The bytes of a tensor in oneDNN's layout, as they lie there."""
    size, address = torch.ops.mkldnn._nbytes(tensor), torch.ops.mkldnn.data_ptr(tensor)
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


class _Block:
    """A residual block, with its second BatchNorm folded into the convolution before it. It may overwrite its input."""

    def __init__(self, block: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        block = cast(PreActResidualBlock, block)
        self.activation = _activation(block.bn1, device, dtype)
        self.first = _Convolution(_folded(block.conv1, block.bn2), device, dtype)
        self.second = _Convolution(block.conv2, device, dtype)
        shortcut = block.shortcut
        self.shortcut = _Convolution(shortcut, device, dtype) if isinstance(shortcut, nn.Conv2d) else None

    def __call__(self, x: Tensor) -> Tensor:
        y = self.first(self.activation(x), relu=True)
        return self.second.onto(self.shortcut(x) if self.shortcut else x, y)


class _ByteBlock:
    """A residual block whose two convolutions multiply bytes; its sum is floating-point. It may overwrite its input.

    What a convolution is given was normalised and is positive, so that BatchNorm itself tells the range of each
    channel, and no picture is needed to find it. That steps differ between channels costs nothing: what comes before a
    rounding is divided by them, the kernels after it are multiplied by them.
    """

    def __init__(self, block: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        block = cast(PreActResidualBlock, block)
        outer, inner = _step(block.bn1), _step(block.bn2)
        norm, first, second = _alone(block.bn1), _folded(block.conv1, block.bn2), copy.deepcopy(block.conv2)
        for layer, step in ((norm, outer), (first, inner)):
            layer.weight.div_(step.view(-1, 1, 1, 1))
            cast(Tensor, layer.bias).div_(step)
        for layer, step in ((first, outer), (second, inner)):
            layer.weight.mul_(step.view(1, -1, 1, 1))
        cast(Tensor, norm.bias).add_(HALF)  # bytes are cut, not rounded
        self.norm = _Convolution(norm, device, dtype)
        self.first, self.second = _ByteConvolution(first), _ByteConvolution(second)
        shortcut = block.shortcut
        self.shortcut = _Convolution(shortcut, device, dtype) if isinstance(shortcut, nn.Conv2d) else None

    def __call__(self, x: Tensor) -> Tensor:
        y = self.first(self.norm(x, relu=True).clamp_max_(255).to(torch.uint8))
        return self.second.onto(self.shortcut(x) if self.shortcut else x, y)


class _ByteConvolution:
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


def _step(norm: nn.BatchNorm2d) -> Tensor:
    """What one of 255 steps is worth in each channel, to reach REACH standard deviations above its mean."""
    return (norm.bias + REACH * norm.weight.abs()).clamp_min(1e-3) / 255


class _Output:
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
        self.convolution = _Convolution(block, device, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.convolution(x).float(), self.side).sigmoid_()


def _activation(norm: nn.BatchNorm2d, device: torch.device, dtype: torch.dtype) -> Layer:
    """BatchNorm and ReLU: one pass of oneDNN where there is oneDNN."""
    if device.type == "cpu" and _has_onednn(dtype):
        return functools.partial(_Convolution(_alone(norm), device, dtype), relu=True)
    norm = norm.to(device)
    return lambda x: F.relu_(norm(x))


def _alone(norm: nn.BatchNorm2d) -> nn.Conv2d:
    """BatchNorm as a convolution of each channel with one number."""
    identity = nn.Conv2d(norm.num_features, norm.num_features, 1, groups=norm.num_features, bias=False)
    nn.init.ones_(identity.weight)
    return _folded(identity.eval(), norm)


def _upsample(x: Tensor) -> Tensor:
    """Bilinear, to twice height and width."""
    if x.device.type == "cpu" and x.dtype == torch.bfloat16:  # there, two passes of lerp take half the time
        return _doubled(_doubled(x, 2), 3)
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _doubled(x: Tensor, axis: int) -> Tensor:
    """Each value becomes two, a quarter of the way to its neighbours, or itself where there is none."""
    shape = list(x.shape)
    shape[axis] *= 2
    result = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    new, old = result.movedim(axis, 0), x.movedim(axis, 0)
    new[0], new[-1] = old[0], old[-1]
    torch.lerp(old[1:], old[:-1], 0.25, out=new[2::2])
    torch.lerp(old[:-1], old[1:], 0.25, out=new[1:-1:2])
    return result


def _folded(convolution: nn.Module, norm: nn.Module) -> nn.Conv2d:
    return fuse_conv_bn_eval(cast(nn.Conv2d, convolution), cast(nn.BatchNorm2d, norm))


# Tiles


@dataclass(frozen=True)
class _Stage:
    """Layers that take `source` pixels for each `target` that they make, and look `halo` times as many further."""

    layers: Sequence[Layer]
    channels: int  # at the higher of its two resolutions
    device: torch.device
    dtype: torch.dtype
    source: int
    target: int
    halo: int

    def __call__(
        self, x: Tensor, origin: tuple[int, int], whole: "_Tile", turns: "_Turns", progress: Progress | None
    ) -> Tensor:
        """(1, C, H, W), of which the first pixel lies at `origin`, on any device and in any precision -> what is made
        of the units of `whole`."""
        tiles = list(whole.split(*self._sides())) if self.device.type == "cpu" else [whole]
        result: Tensor | None = None
        for number, tile in enumerate(tiles):
            outer = tile.outer(self.source, origin)
            part = x[:, :, *outer].to(self.device, self.dtype, memory_format=torch.channels_last)
            part = part.contiguous(memory_format=torch.channels_last)
            for done, layer in enumerate(self.layers, start=1):
                part = layer(part)
                if progress:
                    progress((number + done / len(self.layers)) / len(tiles))
            part = part[:, :, *tile.inner(self.target)]
            if len(tiles) == 1:
                return part
            if result is None:
                height, width = len(whole.rows) * self.target, len(whole.columns) * self.target
                result = turns.empty(part.shape[1], height, width, part.dtype)
            corner = whole.rows.start * self.target, whole.columns.start * self.target
            result[:, :, *tile.core(self.target, corner)] = part
        return cast(Tensor, result)

    def _sides(self) -> tuple[int, int]:
        """Rows and columns of the tiles that suit a CPU, in units."""
        pixels = max(self.source, self.target) ** 2  # of a unit, at the higher of the two resolutions
        units = CPU_BYTES // (self.channels * self.dtype.itemsize * pixels)
        columns = min(CPU_COLUMNS // self.target, math.isqrt(units))
        rows = units // columns
        return max(1, rows - 2 * self.halo), max(1, columns - 2 * self.halo)


class _Turns:
    """Memory for what one stage hands to the next, in two pieces that take turns and are kept from tile to tile: what
    is this large comes from the system page by page, each filled with zeros, and took a tenth of an encoder's time."""

    def __init__(self) -> None:
        self.pieces = [torch.empty(0, dtype=torch.uint8)] * 2

    def empty(self, channels: int, height: int, width: int, dtype: torch.dtype) -> Tensor:
        """(1, C, H, W), channels last, good until the call after the next."""
        self.pieces.reverse()
        size = channels * height * width * dtype.itemsize
        if len(self.pieces[0]) < size:
            self.pieces[0] = torch.empty(0, dtype=torch.uint8)  # before there is a larger one
            self.pieces[0] = torch.empty(size, dtype=torch.uint8)
        return self.pieces[0][:size].view(dtype).view(1, height, width, channels).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class _Tile:
    """A part of a picture, in units of one or more pixels: what is wanted, and the halo that is needed for it.

    The halo ends where the picture does, of which `bounds` are height and width.
    """

    rows: range
    columns: range
    bounds: tuple[int, int]
    halo: int

    def core(self, scale: int = 1, origin: tuple[int, int] = (0, 0)) -> Region:
        """Where the result goes, in an array that begins at `origin`, with `scale` pixels to a unit."""
        return _scaled(self.rows, scale, origin[0]), _scaled(self.columns, scale, origin[1])

    def outer(self, scale: int = 1, origin: tuple[int, int] = (0, 0)) -> Region:
        """What goes into the network, in an array that begins at `origin`."""
        rows, columns = self._outer()
        return _scaled(rows, scale, origin[0]), _scaled(columns, scale, origin[1])

    def inner(self, scale: int = 1) -> Region:
        """Where the core lies in the network's output."""
        rows, columns = self._outer()
        return self.core(scale, (rows.start * scale, columns.start * scale))

    def cut(self, most: int) -> Iterator["_Tile"]:
        """Near-equal parts of at most `most` units. Beside a cut work is done twice: together they are short."""
        height, width = len(self.rows), len(self.columns)
        best, shortest = (1, 1), math.inf
        for i in range(1, height + 1):
            rows = -(-height // i)
            columns = min(width, most // rows)
            length = (i - 1) * width + (-(-width // columns) - 1) * height if columns else math.inf
            if length <= shortest:
                best, shortest = (rows, columns), length
        return self.split(*best)

    def split(self, height: int, width: int) -> Iterator["_Tile"]:
        """Near-equal parts of at most `height` x `width`."""
        for rows in _pieces(self.rows, height):
            for columns in _pieces(self.columns, width):
                yield replace(self, rows=rows, columns=columns)

    def _outer(self) -> tuple[range, range]:
        height, width = self.bounds
        return _widened(self.rows, self.halo, height), _widened(self.columns, self.halo, width)


def _plan(stages: Sequence[_Stage], shape: Sequence[int], wanted: Region) -> list[tuple[_Stage, _Tile]]:
    """Each of `stages` with what it has to make of an array of `shape` (H, W), so that the last makes what is wanted:
    the halo that a tile begins with is used up on the way, and not carried along."""
    height, width = shape
    bounds = []
    for stage in stages:
        height, width = height // stage.source, width // stage.source
        bounds.append((height, width))
        height, width = height * stage.target, width * stage.target
    plan: list[tuple[_Stage, _Tile]] = []
    for stage, bound in zip(reversed(stages), reversed(bounds), strict=True):
        rows, columns = (_covering(part, stage.target) for part in wanted)
        plan.append((stage, _Tile(rows, columns, bound, stage.halo)))
        wanted = plan[-1][1].outer(stage.source)
    return plan[::-1]


def _scaled(units: range, scale: int, origin: int = 0) -> slice:
    return slice(units.start * scale - origin, units.stop * scale - origin)


def _widened(units: range, halo: int, length: int) -> range:
    return range(max(units.start - halo, 0), min(units.stop + halo, length))


def _pieces(units: range, side: int) -> Iterator[range]:
    count = -(-len(units) // side)
    cuts = [units.start + round(i * len(units) / count) for i in range(count + 1)]
    return (range(a, b) for a, b in itertools.pairwise(cuts))


def _pixels(part: slice, length: int) -> range:
    """The stretch of one axis that a region asks for. ValueError where it is empty or has gaps."""
    pixels = range(length)[part]
    if not pixels or pixels.step != 1:
        raise ValueError(f"{part} is no stretch of {length} pixels")
    return pixels


def _covering(pixels: range | slice, side: int = STRIDE) -> range:
    """The units of `side` pixels that hold these pixels."""
    return range(pixels.start // side, -(-pixels.stop // side))


def between(progress: Progress | None, start: float, stop: float) -> Progress | None:
    """The progress of one part of a piece of work, told as progress of the whole."""
    if progress is None:
        return None
    return lambda share: progress(start + (stop - start) * share)
