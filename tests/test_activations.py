"""What the stages of the network return is what the network itself computes."""

from collections.abc import Callable

import numpy as np
import torch

from residae.activations import MAX_CHANNELS, OBSERVED_SIDE, observe
from residae.image import Pixels, as_picture, to_planes
from residae.model import ResidualAutoencoder
from residae.summary import summarize

Draw = Callable[[int, int, int], Pixels]


def test_stages_are_those_of_the_summary(network: ResidualAutoencoder, smooth: Draw) -> None:
    picture, reports = as_picture(smooth(64, 32, 0)), []
    stages = [stage for part in summarize(4, 4) for stage in part]
    for index, stage in enumerate(stages):
        output = observe(network, picture, index, reports.append)
        assert output.shape == (stage.channels, 64 * stage.side // OBSERVED_SIDE, 32 * stage.side // OBSERVED_SIDE)
        assert len(output.channels) == len(output.pictures) == min(stage.channels, MAX_CHANNELS)
        assert reports.pop() == 1


def test_channels_that_vary_most_come_first(network: ResidualAutoencoder, smooth: Draw) -> None:
    picture = as_picture(smooth(48, 48, 1))
    with torch.inference_mode():
        returned = network.encoder.stem(torch.from_numpy(to_planes(picture, color=False)[0])[None, None])[0].numpy()
    spread = returned.std((1, 2))
    assert list(observe(network, picture, 0).channels) == sorted(range(4), key=lambda channel: -spread[channel])


def test_the_last_stage_is_the_reconstruction(network: ResidualAutoencoder, smooth: Draw) -> None:
    picture = as_picture(smooth(48, 32, 2))
    (pixels,) = observe(network, picture, 9).pictures
    with torch.inference_mode():
        plane = network(torch.from_numpy(to_planes(picture, color=False)[0])[None, None])[0][0, 0].numpy()
    assert np.abs(pixels - 255 * plane).max() <= 0.51


def test_the_size_is_bounded_and_padding_is_cut_off(network: ResidualAutoencoder, smooth: Draw) -> None:
    assert observe(network, as_picture(smooth(40, 700, 3)), 1).shape[1:] == (8, 128)  # 15 x 256 pixels
    assert observe(network, as_picture(smooth(1, 1, 3)), 0).shape == (4, 1, 1)
