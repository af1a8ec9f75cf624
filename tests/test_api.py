"""The three functions of the package: compress, decompress and load."""

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import residae
from residae.codec import read_info
from residae.errors import CheckpointError, CodecError, ImageError
from residae.image import Pixels
from residae.pipeline import Pipeline

HEIGHT, WIDTH = 37, 50


@pytest.fixture(autouse=True)
def default_checkpoint(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny checkpoint, in place of the one that comes with the package."""
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(checkpoint))
    return checkpoint


@pytest.fixture
def color(smooth: Callable[[int, int, int], Pixels]) -> Pixels:
    return smooth(HEIGHT, WIDTH, 0)


def test_a_path_an_image_and_an_array_of_one_picture_give_the_same_bytes(color: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(color).save(path)
    expected = residae.load().compress(path, 80)
    for picture in (path, str(path), path.read_bytes(), Image.open(path), color):
        assert residae.compress(picture) == expected
    assert residae.compress(color, quality=20) != expected


def test_refinement_by_the_package_is_that_of_the_pipeline(color: Pixels) -> None:
    expected = residae.load().compress(color, 100, refine=5)
    assert residae.compress(color, 100, refine=5) == expected != residae.compress(color, 100)


@pytest.mark.parametrize(
    ("mode", "array"),
    [
        ("RGB", lambda rgb: rgb),
        ("RGBA", lambda rgb: np.dstack([rgb, np.full((HEIGHT, WIDTH), 255, np.uint8)])),
        ("L", lambda rgb: rgb[..., 0]),
        ("I;16", lambda rgb: rgb[..., 0].astype(np.uint16) * 257),
    ],
)
def test_an_image_of_each_mode(color: Pixels, mode: str, array: Callable[[Pixels], np.ndarray]) -> None:
    image = Image.fromarray(array(color))
    assert image.mode == mode
    plain = color if mode.startswith("RGB") else color[..., 0]
    assert residae.compress(image) == residae.compress(plain)


def test_an_image_with_a_palette_has_the_colors_of_its_palette(color: Pixels) -> None:
    image = Image.fromarray(color).quantize(16)
    assert image.mode == "P"
    assert residae.compress(image) == residae.compress(np.asarray(image.convert("RGB")))


def test_transparent_pixels_are_white(color: Pixels) -> None:
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[:, : WIDTH // 2] = 255
    on_white = color.copy()
    on_white[:, WIDTH // 2 :] = 255
    assert residae.compress(Image.fromarray(np.dstack([color, alpha]))) == residae.compress(on_white)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_decompressing_gives_an_image_of_the_same_size_and_mode(color: Pixels, mode: str, tmp_path: Path) -> None:
    data = residae.compress(Image.fromarray(color).convert(mode))
    assert read_info(data).color is (mode == "RGB")
    picture = residae.decompress(data)
    assert (picture.mode, picture.size) == (mode, (WIDTH, HEIGHT))
    np.testing.assert_array_equal(np.asarray(picture), residae.load().read(data)[1].pixels)
    path = tmp_path / "picture.rae"
    path.write_bytes(data)
    for source in (path, str(path)):
        assert residae.decompress(source) == picture


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4, 3), bool),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4), np.uint8),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_an_array_that_is_no_picture(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"a picture is uint8 of \(H, W\) or \(H, W, 3\), not"):
        residae.compress(array)


@pytest.mark.parametrize("quality", [-1, 100.5, float("nan")])
def test_a_quality_out_of_range(color: Pixels, quality: float) -> None:
    with pytest.raises(ValueError, match="quality is 0 to 100"):
        residae.compress(color, quality)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    for name in ("text.png", "absent.png"):
        with pytest.raises(ImageError):
            residae.compress(tmp_path / name)
        with pytest.raises(CodecError):
            residae.decompress(tmp_path / name)
    with pytest.raises(ImageError, match="a side longer than the limit of 65,500 pixels"):
        residae.compress(np.zeros((1, 65_501), np.uint8))


def test_a_checkpoint_is_loaded_once(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = residae.load()
    opened: list[str] = []
    monkeypatch.setattr(Pipeline, "open", opened.append)
    assert residae.load() is residae.load(checkpoint) is residae.load(str(checkpoint)) is pipeline
    assert opened == []


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The folder of another checkpoint."""
    folder = tmp_path / "other"
    residae.ResidualAutoencoder(base_channels=2, latent_channels=2).save_pretrained(folder)
    return folder


def test_another_checkpoint_is_another_pipeline(other: Path, color: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    data = residae.compress(color)
    assert residae.load(other).latent_channels == 2
    assert residae.load().latent_channels == 4
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(other))  # counts for each call, not only for the first
    assert residae.load().latent_channels == 2
    with pytest.raises(CodecError, match=r"made with the checkpoint tiny .* cannot be opened with other"):
        residae.decompress(data)


def test_threads_that_load_at_once_share_a_pipeline(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    opened, both = Pipeline.open, threading.Barrier(2)
    monkeypatch.setattr(Pipeline, "open", lambda *arguments: time.sleep(0.2) or opened(*arguments))

    def load(_: int) -> Pipeline:
        both.wait()
        return residae.load(checkpoint)

    residae._load.cache_clear()
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(load, range(2))
    assert one is other is residae.load(checkpoint)


def test_a_folder_is_another_one_in_another_working_directory(
    checkpoint: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, source in (("here", checkpoint), ("there", other)):
        shutil.copytree(source, tmp_path / folder / "weights")
    monkeypatch.chdir(tmp_path / "here")
    here = residae.load("weights")
    assert residae.load(tmp_path / "here" / "weights") is here
    monkeypatch.chdir(tmp_path / "there")
    assert residae.load("weights").latent_channels == 2


def test_a_checkpoint_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no checkpoint folder"):
        residae.load(tmp_path / "absent")
