"""What a stage of the network makes of a picture, to look at."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from residae.geometry import STRIDE
from residae.heatmaps import latent_tiles
from residae.image import Picture, Pixels, fit, from_planes, to_planes
from residae.model import ResidualAutoencoder
from residae.progress import Progress

OBSERVED_SIDE = 256  # pixels; a plane of this size takes a CPU a second or two
MAX_CHANNELS = 8


@dataclass(frozen=True, eq=False)
class StageOutput:
    """A few channels of what one stage returns.

    Attributes:
        channels: Their indices, those that vary most first.
        pictures: Of each of them, (H, W, 3) as `residae.heatmaps.latent_tiles` shows it; (H, W) gray of the last stage,
            whose output is a picture.
        shape: (C, h, w) of everything that the stage returns.
    """

    channels: tuple[int, ...]
    pictures: tuple[Pixels, ...]
    shape: tuple[int, int, int]


def observe(
    network: ResidualAutoencoder, picture: Picture, stage: int, progress: Progress | None = None
) -> StageOutput:
    """Send the luma of a picture through the network, without quantization, up to a stage.

    Args:
        network: In eval mode; it runs where its weights are, in their precision.
        picture: Reduced to OBSERVED_SIDE pixels on its longer side if it is larger.
        stage: Index of the stage, in the order of `residae.summary.summarize`: those of the encoder come first.
        progress: Called with the share done, in (0, 1]; it may raise to stop the work.

    Returns:
        Up to MAX_CHANNELS channels of what the stage returns, cut to the picture without its padding.
    """
    plane = to_planes(fit(picture, OBSERVED_SIDE), color=False)[0]
    padded = np.pad(plane, [(0, -length % STRIDE) for length in plane.shape], mode="edge")
    stages = _stages(network)
    with torch.inference_mode():
        x = torch.from_numpy(padded)[None, None].to(next(network.parameters()))
        for done, module in enumerate(stages[: stage + 1], start=1):
            x = module(x)
            if progress:
                progress(done / (stage + 1))
    rows, columns = (  # without what the padding became
        -(-size * side // whole) for size, side, whole in zip(plane.shape, x.shape[2:], padded.shape, strict=True)
    )
    x = x[0, :, :rows, :columns].float().cpu()
    channels = x.flatten(1).std(1, correction=0).topk(min(MAX_CHANNELS, len(x))).indices
    values = x[channels].numpy()
    pictures = [from_planes([values[0]])] if stage == len(stages) - 1 else latent_tiles(values)
    return StageOutput(tuple(channels.tolist()), tuple(pictures), (len(x), rows, columns))


def _stages(network: ResidualAutoencoder) -> list[nn.Module]:
    encoder, decoder = network.encoder, network.decoder
    return [encoder.stem, *encoder.stages, *decoder.stages, nn.Sequential(decoder.out, nn.Sigmoid())]
