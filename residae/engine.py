"""Run the network on planes of any size: the right device and precision, and tiles that change nothing.

In inference everything is local. A latent cell sees at most 108 pixels around its own 16 x 16, a pixel at most 5 cells
around its own. Tiles cut on multiples of 16 with that much context around them therefore give the answer of the whole
picture, to float rounding, and need no blending.
"""

import copy
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from residae.errors import OutOfMemoryError
from residae.model import STRIDE, ResidualAutoencoder

ENCODER_HALO = 112 // STRIDE  # cells; 108 pixels rounded up to whole cells
DECODER_HALO = 5  # cells
TILE = 1024 // STRIDE  # cells along each side of a tile, without its halo

Plane = NDArray[np.float32]  # (H, W) in [0, 1]
Latent = NDArray[np.float32]  # (C, H/16, W/16)
Progress = Callable[[float], None]  # is told the share of the work done, in (0, 1]
Region = tuple[slice, slice]  # rows and columns, in pixels
WHOLE: Region = (slice(None), slice(None))


class Engine:
    """The inference form of one network on one device.

    `device` is CUDA where there is one, else the CPU. `dtype` is the precision of the convolutions: bfloat16 where the
    device is faster in it, else float32. `tile` is the side of a tile in latent cells of 16 x 16 pixels. A progress
    callback may raise to stop the work.
    """

    def __init__(
        self,
        network: ResidualAutoencoder,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        tile: int = TILE,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype = dtype or preferred_dtype(self.device)
        self.tile = tile
        self.latent_channels = network.latent_channels
        self._encoder = [_prepared(layer, self.device, self.dtype) for layer in _encoder_layers(network)]
        self._decoder = [_prepared(layer, self.device, self.dtype) for layer in _decoder_layers(network)]

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
        height, width = plane.shape
        cells = latent_shape(height, width)
        padded = np.pad(plane, ((0, cells[0] * STRIDE - height), (0, cells[1] * STRIDE - width)), mode="edge")
        latent = np.empty((self.latent_channels, *cells), np.float32)
        tiles = list(_tiles(range(cells[0]), range(cells[1]), cells, self.tile, ENCODER_HALO))
        for done, tile in enumerate(tiles):
            part = padded[tile.rows.outer(STRIDE), tile.columns.outer(STRIDE)]
            result = self._run(self._encoder, part[None], _share(progress, done, len(tiles)))
            latent[:, tile.rows.core(), tile.columns.core()] = result[:, tile.rows.inner(), tile.columns.inner()]
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
        covering_rows, covering_columns = _covering(rows), _covering(columns)
        plane = np.empty((len(covering_rows) * STRIDE, len(covering_columns) * STRIDE), np.float32)
        top, left = covering_rows.start * STRIDE, covering_columns.start * STRIDE
        tiles = list(_tiles(covering_rows, covering_columns, cells, self.tile, DECODER_HALO))
        for done, tile in enumerate(tiles):
            part = latent[:, tile.rows.outer(), tile.columns.outer()]
            result = self._run(self._decoder, part, _share(progress, done, len(tiles)))
            target = plane[tile.rows.core(STRIDE, top), tile.columns.core(STRIDE, left)]
            target[:] = result[0, tile.rows.inner(STRIDE), tile.columns.inner(STRIDE)]
        return plane[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]

    @torch.inference_mode()
    def _run(
        self, layers: list[nn.Module], array: NDArray[np.float32], progress: Progress | None
    ) -> NDArray[np.float32]:
        """(C, H, W) through `layers`, one after the other."""
        with _memory_watched():
            x = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None].to(self.device, self.dtype)
            x = x.contiguous(memory_format=torch.channels_last)
            for done, layer in enumerate(layers, start=1):
                x = layer(x)
                if progress:
                    progress(done / len(layers))
            return cast(NDArray[np.float32], x[0].float().cpu().numpy())


@contextmanager
def _memory_watched() -> Iterator[None]:
    """Memory that runs out as one error: on a GPU torch has a class for it, on a CPU only words."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise OutOfMemoryError(
                "The picture takes more memory than there is: try a smaller working size."
            ) from error
        raise


def latent_shape(height: int, width: int) -> tuple[int, int]:
    """Cells (h, w) that cover `height` x `width` pixels."""
    return -(-height // STRIDE), -(-width // STRIDE)


def preferred_dtype(device: torch.device) -> torch.dtype:
    """The precision in which `device` convolves fastest at no visible loss: bfloat16 or float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if _cpu_prefers_bfloat16() else torch.float32


