"""Run the network on planes of any size, in tiles that give the result of the whole plane.

In inference every layer is local. A latent cell depends on at most 108 pixels around its own 16 x 16, a pixel on at
most 5 cells around its own. Tiles that are cut on multiples of 16, with a halo of that size, therefore give the result
of the whole plane to float rounding, without blending. The same holds for each stage with a halo of a few pixels: on a
CPU, each stage cuts a tile into smaller ones, so that the widest layers fit the cache and take little memory.
"""

import copy
from collections.abc import Callable
from typing import cast

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from residae.arrays import Latent, Plane
from residae.engine.precision import activation_dtype, parse_device, parse_dtype, preferred_float
from residae.engine.stages import PingPongBuffers, Stage, build_decoder, build_encoder, plan_stages
from residae.engine.tiles import WHOLE, Region, Tile, covering, pixel_range
from residae.errors import OutOfMemoryError, translate_oom
from residae.geometry import STRIDE, grid_shape
from residae.malloc import release_free_memory
from residae.model import ResidualAutoencoder
from residae.progress import Progress, between

ENCODER_HALO = 112 // STRIDE  # cells; 108 pixels rounded up to whole cells
DECODER_HALO = 5  # cells
MAX_TILE_BYTES = 2**30  # of a tile's tensors between two stages, on a CPU
MAX_INT8_LOSS = 0.1  # dB


