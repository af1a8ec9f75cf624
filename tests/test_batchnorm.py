"""Recalibrating BatchNorm gives it the statistics of its inputs, and does not change the function."""

import copy

import torch
from torch import nn

from residae.model import ResidualAutoencoder
from residae.train.batchnorm import recalibrate_batchnorm


def test_statistics_are_those_of_what_passes_and_nothing_else_changes(network: ResidualAutoencoder) -> None:
    crops = torch.rand(6, 1, 32, 48, generator=torch.Generator().manual_seed(0)).split(2)
    renewed = copy.deepcopy(network)
    recalibrate_batchnorm(renewed, crops)

    passed: dict[str, torch.Tensor] = {}
    for name, module in renewed.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda _, given, result, name=name: passed.update({name: given[0]}))
    everything = torch.cat(crops)
    with torch.inference_mode():
        result, latent = renewed(everything)
        expected, expected_latent = network(everything)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(latent, expected_latent, rtol=1e-4, atol=1e-5)
    norms = {name: module for name, module in renewed.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert passed.keys() == norms.keys()
    for name, x in passed.items():
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        torch.testing.assert_close(norms[name].running_mean, mean, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(norms[name].running_var, variance, rtol=1e-3, atol=1e-4)
    before = dict(network.named_buffers())
    assert not torch.allclose(before["encoder.stem.1.running_mean"], norms["encoder.stem.1"].running_mean)


def test_a_channel_that_never_changes(network: ResidualAutoencoder) -> None:
    """Its variance is 0, and what it makes of others' values stays what it was."""
    flat = copy.deepcopy(network)
    flat.encoder.stem[0].weight.data[1] = 0
    before = copy.deepcopy(flat)
    recalibrate_batchnorm(flat, [torch.rand(1, 1, 32, 32)])
    assert flat.encoder.stem[1].running_var[1] == 0
    x = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(flat(x)[0], before(x)[0], rtol=1e-4, atol=1e-5)
