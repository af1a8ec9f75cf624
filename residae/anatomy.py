"""What the network is made of, stage by stage: measured on the network itself, without its weights."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from residae.model import ResidualAutoencoder

SIDE = 256  # pixels of the square picture that operations are counted for


@dataclass(frozen=True)
class Stage:
    """One stage of the encoder or decoder, and what it puts out."""

    name: str
    channels: int  # of its output
    side: int  # of its output for a picture of SIDE x SIDE
    parameters: int
    flops: int  # for that picture, at 2 per multiply-add


@cache
def anatomy(base_channels: int, latent_channels: int) -> tuple[tuple[Stage, ...], tuple[Stage, ...]]:
    """The stages of the encoder, the last of which gives the latent, and of the decoder, the last the picture."""
    with torch.device("meta"):  # shapes alone: nothing is allocated
        network = ResidualAutoencoder(base_channels, latent_channels).eval()
        x = torch.empty(1, 1, SIDE, SIDE)
    encoder = [("stem", network.encoder.stem), *_numbered(network.encoder.stages)]
    decoder = [*_numbered(network.decoder.stages), ("output", nn.Sequential(network.decoder.out, nn.Sigmoid()))]
    stages = []
    for name, module in encoder + decoder:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            x = module(x)
        parameters = sum(parameter.numel() for parameter in module.parameters())
        stages.append(Stage(name, x.shape[1], x.shape[2], parameters, counter.get_total_flops()))
    return tuple(stages[: len(encoder)]), tuple(stages[len(encoder) :])


def _numbered(stages: nn.Sequential) -> list[tuple[str, nn.Module]]:
    return [(f"stage {number}", stage) for number, stage in enumerate(stages, start=1)]
