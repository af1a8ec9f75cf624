"""The network is the specification's, to the letter."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from residae.model import PreActResidualBlock, ResidualAutoencoder

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def full() -> ResidualAutoencoder:
    return ResidualAutoencoder().eval()


def test_parameter_counts_are_those_of_the_specification(full: ResidualAutoencoder) -> None:
    assert full.count_parameters() == {"encoder": 11_109_536, "decoder": 12_726_721, "total": 23_836_257}


def test_frozen_parameters_are_not_counted() -> None:
    network = ResidualAutoencoder(base_channels=4, latent_channels=4)
    decoder = network.count_parameters()["decoder"]
    network.encoder.requires_grad_(False)
    assert network.count_parameters() == {"encoder": 0, "decoder": decoder, "total": decoder}


@torch.inference_mode()
def test_shapes_and_range_of_the_full_network(full: ResidualAutoencoder) -> None:
    x_hat, z = full(torch.rand(1, 1, 256, 256, generator=torch.Generator().manual_seed(0)))
    assert z.shape == (1, 16, 16, 16)
    assert x_hat.shape == (1, 1, 256, 256)
    assert x_hat.min() >= 0
    assert x_hat.max() <= 1
    assert full.get_latent_size() == (16, 16, 16)
    assert full.get_compression_ratio() == 16.0


@torch.inference_mode()
def test_any_multiple_of_16_and_any_batch(network: ResidualAutoencoder) -> None:
    x = torch.rand(3, 1, 16, 48, generator=torch.Generator().manual_seed(0))
    x_hat, z = network(x)
    assert x_hat.shape == x.shape
    assert z.shape == (3, 4, 1, 3) == (3, *network.get_latent_size(16, 48))
    assert network.get_compression_ratio() == x.numel() / z.numel() == 64
    assert torch.equal(network.encode(x), z)
    assert torch.equal(network.decode(z), x_hat)


@torch.inference_mode()
def test_output_stays_in_range_for_a_wild_latent(network: ResidualAutoencoder) -> None:
    z = 1e4 * torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    x_hat = network.decode(z)
    assert x_hat.aminmax() == (0, 1)  # and both ends are reached


@pytest.mark.parametrize("shape", [(1, 1, 256, 250), (1, 1, 250, 256), (1, 3, 256, 256), (1, 256, 256), (256, 256)])
def test_encode_refuses_other_shapes(network: ResidualAutoencoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        network(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 3, 2, 2), (4, 2, 2), (1, 16, 2, 2)])
def test_decode_refuses_other_shapes(network: ResidualAutoencoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(B, 4, h, w\)"):
        network.decode(torch.zeros(shape))


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    network = ResidualAutoencoder(base_channels=4, latent_channels=4)
    x = torch.rand(2, 1, 64, 64)
    x_hat, _ = network(x)
    F.mse_loss(x_hat, x).backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


def _norm(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    mean, var, weight, bias = (t[:, None, None] for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    return (x - mean) / (var + norm.eps).sqrt() * weight + bias


def _block(x: Tensor, block: PreActResidualBlock, stride: int = 1) -> Tensor:
    """BN -> ReLU -> Conv3x3(stride) -> BN -> ReLU -> Conv3x3 -> + shortcut of the raw input."""
    y = F.conv2d(_norm(x, block.bn1).relu(), block.conv1.weight, stride=stride, padding=1)
    y = F.conv2d(_norm(y, block.bn2).relu(), block.conv2.weight, padding=1)
    if isinstance(block.shortcut, nn.Conv2d):
        x = F.conv2d(x, block.shortcut.weight, stride=stride)
    return y + x


@torch.inference_mode()
def test_network_is_the_written_formula(network: ResidualAutoencoder) -> None:
    x = torch.rand(2, 1, 32, 48, generator=torch.Generator().manual_seed(0))
    convolution, norm, _ = network.encoder.stem
    z = _norm(F.conv2d(x, convolution.weight, padding=3), norm).relu()
    for first, second in network.encoder.stages:
        z = _block(_block(z, first, stride=2), second)
    torch.testing.assert_close(network.encode(x), z)

    y = z
    for _, convolution, norm, first, second in network.decoder.stages:
        y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        y = _norm(F.conv2d(y, convolution.weight), norm)
        y = _block(_block(y, first), second)
    y = F.conv2d(y, network.decoder.out.weight, network.decoder.out.bias, padding=3).sigmoid()
    torch.testing.assert_close(network.decode(z), y)


@pytest.mark.parametrize(
    ("arguments", "identity"), [((4, 4), True), ((4, 8), False), ((4, 4, 2), False), ((8, 4, 2), False)]
)
def test_shortcut_is_the_identity_where_shape_stays(arguments: tuple[int, ...], identity: bool) -> None:
    assert isinstance(PreActResidualBlock(*arguments).shortcut, nn.Identity) == identity


def _modules_loaded_by(code: str) -> set[str]:
    code += "\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_alone_is_light() -> None:
    loaded = _modules_loaded_by("import residae")
    assert "residae" in loaded
    assert not loaded & {"torch", "numpy", "PIL", "huggingface_hub", "gradio", "constriction"}


def test_network_and_engine_need_neither_page_nor_codec_nor_compiler() -> None:
    """Importing SymPy, which only the compiler of torch uses, takes half a second."""
    code = "import sys, torch; known = {*sys.modules}\n"  # some versions of torch import it at once
    code += "from residae import ResidualAutoencoder\nfrom residae.engine import Engine\n"
    code += "Engine(ResidualAutoencoder(4, 4).eval(), 'cpu')\nassert 'sympy' not in {*sys.modules} - known"
    loaded = _modules_loaded_by(code)
    assert "residae.engine" in loaded
    assert not loaded & {"gradio", "constriction", "PIL", "accelerate"}


def test_the_package_has_no_other_attribute() -> None:
    import residae

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        residae.nothing  # noqa: B018