class Engine:
    """The inference form of a network on one device. Any number of threads may use it at once.

    Args:
        network: On any device; it is copied and left as it is.
        device: Such as `cpu` or `cuda`; CUDA where there is one if it is None.
        dtype: Precision of the convolutions: `float32`, `bfloat16` or `int8`, or the torch dtype of that name. If it is
            None, what the processor is fastest in: int8 on CPUs with VNNI and without AMX, bfloat16 where the hardware
            multiplies it, else float32. int8 is for the residual blocks alone, and their sums and all other layers are
            in bfloat16 or float32; unless asked for, it is not used with a network that loses quality by it.
        tile: Side of a tile in latent cells of 16 x 16 pixels; as large as the free memory allows if it is None.

    Raises:
        ResidaeError: There is no such device or precision, or the device cannot compute in this precision.
    """

    def __init__(
        self,
        network: ResidualAutoencoder,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        tile: int | None = None,
    ) -> None:
        self.device = parse_device(device)
        self.tile = tile
        self.latent_channels = network.latent_channels
        self._width = network.base_channels
        # BatchNorm is folded on the CPU; each layer goes to the device in its inference form.
        network = copy.deepcopy(network).to("cpu", torch.float32).eval()
        self._prepare(network, parse_dtype(dtype, self.device))
        if dtype is None and self.dtype == torch.int8 and not self._is_as_good_as(network):
            self._prepare(network, preferred_float(self.device))

    @torch.inference_mode()
    def _prepare(self, network: ResidualAutoencoder, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._encoder = build_encoder(network.encoder, self.device, dtype)
        self._decoder = build_decoder(network.decoder, self.device, dtype)

    @torch.inference_mode()
    def _is_as_good_as(self, network: ResidualAutoencoder) -> bool:
        """Whether a plane of waves and edges loses less than MAX_INT8_LOSS against the plain module.

        int8 takes the range of each channel from the statistics of BatchNorm, which other weights may not keep to.
        """
        y, x = np.mgrid[:96, :96].astype(np.float32)
        plane = (0.5 + 0.25 * np.sin(x * y / 300) + 0.25 * np.sign(np.sin(y / 7) * np.cos((x + y) / 13))).clip(0, 1)
        plain = network(torch.from_numpy(plane)[None, None])[0][0, 0].numpy()
        ours = self.decode(self.encode(plane), *plane.shape)
        limit = 10 ** (MAX_INT8_LOSS / 10)
        return bool(np.mean((ours - plane) ** 2) < limit * np.mean((plain - plane) ** 2))

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def description(self) -> str:
        """Device and precision, such as `CPU, float32`."""
        name = torch.cuda.get_device_name(self.device) if self.on_gpu else "CPU"
        return f"{name}, {str(self.dtype).removeprefix('torch.')}"

    def encode(self, plane: Plane, progress: Progress | None = None) -> Latent:
        """Encode a plane. It is padded to multiples of 16 by repeating its last row and column.

        Args:
            plane: (H, W) float32 in [0, 1], of any size.
            progress: Called with the share done, in (0, 1]; it may raise to stop the work.

        Returns:
            The latent, (C, ceil(H/16), ceil(W/16)) float32, unbounded.

        Raises:
            OutOfMemoryError: The device has not enough memory even for the smallest tile.
        """
        cells = grid_shape(*plane.shape)
        latent = np.empty((self.latent_channels, *cells), np.float32)
        buffers = PingPongBuffers()

        def compute(tile: Tile, progress: Progress | None) -> None:
            part = plane[tile.outer(STRIDE)]
            padding = [(0, -length % STRIDE) for length in part.shape]  # only where the plane ends within a cell
            padded = np.pad(part, padding, mode="edge")
            latent[:, *tile.core()] = self._run(self._encoder, padded[None], tile.inner(), buffers, progress)

        self._in_tiles(compute, Tile(range(cells[0]), range(cells[1]), cells, ENCODER_HALO), progress)
        return latent

    def decode(
        self, latent: Latent, height: int, width: int, progress: Progress | None = None, region: Region = WHOLE
    ) -> Plane:
        """Decode a latent.

        Args:
            latent: (C, ceil(height/16), ceil(width/16)) float32.
            height: Of the plane, in pixels.
            width: Of the plane, in pixels.
            progress: Called with the share done, in (0, 1]; it may raise to stop the work.
            region: Rows and columns to decode, from no more cells than they depend on.

        Returns:
            The plane, (height, width) float32 in [0, 1], or the region of it.

        Raises:
            ValueError: The latent has another shape, or the region is empty or has gaps.
            OutOfMemoryError: The device has not enough memory even for the smallest tile.
        """
        cells = grid_shape(height, width)
        if latent.shape != (self.latent_channels, *cells):
            raise ValueError(f"a {height} x {width} plane has no latent of shape {latent.shape}")
        rows, columns = pixel_range(region[0], height), pixel_range(region[1], width)
        whole = Tile(covering(rows), covering(columns), cells, DECODER_HALO)
        top, left = whole.rows.start * STRIDE, whole.columns.start * STRIDE
        plane = np.empty((len(whole.rows) * STRIDE, len(whole.columns) * STRIDE), np.float32)
        buffers = PingPongBuffers()

        def compute(tile: Tile, progress: Progress | None) -> None:
            part = self._run(self._decoder, latent[:, *tile.outer()], tile.inner(STRIDE), buffers, progress)
            plane[tile.core(STRIDE, (top, left))] = part[0]

        self._in_tiles(compute, whole, progress)
        return plane[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]

    def _in_tiles(
        self, compute: Callable[[Tile, Progress | None], None], whole: Tile, progress: Progress | None
    ) -> None:
        """Call `compute` for each tile of `whole`. When a GPU runs out of memory, go on with tiles of half the side."""
        waiting = list(whole.split(self.tile, self.tile) if self.tile else whole.cut(self._most_cells()))
        done, total = 0, len(whole.rows) * len(whole.columns)
        while waiting:
            release_free_memory()
            tile = waiting[0]
            cells = len(tile.rows) * len(tile.columns)
            try:
                with translate_oom():
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
        values = 192 * self._width  # per cell, of the two largest tensors between stages: the encoder's first two
        if self.on_gpu:
            reserved = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            memory = 0.8 * (torch.cuda.mem_get_info(self.device)[0] + reserved)
            values += 4 * STRIDE**2 * self._width  # input, output and workspace of the widest layer
        else:
            memory = min(MAX_TILE_BYTES, psutil.virtual_memory().available / 3)
        return max(1, int(memory / (values * activation_dtype(self.dtype).itemsize)))

    @torch.inference_mode()
    def _run(
        self,
        stages: list[Stage],
        array: NDArray[np.float32],
        wanted: Region,
        buffers: PingPongBuffers,
        progress: Progress | None,
    ) -> NDArray[np.float32]:
        """Run `stages` on (C, H, W).

        The result is `wanted` of (C', H', W'), and valid until the next run with these buffers.
        """
        x = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None]
        origin = (0, 0)
        for done, (stage, tile) in enumerate(plan_stages(stages, array.shape[1:], wanted)):
            x = stage(x, origin, tile, buffers, between(progress, done / len(stages), (done + 1) / len(stages)))
            origin = tile.rows.start * stage.target, tile.columns.start * stage.target
        return cast(NDArray[np.float32], x[0].float().cpu().numpy())
