"""The network as stages, each of which runs in tiles that fit the cache of a CPU."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from residae.engine.blocks import FloatBlock, Int8Block, Layer, OutputLayer, fold_batchnorm, upsample
from residae.engine.onednn import Convolution
from residae.engine.precision import activation_dtype
from residae.engine.tiles import Region, Tile, covering
from residae.model import PreActResidualDecoder, PreActResidualEncoder
from residae.progress import Progress

MAX_STAGE_COLUMNS = 240  # that a stage makes at once: beyond 250, oneDNN's bfloat16 is slower, three times at its worst
MAX_STAGE_TENSOR_BYTES = (
    28 * 10**6
)  # of one of its tensors: 32 MiB and more come fresh from the system each time, page by page


def build_encoder(network: PreActResidualEncoder, device: torch.device, dtype: torch.dtype) -> list["Stage"]:
    """Four stages, each halving height and width; the stem belongs to the first."""
    block, dtype = (Int8Block if dtype == torch.int8 else FloatBlock), activation_dtype(dtype)
    convolution, norm, _ = network.stem
    stem = functools.partial(Convolution(fold_batchnorm(convolution, norm), device, dtype), relu=True)
    stages: list[list[Layer]] = [
        [block(each, device, dtype) for each in cast(nn.Sequential, stage)] for stage in network.stages
    ]
    stages[0].insert(0, stem)
    width = cast(nn.Conv2d, convolution).out_channels
    # 7 of the pixels that a stage is given matter on each side of one that it makes, 10 with the stem.
    return [
        Stage(layers, width << i, device, dtype, source=2, target=1, halo=4 if i else 5)
        for i, layers in enumerate(stages)
    ]


def build_decoder(network: PreActResidualDecoder, device: torch.device, dtype: torch.dtype) -> list["Stage"]:
    """Four stages, each doubling height and width; the output belongs to the last.

    The 1x1 convolution goes before the upsampling: they commute, and it has a quarter of the pixels there. From there
    it goes on to the end of the stage before, which then has less to hand over.
    """
    block, dtype = (Int8Block if dtype == torch.int8 else FloatBlock), activation_dtype(dtype)
    convolutions: list[Layer] = []
    stages: list[list[Layer]] = []
    for stage in network.stages:
        _, convolution, norm, *blocks = list[nn.Module](cast(nn.Sequential, stage))
        convolutions.append(Convolution(fold_batchnorm(convolution, norm), device, dtype))
        stages.append([upsample, *(block(each, device, dtype) for each in blocks)])
    first, *ends = convolutions
    stages[0].insert(0, first)
    for layers, end in zip(stages, [*ends, cast(Layer, OutputLayer(network.out, device, dtype))], strict=True):
        layers.append(end)
    *rest, last = stages
    width = network.out.in_channels
    # 4 of the pixels that a stage makes matter on each side of one, 7 before the output.
    return [
        *(Stage(layers, width << 3 - i, device, dtype, source=1, target=2, halo=3) for i, layers in enumerate(rest)),
        Stage(last, width, device, dtype, source=2, target=4, halo=2),
    ]


@dataclass(frozen=True)
class Stage:
    """Layers that take `source` pixels for each `target` that they make, and look `halo` times as many further."""

    layers: Sequence[Layer]
    channels: int  # at the higher of its two resolutions
    device: torch.device
    dtype: torch.dtype
    source: int
    target: int
    halo: int

    def __call__(
        self, x: Tensor, origin: tuple[int, int], whole: "Tile", buffers: "PingPongBuffers", progress: Progress | None
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
                result = buffers.empty(part.shape[1], height, width, part.dtype)
            corner = whole.rows.start * self.target, whole.columns.start * self.target
            result[:, :, *tile.core(self.target, corner)] = part
        return cast(Tensor, result)

    def _sides(self) -> tuple[int, int]:
        """Rows and columns of the tiles that suit a CPU, in units."""
        pixels = max(self.source, self.target) ** 2  # of a unit, at the higher of the two resolutions
        units = MAX_STAGE_TENSOR_BYTES // (self.channels * self.dtype.itemsize * pixels)
        columns = min(MAX_STAGE_COLUMNS // self.target, math.isqrt(units))
        rows = units // columns
        return max(1, rows - 2 * self.halo), max(1, columns - 2 * self.halo)


class PingPongBuffers:
    """Memory for what one stage hands to the next, in two pieces that take buffers and are kept from tile to tile: what
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


def plan_stages(stages: Sequence[Stage], shape: Sequence[int], wanted: Region) -> list[tuple[Stage, Tile]]:
    """Each of `stages` with what it has to make of an array of `shape` (H, W), so that the last makes what is wanted:
    the halo that a tile begins with is used up on the way, and not carried along."""
    height, width = shape
    bounds = []
    for stage in stages:
        height, width = height // stage.source, width // stage.source
        bounds.append((height, width))
        height, width = height * stage.target, width * stage.target
    plan: list[tuple[Stage, Tile]] = []
    for stage, bound in zip(reversed(stages), reversed(bounds), strict=True):
        rows, columns = (covering(part, stage.target) for part in wanted)
        plan.append((stage, Tile(rows, columns, bound, stage.halo)))
        wanted = plan[-1][1].outer(stage.source)
    return plan[::-1]
