"""The summary is that of the network itself."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from residae.model import ResidualAutoencoder
from residae.summary import SIDE, summarize


def test_stages_add_up_to_the_network() -> None:
    encoder, decoder = summarize(64, 16)
    counts = ResidualAutoencoder().count_parameters()
    assert sum(stage.parameters for stage in encoder) == counts["encoder"] == 11_109_536
    assert sum(stage.parameters for stage in decoder) == counts["decoder"] == 12_726_721
    assert sum(stage.flops for stage in encoder) / 1e9 == pytest.approx(51.996, abs=0.001)
    assert sum(stage.flops for stage in decoder) / 1e9 == pytest.approx(80.958, abs=0.001)


def test_stages_are_those_of_the_configuration() -> None:
    encoder, decoder = summarize(4, 3)
    assert [(stage.channels, stage.side) for stage in encoder] == [(4, 256), (8, 128), (16, 64), (32, 32), (3, 16)]
    assert [(stage.channels, stage.side) for stage in decoder] == [(32, 32), (16, 64), (8, 128), (4, 256), (1, SIDE)]


def test_stages_are_as_they_run() -> None:
    with torch.device("meta"):
        network, x = ResidualAutoencoder(4, 3).eval(), torch.empty(1, 1, SIDE, SIDE)
    modules: list[nn.Module] = [network.encoder.stem, *network.encoder.stages, *network.decoder.stages]
    for module, stage in zip([*modules, network.decoder.out], [*summarize(4, 3)[0], *summarize(4, 3)[1]], strict=True):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            x = module(x)
        assert (*x.shape[1:], counter.get_total_flops()) == (stage.channels, stage.side, stage.side, stage.flops)
