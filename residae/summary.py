"""The stages of the network with their sizes and costs, computed from the network itself without its weights."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from residae.model import ResidualAutoencoder

SIDE = 256  # pixels; operations are counted for a square picture of this size


@dataclass(frozen=True)
class Stage:
    """One stage of the encoder or decoder.

    Attributes:
        name: Such as `stem` or `stage 1`.
        channels: Of its output.
        side: Of its output for a picture of SIDE x SIDE pixels.
        parameters: Number of them.
        flops: For that picture, 2 for each multiply-add.
    """

    name: str
    channels: int
    side: int
    parameters: int
    flops: int


@cache
def summarize(base_channels: int, latent_channels: int) -> tuple[tuple[Stage, ...], tuple[Stage, ...]]:
    """Describe the stages of a network.

    Args:
        base_channels: As in `ResidualAutoencoder`.
        latent_channels: As in `ResidualAutoencoder`.

    Returns:
        The stages of the encoder, the last of which returns the latent, and those of the decoder, the last of which
        returns the picture.
    """
    with torch.device("meta"):  # shapes only: nothing is allocated
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
    """Describe a stage whose output is `side` x `side`, as is that of each of its convolutions."""
    convolutions = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    parameters = sum(parameter.numel() for parameter in module.parameters())
    flops = 2 * side**2 * sum(convolution.weight.numel() for convolution in convolutions)
    return Stage(name, convolutions[-1].out_channels, side, parameters, flops)


def _numbered(stages: nn.Sequential) -> list[tuple[str, nn.Module]]:
    return [(f"stage {number}", stage) for number, stage in enumerate(stages, start=1)]