@functools.cache
def _cpu_prefers_bfloat16() -> bool:
    """With AMX, bfloat16 is several times faster than float32. Without, it is measured, since having the instructions
    does not tell: with AVX512-BF16 alone it can be half as fast."""
    built_in: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # not so on a Mac
    if not built_in or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if hasattr(torch.cpu, "get_capabilities") and torch.cpu.get_capabilities().get("amx_bf16"):  # not in 2.8
        return True

    def seconds(dtype: torch.dtype) -> float:
        x = torch.zeros(1, 128, 64, 64, dtype=dtype).contiguous(memory_format=torch.channels_last)
        kernel = torch.zeros(128, 128, 3, 3, dtype=dtype)
        times = []
        for _ in range(4):
            start = time.perf_counter()
            F.conv2d(x, kernel, padding=1)
            times.append(time.perf_counter() - start)
        return min(times)

    with torch.inference_mode():
        return seconds(torch.bfloat16) < 0.8 * seconds(torch.float32)


def _encoder_layers(network: ResidualAutoencoder) -> list[nn.Module]:
    encoder = copy.deepcopy(network.encoder).eval()
    convolution, norm, relu = encoder.stem
    blocks = [_fused_block(block) for stage in encoder.stages for block in cast(nn.Sequential, stage)]
    return [nn.Sequential(_fused(convolution, norm), relu), *blocks]


def _decoder_layers(network: ResidualAutoencoder) -> list[nn.Module]:
    """The 1x1 convolution goes before the upsampling: they commute, and it has a quarter of the pixels there."""
    decoder = copy.deepcopy(network.decoder).eval()
    layers: list[nn.Module] = []
    for stage in decoder.stages:
        upsample, convolution, norm, *blocks = cast(nn.Sequential, stage)
        first, *rest = (_fused_block(block) for block in blocks)
        layers += [nn.Sequential(_fused(convolution, norm), upsample, first), *rest]
    return [*layers, nn.Sequential(_InFloat32(decoder.out), nn.Sigmoid())]


def _fused_block(block: nn.Module) -> nn.Module:
    """Fold the second BatchNorm into the convolution before it. The first stays: the shortcut needs its raw input."""
    block.conv1 = _fused(cast(nn.Module, block.conv1), cast(nn.Module, block.bn2))
    block.bn2 = nn.Identity()
    block.relu = nn.ReLU(inplace=True)
    return block


def _fused(convolution: nn.Module, norm: nn.Module) -> nn.Conv2d:
    return fuse_conv_bn_eval(cast(nn.Conv2d, convolution), cast(nn.BatchNorm2d, norm))


class _InFloat32(nn.Module):
    """The last convolution in float32: bfloat16 would leave 8 bits for the pixel before it is even rounded."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.layer(x.float()))


def _prepared(layer: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """On the device; convolutions in `dtype`, BatchNorm and the output layer in float32."""
    layer = layer.to(device)
    exempt = {id(m) for outer in layer.modules() if isinstance(outer, _InFloat32) for m in outer.modules()}
    for module in layer.modules():
        if isinstance(module, nn.Conv2d):
            module.to(dtype if id(module) not in exempt else torch.float32)
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return layer


@dataclass(frozen=True)
class _Span:
    """One axis of a tile, in cells: its core, and the outer stretch that the network is shown."""

    core_start: int
    core_stop: int
    outer_start: int
    outer_stop: int

    def core(self, scale: int = 1, origin: int = 0) -> slice:
        """Where the result goes, in an array that begins at `origin`."""
        return slice(self.core_start * scale - origin, self.core_stop * scale - origin)

    def outer(self, scale: int = 1) -> slice:
        """What goes into the network."""
        return slice(self.outer_start * scale, self.outer_stop * scale)

    def inner(self, scale: int = 1) -> slice:
        """Where the core lies in the network's output."""
        return slice((self.core_start - self.outer_start) * scale, (self.core_stop - self.outer_start) * scale)


@dataclass(frozen=True)
class _Tile:
    rows: _Span
    columns: _Span


def _spans(wanted: range, length: int, tile: int, halo: int) -> list[_Span]:
    """Near-equal pieces of the wanted cells, each of at most `tile`; halos end where the picture, of `length`, ends."""
    count = -(-len(wanted) // tile)
    cuts = [wanted.start + round(i * len(wanted) / count) for i in range(count + 1)]
    return [_Span(a, b, max(a - halo, 0), min(b + halo, length)) for a, b in itertools.pairwise(cuts)]


def _tiles(rows: range, columns: range, cells: tuple[int, int], tile: int, halo: int) -> Iterator[_Tile]:
    for row_span in _spans(rows, cells[0], tile, halo):
        for column_span in _spans(columns, cells[1], tile, halo):
            yield _Tile(row_span, column_span)


def _pixels(part: slice, length: int) -> range:
    """The stretch of one axis that a region asks for. ValueError where it is empty or has gaps."""
    pixels = range(length)[part]
    if not pixels or pixels.step != 1:
        raise ValueError(f"{part} is no stretch of {length} pixels")
    return pixels


def _covering(pixels: range) -> range:
    """The cells that hold these pixels."""
    return range(pixels.start // STRIDE, -(-pixels.stop // STRIDE))


def _share(progress: Progress | None, done: int, total: int) -> Progress | None:
    """Progress within one of `total` equal parts, as progress of the whole."""
    if progress is None:
        return None
    return lambda share: progress((done + share) / total)
