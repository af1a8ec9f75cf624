"""What several tests need: a tiny network whose every number matters, computed pictures, and the shared data."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hub import TOKEN, Hub
from huggingface_hub import close_session
from torch import nn

from residae.checkpoint import Checkpoint
from residae.image import Picture, Pixels, write_png
from residae.model import ResidualAutoencoder
from residae.pipeline import Pipeline

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For tiny networks, on which threads cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def network() -> ResidualAutoencoder:
    """Width 4, 4 latent channels, in eval mode. No BatchNorm is near the identity, so that folding one wrongly shows.

    Tests share it: they must not change it.
    """
    torch.manual_seed(0)
    network = ResidualAutoencoder(base_channels=4, latent_channels=4)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.1, 1)
    return network.eval()


@pytest.fixture(scope="session")
def checkpoint(network: ResidualAutoencoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `network`, saved."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pipeline(network: ResidualAutoencoder) -> Pipeline:
    return Pipeline(Checkpoint(network, name="tiny"), "cpu")


@pytest.fixture(scope="session")
def smooth() -> Callable[[int, int, int], Pixels]:
    """Draws (height, width, 3) pixels of slow waves in three colors, others for each seed."""

    def draw(height: int, width: int, seed: int = 0) -> Pixels:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:height, :width] / 32
        waves = [np.sin(rng.uniform(-2, 2) * y + rng.uniform(-2, 2) * x + rng.uniform(0, 6)) for _ in range(3)]
        return np.rint(127.5 + 120 * np.stack(waves, axis=2)).astype(np.uint8)

    return draw


@pytest.fixture(scope="session")
def picture(smooth: Callable[[int, int, int], Pixels]) -> Picture:
    """In color, of a size that no stride divides, with a notice."""
    return Picture(smooth(53, 75, 0), ("A notice.",), 1000)


@pytest.fixture(scope="session")
def folder(smooth: Callable[[int, int, int], Pixels], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, in color and in gray, among what else a folder of pictures may hold."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "b.png").write_bytes(write_png(smooth(48, 64, 1)))
    (folder / "a.png").write_bytes(write_png(smooth(40, 52, 2)[..., 0]))
    (folder / "README.md").write_text("Two pictures.")
    (folder / "more").mkdir()
    (folder / "more" / "c.png").write_bytes(write_png(smooth(20, 20, 3)))
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in for the Hub that the real client talks to, with an empty cache and a token that may write."""
    settings = {"HF_TOKEN": TOKEN, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1"}
    settings |= {"HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    with Hub.running() as hub:
        for name, value in ({"HF_ENDPOINT": hub.address} | settings).items():
            monkeypatch.setenv(name, value)  # for the processes that a test starts
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", settings["HF_HUB_CACHE"])
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        close_session()
        yield hub
    close_session()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Data that the project does not carry: photographs, the specification, first weights."""
    if not SHARED.is_dir():
        pytest.skip("the shared data lies beside the repository only where the project is developed")
    return SHARED
