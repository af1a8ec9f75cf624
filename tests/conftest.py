"""Fixtures of several test modules: a tiny network, computed pictures, and a stand-in for the Hugging Face Hub."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch and numpy are imported, and for the processes that tests start: on tiny networks, more threads cost more
# than they save; and a pool of threads does not outlive a fork.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from hub import TOKEN, Hub
from torch import nn

from residae.checkpoint import Checkpoint
from residae.image import Picture, Pixels, open_picture, write_png
from residae.model import ResidualAutoencoder
from residae.pipeline import Pipeline

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from residae.ui.state import CurrentResult


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `gpu` where there is no GPU."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a GPU with CUDA")


@pytest.fixture(scope="session")
def network() -> ResidualAutoencoder:
    """A network of 4 base and 4 latent channels, in eval mode. Tests share it and must not change it.

    No BatchNorm is close to the identity, so that a wrongly folded one changes the results.
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
    """The folder to which `network` is saved."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pipeline(network: ResidualAutoencoder) -> Pipeline:
    """A pipeline of `network` on the CPU, with the default tables."""
    return Pipeline(Checkpoint(network, name="tiny"), "cpu")


@pytest.fixture(scope="session")
def smooth() -> Callable[[int, int, int], Pixels]:
    """A function that draws (height, width, 3) pixels of slow waves; each seed gives different ones."""

    def draw(height: int, width: int, seed: int = 0) -> Pixels:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:height, :width] / 32
        waves = [np.sin(rng.uniform(-2, 2) * y + rng.uniform(-2, 2) * x + rng.uniform(0, 6)) for _ in range(3)]
        return np.rint(127.5 + 120 * np.stack(waves, axis=2)).astype(np.uint8)

    return draw


@pytest.fixture(scope="session")
def picture(smooth: Callable[[int, int, int], Pixels]) -> Picture:
    """A color picture whose sides are no multiples of 16, with a notice."""
    return Picture(smooth(53, 75, 0), ("A notice.",), 1000)


@pytest.fixture
def current(
    pipeline: Pipeline, smooth: Callable[[int, int, int], Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> "CurrentResult":
    """What a page with the tiny network shows: a color picture of 60 x 40 pixels at quality 80."""
    from residae.ui import store  # the tests of a GPU run without Gradio
    from residae.ui.cache import Settings
    from residae.ui.state import CurrentResult

    monkeypatch.setattr(store, "_open_pipeline", lambda _: pipeline)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))
    path = tmp_path / "picture.png"
    path.write_bytes(write_png(smooth(40, 60, 0)))
    report = pipeline.reconstruct(open_picture(path), color=True, quality=80)
    return CurrentResult(Settings(str(path), "tiny"), report.encoding, report.compressed, report.psnr)


@pytest.fixture(scope="session")
def folder(smooth: Callable[[int, int, int], Pixels], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a color and a gray picture, a text file, and a folder with another picture."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "b.png").write_bytes(write_png(smooth(48, 64, 1)))
    (folder / "a.png").write_bytes(write_png(smooth(40, 52, 2)[..., 0]))
    (folder / "README.md").write_text("Two pictures.")
    (folder / "more").mkdir()
    (folder / "more" / "c.png").write_bytes(write_png(smooth(20, 20, 3)))
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A local server in place of the Hub, to which the real client connects with an empty cache and a write token."""
    from huggingface_hub import close_session  # the tests of a GPU run without this package

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


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Chromium."""
    from playwright.sync_api import Error, sync_playwright  # the tests of a GPU run without this package

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        try:
            running = playwright.chromium.launch(executable_path=chromium, args=flags)
        except Error as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no Chromium to drive the page with: {error.message.splitlines()[0]}")
        yield running
        running.close()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data that the repository does not contain: photographs, and the first weights."""
    folder = os.environ.get("RESIDAE_SHARED")
    if not folder:
        pytest.skip("the environment variable RESIDAE_SHARED does not name the folder of the shared data")
    assert Path(folder).is_dir(), f"RESIDAE_SHARED names {folder}, which is not a folder"
    return Path(folder)
