"""Training pictures: decoded once, kept as bytes on the device, and cropped there."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from residae.codec import PLANES
from residae.errors import ImageError
from residae.image import Pixels, open_picture, read_picture, to_planes
from residae.resample import taps


class Crops:
    """The luma and chroma planes of a folder of pictures, from which random crops are drawn.

    Attributes:
        pixels: (N,) uint8, the samples of every plane, row by row.
        start: (P,) int64, where each plane begins in `pixels`.
        height: (P,) int64, rows of each plane.
        width: (P,) int64, columns of each plane.
        plane: (P,) int64 on the CPU, what each plane is: an index of `residae.codec.PLANES`.
    """

    def __init__(self, planes: Iterable[tuple[Pixels, int]], device: torch.device | str = "cpu") -> None:
        """Copy planes to a device.

        Args:
            planes: Pairs of an (H, W) uint8 array and an index of `residae.codec.PLANES`.
            device: Where crops are drawn.

        Raises:
            ImageError: None of the planes is luma.
        """
        pixels, shapes, indices = [], [], []
        for samples, index in planes:
            pixels.append(samples.reshape(-1))
            shapes.append(samples.shape)
            indices.append(index)
        if 0 not in indices:
            raise ImageError("There is no picture to train on in this folder.")
        sizes = torch.tensor(shapes, device=device)
        self.pixels = torch.from_numpy(np.concatenate(pixels)).to(device)
        self.height, self.width = sizes.unbind(1)
        self.start = torch.cat([sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]])
        self.plane = torch.tensor(indices)
        area = self.height.double().cpu() * self.width.cpu()
        luma, *chroma = (area * (self.plane == index) for index in range(len(PLANES)))
        sums = torch.stack([luma, *(areas if areas.any() else luma for areas in chroma)]).cumsum(1)
        self._shares = sums / sums[:, -1:]

    @classmethod
    def from_folder(cls, folder: str | Path, device: torch.device | str = "cpu") -> "Crops":
        """Read every picture below `folder`; files that are not pictures are skipped.

        Args:
            folder: Searched through all its folders.
            device: Where the pixels are kept, and crops drawn.

        Returns:
            Crops of all the pictures' planes.

        Raises:
            ImageError: There is no picture.
        """
        with ThreadPoolExecutor() as pool:
            read = pool.map(_read_planes, list_files(folder))
            return cls(((samples, index) for planes in read for index, samples in enumerate(planes)), device)

    def draw_planes(self, count: int, chroma_share: float, generator: torch.Generator) -> Tensor:
        """Draw random indices of `residae.codec.PLANES`.

        Args:
            count: Number of indices.
            chroma_share: Probability of Cb or Cr, 0 to 1.
            generator: On the CPU.

        Returns:
            (count,) int64 on the CPU: 0 for Y, 1 for Cb, 2 for Cr.
        """
        chroma = torch.rand(count, generator=generator) < chroma_share
        planes = torch.randint(1, len(PLANES), (count,), generator=generator)
        return torch.where(chroma, planes, 0)

    def draw(
        self,
        planes: Tensor,
        size: int,
        generator: torch.Generator,
        scaled_share: float = 0.0,
        max_scale: float = 1.0,
    ) -> Tensor:
        """Draw random crops, mirrored and transposed at random.

        Planes are drawn in proportion to their area; luma stands in where there is no chroma. A plane smaller than a
        crop is continued by reflection. An enlarged crop is a smaller one of a picture's own pixels, resampled as the
        codec enlarges whole pictures.

        Args:
            planes: (B,) int64 indices of `residae.codec.PLANES`.
            size: Side of the crops, in pixels.
            generator: On the CPU, so that every device draws the same crops.
            scaled_share: Probability with which a crop is enlarged.
            max_scale: Largest factor; factors are uniform in their logarithm.

        Returns:
            (B, 1, size, size) float32 in [0, 1].
        """
        count, device = len(planes), self.pixels.device
        share = torch.rand(count, 1, generator=generator, dtype=torch.float64)
        which = torch.searchsorted(self._shares[planes], share, right=True)[:, 0]
        place = torch.rand(count, 2, generator=generator, dtype=torch.float64)
        flips = torch.randint(2, (count, 3, 1, 1), generator=generator, dtype=torch.bool)
        chance = torch.rand(count, 2, generator=generator, dtype=torch.float64)
        scale = torch.where(chance[:, 0] < scaled_share, max_scale ** chance[:, 1], 1.0)
        side = (size / scale).round().long()  # of the crop before it is enlarged

        # A copy that is not awaited: otherwise all work of a GPU would end before the next begins.
        which, place, flips, side = (tensor.to(device, non_blocking=True) for tensor in (which, place, flips, side))
        height, width = self.height[which], self.width[which]
        rows = _reflected_positions(place[:, 0], height, side, size)
        columns = _reflected_positions(place[:, 1], width, side, size)
        index = self.start[which, None, None] + rows[:, :, None] * width[:, None, None] + columns[:, None, :]
        crops = self.pixels[index].float() / 255
        if scaled_share:
            shortest = round(size / max_scale)
            weights = _enlarging_matrices(shortest, size, device)[side - shortest]
            enlarged = (weights @ crops @ weights.transpose(1, 2)).clamp(0, 1)
            crops = torch.where((side < size)[:, None, None], enlarged, crops)
        crops = torch.where(flips[:, 0], crops.flip(1), crops)
        crops = torch.where(flips[:, 1], crops.flip(2), crops)
        crops = torch.where(flips[:, 2], crops.transpose(1, 2), crops)
        return crops[:, None]


@cache
def _enlarging_matrices(shortest: int, size: int, device: torch.device) -> Tensor:
    """(N, size, size) float32 that take the first `shortest`, .. `size` samples of an axis to `size`, by `resample`."""
    matrices = np.zeros((size - shortest + 1, size, size), np.float32)
    for length, matrix in enumerate(matrices, start=shortest):
        first, weights = taps(length, size)
        np.put_along_axis(matrix, first[:, None] + np.arange(weights.shape[1]), weights.astype(np.float32), 1)
    return torch.from_numpy(matrices).to(device)


def list_files(folder: str | Path) -> list[Path]:
    """Every file below `folder`, in order of path.

    Args:
        folder: Searched through all its folders.
    """
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def choose_pictures(folder: str | Path, count: int | None = None) -> list[Path]:
    """Choose pictures evenly from those below `folder`, in order of path.

    Args:
        folder: Searched through all its folders. Files of other kinds, such as a description beside each picture, do
            not count; where a damaged picture would be chosen, the choice is repeated without it.
        count: How many; all where there are fewer, or if it is None.

    Returns:
        Paths of pictures that open.

    Raises:
        ImageError: There is no picture.
    """
    paths = [path for path in list_files(folder) if _succeeds(read_picture, path)]
    while paths:
        number = len(paths) if count is None else min(count, len(paths))
        chosen = [paths[i * len(paths) // number] for i in range(number)]
        damaged = {path for path in chosen if not _succeeds(open_picture, path)}
        if not damaged:
            return chosen
        paths = [path for path in paths if path not in damaged]
    raise ImageError(f"There is no picture in {folder}.")


def _succeeds(open_file: Callable[[Path], object], path: Path) -> bool:
    try:
        open_file(path)
    except ImageError:
        return False
    return True


def _reflected_positions(place: Tensor, length: Tensor, side: Tensor, count: int) -> Tensor:
    """(B, count) positions along an axis of `length`, for crops of `side` at `place` in [0, 1) of where they fit."""
    first = (place * (length - side + 1).clamp(min=1)).long()
    position = (first[:, None] + torch.arange(count, device=place.device)) % (2 * length[:, None])
    return torch.minimum(position, 2 * length[:, None] - 1 - position)


def _read_planes(path: Path) -> Sequence[Pixels]:
    """The planes of a picture as uint8: Y, or Y, Cb and Cr if it has color; none if it does not open."""
    try:
        picture = open_picture(path)
    except ImageError:
        return []
    return [np.rint(plane * 255).astype(np.uint8) for plane in to_planes(picture, picture.color)]
