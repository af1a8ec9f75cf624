"""Training pictures: decoded once, kept as bytes on the device, cut there."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from residae.codec.tables import PLANES
from residae.errors import ImageError
from residae.image import open_picture, to_planes


class Crops:
    """Luma and chroma planes of a folder of pictures, as one flat run of bytes.

    pixels: (N,) uint8, every plane row by row; start, height, width, kind: (P,) int64 of each plane.
    """

    def __init__(self, planes: Iterable[tuple[np.ndarray, int]], device: torch.device | str = "cpu") -> None:
        """`planes` are pairs of an (H, W) uint8 array and its kind, an index of `residae.codec.PLANES`."""
        pixels, shapes, kinds = [], [], []
        for plane, kind in planes:
            pixels.append(plane.reshape(-1))
            shapes.append(plane.shape)
            kinds.append(kind)
        if 0 not in kinds:
            raise ImageError("There is no picture to train on in this folder.")
        sizes = torch.tensor(shapes, device=device)
        self.pixels = torch.from_numpy(np.concatenate(pixels)).to(device)
        self.height, self.width = sizes.unbind(1)
        self.start = torch.cat([sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]])
        self.kind = torch.tensor(kinds)
        area = self.height.double().cpu() * self.width.cpu()
        luma, *chroma = (area * (self.kind == kind) for kind in range(len(PLANES)))
        self._areas = [luma, *(areas if areas.any() else luma for areas in chroma)]

    @classmethod
    def from_folder(cls, folder: str | Path, device: torch.device | str = "cpu") -> "Crops":
        """Read every picture below `folder`; files that are no picture are passed over."""
        return cls(_read_planes(Path(folder)), device)

    def draw_kinds(self, count: int, chroma_share: float, generator: torch.Generator) -> Tensor:
        """(count,) int64 kinds of planes, `chroma_share` of them Cb or Cr."""
        chroma = torch.rand(count, generator=generator) < chroma_share
        kinds = torch.randint(1, len(PLANES), (count,), generator=generator)
        return torch.where(chroma, kinds, 0)

    def draw(self, kinds: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """(B, 1, size, size) float32 in [0, 1] of planes of `kinds` (B,): random places, mirrored and transposed at
        random.

        Planes of a kind are drawn in proportion to their area; luma stands in for chroma that is not there. Where one
        is smaller than a crop it is continued by reflection. `generator` is a CPU generator, so that every device draws
        alike.
        """
        count = len(kinds)
        which = torch.stack(
            [torch.multinomial(self._areas[kind], 1, generator=generator)[0] for kind in kinds.tolist()]
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


def _read_planes(folder: Path) -> Iterable[tuple[np.ndarray, int]]:
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        try:
            picture = open_picture(path)
        except ImageError:
            continue
        planes = to_planes(picture, color=picture.pixels.ndim == 3)  # the chroma of a gray picture teaches nothing
        for kind, plane in enumerate(planes):
            yield np.rint(plane * 255).astype(np.uint8), kind
