import io
import itertools

import numpy as np
import pytest
from PIL import Image

from residae.baselines import CODECS, compress_within
from residae.metrics import psnr


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """Smooth shapes and a little noise, (96, 160, 3)."""
    y, x = np.mgrid[:96, :160]
    waves = np.stack([np.sin(x / 11 + c) + np.cos(y / (7 + c)) for c in range(3)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 4, waves.shape)
    return (127 + 50 * waves + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("color", [False, True], ids=["gray", "color"])
def test_more_bytes_buy_a_better_picture_within_the_budget(codec: str, color: bool, photograph: np.ndarray) -> None:
    pixels = photograph if color else photograph[..., 0]
    small, large = compress_within(pixels, codec, 1800), compress_within(pixels, codec, 5400)
    assert small
    assert large
    assert len(small.data) <= 1800 < len(large.data) <= 5400
    assert small.pixels.shape == large.pixels.shape == pixels.shape
    assert psnr(pixels, small.pixels) + 0.3 < psnr(pixels, large.pixels)


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_returned_is_the_file_that_was_counted(codec: str, photograph: np.ndarray) -> None:
    baseline = compress_within(photograph, codec, 4000)
    assert baseline
    with Image.open(io.BytesIO(baseline.data)) as image:
        assert image.format == {"WebP": "WEBP", "JPEG 2000": "JPEG2000"}.get(codec, codec)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), baseline.pixels)


@pytest.mark.parametrize("codec", CODECS)
def test_a_budget_below_any_file_gives_nothing(codec: str, photograph: np.ndarray) -> None:
    assert compress_within(photograph, codec, 10) is None


@pytest.mark.parametrize("codec", CODECS)
def test_the_longest_side_that_a_codec_has_room_for(codec: str) -> None:
    longest = CODECS[codec][3]
    baseline = compress_within(np.zeros((1, longest), np.uint8), codec, 10_000)
    assert baseline
    assert baseline.pixels.shape == (1, longest)
    assert compress_within(np.zeros((1, longest + 1), np.uint8), codec, 10_000) is None


@pytest.mark.parametrize("codec", CODECS)
def test_progress_rises_to_one_and_may_stop_the_work(codec: str, photograph: np.ndarray) -> None:
    shares: list[float] = []
    compress_within(photograph, codec, 4000, shares.append)
    assert all(a < b for a, b in itertools.pairwise([0.0, *shares]))
    assert 0.8 < shares[-1] <= 1

    def stop(share: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        compress_within(photograph, codec, 4000, stop)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (17, 40, 3)])
def test_any_size_comes_back(codec: str, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    baseline = compress_within(pixels, codec, 100_000)
    assert baseline
    assert baseline.pixels.shape == shape


def test_jpeg_2000_keeps_brightness_apart_from_color() -> None:
    """In three colors coded apart, a gray picture of three channels costs three times its bytes."""
    gray = np.tile(np.random.default_rng(2).integers(0, 256, (64, 64), dtype=np.uint8).repeat(2, 1), (2, 1))
    plain, colored = compress_within(gray, "JPEG 2000", 4000), compress_within(np.dstack([gray] * 3), "JPEG 2000", 4000)
    assert plain
    assert colored
    assert psnr(np.dstack([plain.pixels] * 3), colored.pixels) > 25
