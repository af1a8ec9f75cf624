"""The engine on a GPU. It imports no more than PyTorch, safetensors, NumPy, Pillow, psutil and pytest."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from residae.engine import Engine
from residae.model import ResidualAutoencoder

pytestmark = pytest.mark.gpu
Array = NDArray[np.float32]


@pytest.fixture(autouse=True)
def full_float32() -> Iterator[None]:
    """TF32, which PyTorch allows by default, keeps 10 bits of the mantissa."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def _plane(height: int, width: int) -> Array:
    return np.random.default_rng(0).random((height, width), np.float32)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.05)])
def test_it_agrees_with_the_cpu(network: ResidualAutoencoder, dtype: str, tolerance: float) -> None:
    cpu, gpu = Engine(network, "cpu", "float32"), Engine(network, "cuda", dtype, tile=5)
    assert gpu.description.endswith(f", {dtype}")
    plane = _plane(151, 333)
    latent = cpu.encode(plane)
    assert np.abs(gpu.encode(plane) - latent).mean() < tolerance * latent.std()
    assert np.abs(gpu.decode(latent, 151, 333) - cpu.decode(latent, 151, 333)).mean() < tolerance


@pytest.mark.parametrize("tile", [1, 3, 8])
def test_tiled_is_whole(network: ResidualAutoencoder, tile: int) -> None:
    whole, tiled = Engine(network, "cuda", "float32"), Engine(network, "cuda", "float32", tile)
    plane = _plane(117, 333)
    latent = whole.encode(plane)
    np.testing.assert_allclose(tiled.encode(plane), latent, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(tiled.decode(latent, 117, 333), whole.decode(latent, 117, 333), rtol=1e-4, atol=1e-4)


def test_a_network_on_the_gpu_makes_an_engine_on_the_cpu(network: ResidualAutoencoder) -> None:
    moved = ResidualAutoencoder(**network.config).eval()
    moved.load_state_dict(network.state_dict())
    moved.to("cuda")
    plane = _plane(48, 64)
    np.testing.assert_array_equal(
        Engine(moved, "cpu", "float32").encode(plane), Engine(network, "cpu", "float32").encode(plane)
    )
    assert next(moved.parameters()).device.type == "cuda"


@pytest.fixture
def little_memory() -> Iterator[None]:
    """A limit of 1.5 GB, of which the engine does not know. One tensor of 64 x 2048 x 2048 takes 1.07 GB."""
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(1.5e9 / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("little_memory")
def test_tiles_are_halved_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = ResidualAutoencoder().eval()
    engine, small = Engine(network, "cuda", "float32", tile=128), Engine(network, "cuda", "float32", tile=32)
    plane = _plane(2048, 2048)
    expected = small.encode(plane)
    halved: list[None] = []
    empty_cache = torch.cuda.empty_cache

    def count() -> None:
        halved.append(None)
        empty_cache()

    monkeypatch.setattr(torch.cuda, "empty_cache", count)
    np.testing.assert_allclose(engine.encode(plane), expected, rtol=1e-3, atol=1e-3)
    assert halved
