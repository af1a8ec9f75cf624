"""Training pictures: decoded once, kept as bytes on the device, cut there."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from residae.errors import ImageError
from residae.image import open_picture, to_planes


class Crops:
    """Luma and chroma planes of a folder of pictures, as one flat run of bytes.

    pixels: (N,) uint8, every plane row by row; start, height, width: (P,) int64 of each plane.
    """

    def __init__(self, planes: Iterable[tuple[np.ndarray, bool]], device: torch.device | str = "cpu") -> None:
        """`planes` are pairs of an (H, W) uint8 array and whether it is luma."""
        pixels, shapes, luma = [], [], []
        for plane, is_luma in planes:
            pixels.append(plane.reshape(-1))
            shapes.append(plane.shape)
            luma.append(is_luma)
        if not any(luma):
            raise ImageError("There is no picture to train on in this folder.")
        sizes = torch.tensor(shapes, device=device)
        self.pixels = torch.from_numpy(np.concatenate(pixels)).to(device)
        self.height, self.width = sizes.unbind(1)
        self.start = torch.cat([sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]])
        self.luma = torch.tensor(luma, device=device)

    @classmethod
    def from_folder(cls, folder: str | Path, device: torch.device | str = "cpu") -> "Crops":
        """Read every picture below `folder`; files that are no picture are passed over."""
        return cls(_read_planes(Path(folder)), device)

    def draw(self, count: int, size: int, chroma_share: float, generator: torch.Generator) -> Tensor:
        """(count, 1, size, size) float32 in [0, 1]: random places, mirrored and transposed at random.

        Planes are drawn in proportion to their area, `chroma_share` of them from chroma. Where a plane is smaller
        than a crop it is continued by reflection. `generator` is a CPU generator, so that every device draws alike.
        """
        area = (self.height * self.width).double().cpu()
        luma = self.luma.cpu()
        wanted = torch.rand(count, generator=generator) >= chroma_share
        if luma.all():
            wanted[:] = True
        which = torch.stack(
            [torch.multinomial(area * (luma == kind), 1, generator=generator)[0] for kind in wanted.tolist()]
        )
        place = torch.rand(count, 2, generator=generator, dtype=torch.float64)
        flips = torch.randint(2, (count, 3), generator=generator, dtype=torch.bool)
        device = self.pixels.device
        which, place, flips = which.to(device), place.to(device), flips.to(device)
        height, width = self.height[which], self.width[which]
        rows = _reflected(place[:, 0], height, size, flips[:, 0])
        columns = _reflected(place[:, 1], width, size, flips[:, 1])
        index = self.start[which, None, None] + rows[:, :, None] * width[:, None, None] + columns[:, None, :]
        crops = self.pixels[index]
        crops = torch.where(flips[:, 2, None, None], crops.transpose(1, 2), crops)
        return crops[:, None].float() / 255


def _reflected(place: Tensor, length: Tensor, size: int, flip: Tensor) -> Tensor:
    """(B, size) positions along one axis of `length`, starting at `place` in [0, 1) of what room there is."""
    first = (place * (length - size + 1).clamp(min=1)).long()
    steps = torch.arange(size, device=place.device)
    steps = torch.where(flip[:, None], size - 1 - steps, steps)
    position = (first[:, None] + steps) % (2 * length[:, None])
    return torch.minimum(position, 2 * length[:, None] - 1 - position)


def _read_planes(folder: Path) -> Iterable[tuple[np.ndarray, bool]]:
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        try:
            picture = open_picture(path)
        except ImageError:
            continue
        planes = to_planes(picture, color=picture.pixels.ndim == 3)  # the chroma of a gray picture teaches nothing
        for plane, is_luma in zip(planes, (True, False, False), strict=False):
            yield np.rint(plane * 255).astype(np.uint8), is_luma
