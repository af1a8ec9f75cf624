"""Run the network on planes of any size: the right device and precision, and tiles that change nothing.

In inference everything is local. A latent cell sees at most 108 pixels around its own 16 x 16, a pixel at most 5 cells
around its own. Tiles cut on multiples of 16 with that much context around them therefore give the answer of the whole
picture, to float rounding, and need no blending. The same holds of each stage, with a few pixels of context: on a CPU a
tile is cut once more at each stage, so that the widest layers fit into the cache and take little memory.
"""

import copy
from collections.abc import Callable
from typing import cast

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from residae.engine.precision import activation_dtype, default_device, has_fast_int8, preferred_dtype, preferred_float
from residae.engine.stages import PingPongBuffers, Stage, build_decoder, build_encoder, plan_stages
from residae.engine.tiles import WHOLE, Region, Tile, covering, pixel_range
from residae.errors import OutOfMemoryError, ResidaeError, translate_oom
from residae.geometry import STRIDE, grid_shape
from residae.model import ResidualAutoencoder
from residae.progress import Progress, between

ENCODER_HALO = 112 // STRIDE  # cells; 108 pixels rounded up to whole cells
DECODER_HALO = 5  # cells
MAX_TILE_BYTES = 2**30  # bytes that a tile may take between two stages
Plane = NDArray[np.float32]  # (H, W) in [0, 1]
Latent = NDArray[np.float32]  # (C, H/16, W/16)


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
        if dtype == torch.int8 and not has_fast_int8(self.device):
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
        self._encoder = build_encoder(network.encoder, self.device, dtype)
        self._decoder = build_decoder(network.decoder, self.device, dtype)

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
        cells = grid_shape(*plane.shape)
        latent = np.empty((self.latent_channels, *cells), np.float32)
        buffers = PingPongBuffers()

        def compute(tile: Tile, told: Progress | None) -> None:
            part = plane[tile.outer(STRIDE)]
            missing = [(0, -length % STRIDE) for length in part.shape]  # only where the picture ends within a cell
            padded = np.pad(part, missing, mode="edge")
            latent[:, *tile.core()] = self._run(self._encoder, padded[None], tile.inner(), buffers, told)

        self._in_tiles(compute, Tile(range(cells[0]), range(cells[1]), cells, ENCODER_HALO), progress)
        return latent

    def decode(
        self, latent: Latent, height: int, width: int, progress: Progress | None = None, region: Region = WHOLE
    ) -> Plane:
        """Latent (C, ceil(height/16), ceil(width/16)) -> plane (height, width) float32 in [0, 1].

        With a region, those rows and columns of that plane alone, from no more cells than they depend on.
        """
        cells = grid_shape(height, width)
        if latent.shape != (self.latent_channels, *cells):
            raise ValueError(f"a {height} x {width} plane has no latent of shape {latent.shape}")
        rows, columns = pixel_range(region[0], height), pixel_range(region[1], width)
        whole = Tile(covering(rows), covering(columns), cells, DECODER_HALO)
        top, left = whole.rows.start * STRIDE, whole.columns.start * STRIDE
        plane = np.empty((len(whole.rows) * STRIDE, len(whole.columns) * STRIDE), np.float32)
        buffers = PingPongBuffers()

        def compute(tile: Tile, told: Progress | None) -> None:
            part = self._run(self._decoder, latent[:, *tile.outer()], tile.inner(STRIDE), buffers, told)
            plane[tile.core(STRIDE, (top, left))] = part[0]

        self._in_tiles(compute, whole, progress)
        return plane[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]

    def _in_tiles(
        self, compute: Callable[["Tile", Progress | None], None], whole: "Tile", progress: Progress | None
    ) -> None:
        """`compute` each tile of the whole. Where a GPU's memory does not suffice, go on with tiles half as large."""
        waiting = list(whole.split(self.tile, self.tile) if self.tile else whole.cut(self._most_cells()))
        done, total = 0, len(whole.rows) * len(whole.columns)
        while waiting:
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
        values = 192 * self._width  # of the two largest tensors between stages, for each cell: the encoder's first two
        if self.on_gpu:
            reserved = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            memory = 0.8 * (torch.cuda.mem_get_info(self.device)[0] + reserved)
            values += 4 * STRIDE**2 * self._width  # the widest layer, what it makes, and what its kernels need
        else:
            memory = min(MAX_TILE_BYTES, psutil.virtual_memory().available / 3)
        return max(1, int(memory / (values * activation_dtype(self.dtype).itemsize)))

    @torch.inference_mode()
    def _run(
        self,
        stages: list["Stage"],
        array: NDArray[np.float32],
        wanted: Region,
        buffers: "PingPongBuffers",
        progress: Progress | None,
    ) -> NDArray[np.float32]:
        """(C, H, W) through `stages`, one after the other -> what is wanted of (C', H', W'), good until the next run
        in the same memory."""
        x = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None]
        origin = (0, 0)
        for done, (stage, tile) in enumerate(plan_stages(stages, array.shape[1:], wanted)):
            x = stage(x, origin, tile, buffers, between(progress, done / len(stages), (done + 1) / len(stages)))
            origin = tile.rows.start * stage.target, tile.columns.start * stage.target
        return cast(NDArray[np.float32], x[0].float().cpu().numpy())
