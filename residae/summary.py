"""What the network is made of, stage by stage: read off the network itself, without its weights."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

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
def summarize(base_channels: int, latent_channels: int) -> tuple[tuple[Stage, ...], tuple[Stage, ...]]:
    """The stages of the encoder, the last of which gives the latent, and of the decoder, the last the picture."""
    with torch.device("meta"):  # shapes alone: nothing is allocated
        network = ResidualAutoencoder(base_channels, latent_channels)
    encoder = [("stem", network.encoder.stem), *_numbered(network.encoder.stages)]
    decoder = [*_numbered(network.decoder.stages), ("output", network.decoder.out)]
    halvings = len(encoder) - 1
    return (
        tuple(_stage(name, module, SIDE >> number) for number, (name, module) in enumerate(encoder)),
        tuple(
            _stage(name, module, min(SIDE >> halvings << number, SIDE))
            for number, (name, module) in enumerate(decoder, start=1)
        ),
    )


def _stage(name: str, module: nn.Module, side: int) -> Stage:
    """All convolutions of a stage put out pictures of its own side: it shrinks with the first, or grows before it."""
    convolutions = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    parameters = sum(parameter.numel() for parameter in module.parameters())
    flops = 2 * side**2 * sum(convolution.weight.numel() for convolution in convolutions)
    return Stage(name, convolutions[-1].out_channels, side, parameters, flops)


def _numbered(stages: nn.Sequential) -> list[tuple[str, nn.Module]]:
    return [(f"stage {number}", stage) for number, stage in enumerate(stages, start=1)]
