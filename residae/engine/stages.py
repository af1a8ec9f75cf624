"""The network as stages, each of which runs in tiles that fit the cache of a CPU."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from residae.engine.blocks import FloatBlock, Int8Block, Layer, OutputLayer, fold_batchnorm, upsample
from residae.engine.onednn import Convolution
from residae.engine.precision import activation_dtype
from residae.engine.tiles import Region, Tile, covering
from residae.model import PreActResidualDecoder, PreActResidualEncoder
from residae.progress import Progress, raise_if_cancelled

MAX_STAGE_COLUMNS = 240  # pixels in a row of a stage's output: above 250, oneDNN's bfloat16 is up to three times slower
MAX_STAGE_TENSOR_BYTES = 28_000_000  # below glibc's 32 MiB mmap threshold, above which each allocation is zeroed anew


def build_encoder(network: PreActResidualEncoder, device: torch.device, dtype: torch.dtype) -> list["Stage"]:
    """Build the encoder's four stages, each of which halves height and width. The first includes the stem.

    Args:
        network: In eval mode; it is not changed.
        device: Where the stages run.
        dtype: float32, bfloat16 or, on a CPU, int8.

    Returns:
        The stages in the order in which they run.
    """
    block, dtype = (Int8Block if dtype == torch.int8 else FloatBlock), activation_dtype(dtype)
    convolution, norm, _ = network.stem
    stem = functools.partial(Convolution(fold_batchnorm(convolution, norm), device, dtype), relu=True)
    stages: list[list[Layer]] = [
        [block(each, device, dtype) for each in cast(nn.Sequential, stage)] for stage in network.stages
    ]
    stages[0].insert(0, stem)
    width = cast(nn.Conv2d, convolution).out_channels
    # An output pixel depends on 7 input pixels on each side, on 10 with the stem.
    return [
        Stage(layers, width << i, device, dtype, source=2, target=1, halo=4 if i else 5)
        for i, layers in enumerate(stages)
    ]


class DecoderLayers(NamedTuple):
    """The layers of a decoder: what builds them from those of the network.

    Attributes:
        convolution: From a 1x1 convolution, a device and a precision.
        upsample: From (1, C, h, w) to (1, C, 2h, 2w).
        block: From a `PreActResidualBlock`, a device and a precision.
        output: From the last convolution, a device and a precision; includes the sigmoid.
    """

    convolution: Callable[[nn.Conv2d, torch.device, torch.dtype], Layer]
    upsample: Layer
    block: Callable[[nn.Module, torch.device, torch.dtype], Layer]
    output: Callable[[nn.Conv2d, torch.device, torch.dtype], Layer]


def build_decoder(
    network: PreActResidualDecoder, device: torch.device, dtype: torch.dtype, build: DecoderLayers | None = None
) -> list["Stage"]:
    """Build the decoder's four stages, each of which doubles height and width. The last includes the output layer.

    The 1x1 convolution runs before the upsampling: the two commute, and there it has a quarter of the pixels. It is
    moved on to the end of the stage before, whose output then has fewer channels.

    Args:
        network: In eval mode; it is not changed.
        device: Where the stages run.
        dtype: float32, bfloat16 or, on a CPU, int8.
        build: What to build the layers with in place of those of inference; None for these.

    Returns:
        The stages in the order in which they run.
    """
    build = build or DecoderLayers(Convolution, upsample, Int8Block if dtype == torch.int8 else FloatBlock, OutputLayer)
    dtype = activation_dtype(dtype)
    convolutions: list[Layer] = []
    stages: list[list[Layer]] = []
    for stage in network.stages:
        _, convolution, norm, *blocks = list[nn.Module](cast(nn.Sequential, stage))
        convolutions.append(build.convolution(fold_batchnorm(convolution, norm), device, dtype))
        stages.append([build.upsample, *(build.block(each, device, dtype) for each in blocks)])
    first, *ends = convolutions
    stages[0].insert(0, first)
    for layers, end in zip(stages, [*ends, build.output(network.out, device, dtype)], strict=True):
        layers.append(end)
    *rest, last = stages
    width = network.out.in_channels
    # An output pixel depends on 4 pixels of the upsampled input on each side, on 7 with the output layer.
    return [
        *(Stage(layers, width << 3 - i, device, dtype, source=1, target=2, halo=3) for i, layers in enumerate(rest)),
        Stage(last, width, device, dtype, source=2, target=4, halo=2),
    ]


@dataclass(frozen=True)
class Stage:
    """Consecutive layers of the network, run in tiles that fit the cache of a CPU.

    Tiles are measured in units of `source` x `source` input pixels, from which `target` x `target` output pixels are
    computed.

    Attributes:
        layers: Each maps (1, C, H, W) to (1, C', H', W').
        channels: Channels at the higher of the two resolutions.
        device: Where the layers are.
        dtype: Precision of the tensors between layers.
        source: Side of a unit in input pixels.
        target: Side of a unit in output pixels.
        halo: Units on each side of a tile on which it depends.
    """

    layers: Sequence[Layer]
    channels: int
    device: torch.device
    dtype: torch.dtype
    source: int
    target: int
    halo: int

    def __call__(
        self, x: Tensor, origin: tuple[int, int], whole: Tile, buffers: "PingPongBuffers", progress: Progress | None
    ) -> Tensor:
        """Run the layers.

        Args:
            x: (1, C, H, W), on any device and in any precision: a part of the stage's input.
            origin: Row and column of the input at which `x` begins.
            whole: The units to compute.
            buffers: Memory for the result.
            progress: Called with the share done, in (0, 1]; it may raise to stop the work.

        Returns:
            (1, C', H', W'): the output pixels of `whole`, valid until the call after the next with these buffers.
        """
        tiles = list(whole.split(*self._sides())) if self.device.type == "cpu" else [whole]
        result: Tensor | None = None
        for number, tile in enumerate(tiles):
            outer = tile.outer(self.source, origin)
            part = x[:, :, *outer].to(self.device, self.dtype, memory_format=torch.channels_last)
            part = part.contiguous(memory_format=torch.channels_last)
            for done, layer in enumerate(self.layers, start=1):
                part = layer(part)
                raise_if_cancelled()
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
        """Rows and columns of a CPU's tiles, in units."""
        pixels = max(self.source, self.target) ** 2  # pixels of a unit at the higher of the two resolutions
        units = MAX_STAGE_TENSOR_BYTES // (self.channels * self.dtype.itemsize * pixels)
        columns = min(MAX_STAGE_COLUMNS // self.target, math.isqrt(units))
        rows = units // columns
        return max(1, rows - 2 * self.halo), max(1, columns - 2 * self.halo)


class PingPongBuffers:
    """Two alternating buffers for the tensors between stages, kept from tile to tile. One call of the engine owns them.

    The system zeroes an allocation of this size page by page, which took a tenth of an encoder's time.
    """

    def __init__(self) -> None:
        self.pieces = [torch.empty(0, dtype=torch.uint8)] * 2

    def empty(self, channels: int, height: int, width: int, dtype: torch.dtype) -> Tensor:
        """An uninitialized (1, C, H, W) in channels_last, valid until the call after the next.

        Args:
            channels: C.
            height: H, in pixels.
            width: W, in pixels.
            dtype: Of the result; it may differ from call to call.
        """
        self.pieces.reverse()
        size = channels * height * width * dtype.itemsize
        if len(self.pieces[0]) < size:
            self.pieces[0] = torch.empty(0, dtype=torch.uint8)  # frees the old one before the new one is allocated
            self.pieces[0] = torch.empty(size, dtype=torch.uint8)
        return self.pieces[0][:size].view(dtype).view(1, height, width, channels).permute(0, 3, 1, 2)


def plan_stages(stages: Sequence[Stage], shape: Sequence[int], wanted: Region) -> list[tuple[Stage, Tile]]:
    """Find the part of its output that each stage has to compute.

    Each stage computes only what the next one depends on, so that the halo shrinks on the way.

    Args:
        stages: In the order in which they run.
        shape: Height and width of the first stage's input.
        wanted: Rows and columns of the last stage's output.

    Returns:
        Each stage with its tile, in units of the stage.
    """
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
