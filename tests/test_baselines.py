"""Each baseline stays within its byte budget, and returns the picture of the file that it counts."""

import io
import itertools
import re

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from residae.baselines import CODECS, Baseline, compress_within, find_baseline
from residae.metrics import psnr


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """Smooth shapes and a little noise, (96, 160, 3)."""
    y, x = np.mgrid[:96, :160]
    waves = np.stack([np.sin(x / 11 + c) + np.cos(y / (7 + c)) for c in range(3)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 4, waves.shape)
    return (127 + 50 * waves + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("color", [False, True], ids=["gray", "color"])
def test_more_bytes_buy_a_better_picture_within_the_budget(
    codec: Baseline, color: bool, photograph: np.ndarray
) -> None:
    pixels = photograph if color else photograph[..., 0]
    small, large = compress_within(pixels, codec, 1800), compress_within(pixels, codec, 5400)
    assert small
    assert large
    assert len(small.data) <= 1800 < len(large.data) <= 5400
    assert small.pixels.shape == large.pixels.shape == pixels.shape
    assert psnr(pixels, small.pixels) + 0.3 < psnr(pixels, large.pixels)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_the_picture_is_that_of_the_file(codec: Baseline, photograph: np.ndarray) -> None:
    coded = compress_within(photograph, codec, 4000)
    assert coded
    assert 0 < coded.encode_seconds < 10
    assert 0 < coded.decode_seconds < 10
    if codec.name == "JPEG XL":
        assert coded.data.startswith(b"\xff\x0a")
        pixels = imagecodecs.jpegxl_decode(coded.data)
    else:
        with Image.open(io.BytesIO(coded.data)) as image:
            assert image.format == codec.name.upper().replace(" ", "")
            pixels = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(pixels, coded.pixels)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_budget_below_any_file_gives_nothing(codec: Baseline, photograph: np.ndarray) -> None:
    assert compress_within(photograph, codec, 10) is None


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_picture_may_be_as_long_as_the_codec_takes(codec: Baseline) -> None:
    coded = compress_within(np.zeros((1, codec.max_side), np.uint8), codec, 10_000)
    assert coded
    assert coded.pixels.shape == (1, codec.max_side)
    assert compress_within(np.zeros((1, codec.max_side + 1), np.uint8), codec, 10_000) is None


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_progress_rises_to_one_and_may_stop_the_work(codec: Baseline, photograph: np.ndarray) -> None:
    shares: list[float] = []
    compress_within(photograph, codec, 4000, shares.append)
    assert all(a < b for a, b in itertools.pairwise([0.0, *shares]))
    assert 0.8 < shares[-1] <= 1

    def stop(share: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        compress_within(photograph, codec, 4000, stop)


def test_a_search_may_be_confined_to_a_few_steps(photograph: np.ndarray) -> None:
    jpeg, shares = CODECS["JPEG"], list[float]()
    anywhere = compress_within(photograph, jpeg, 4000)
    assert anywhere
    quality = int(anywhere.quality)
    near = compress_within(photograph, jpeg, 4000, shares.append, (quality - 2, quality + 2))
    assert near
    assert near.data == anywhere.data
    assert len(shares) <= 3
    below = compress_within(photograph, jpeg, 4000, steps=(-5, quality - 3))
    assert below
    assert below.quality == quality - 3
    assert compress_within(photograph, jpeg, 4000, steps=(quality + 1, 200)) is None


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (17, 40, 3)])
def test_any_size_comes_back(codec: Baseline, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    coded = compress_within(pixels, codec, 100_000)
    assert coded
    assert coded.pixels.shape == shape


def test_jpeg_2000_keeps_brightness_apart_from_color() -> None:
    """Coded as R, G and B, a gray picture of three channels costs three times its bytes."""
    gray = np.tile(np.random.default_rng(2).integers(0, 256, (64, 64), dtype=np.uint8).repeat(2, 1), (2, 1))
    plain, colored = (compress_within(pixels, CODECS["JPEG 2000"], 4000) for pixels in (gray, np.dstack([gray] * 3)))
    assert plain
    assert colored
    assert psnr(np.dstack([plain.pixels] * 3), colored.pixels) > 25


@pytest.mark.parametrize(
    ("text", "name", "description"),
    [
        ("jpeg", "JPEG", ""),
        ("jpeg2000", "JPEG 2000", ""),
        ("avif", "AVIF", "speed 6"),
        ("avif:2", "AVIF (speed 2)", "speed 2"),
        ("webp:0", "WebP (method 0)", "method 0"),
        ("jpegxl:3", "JPEG XL (effort 3)", "effort 3"),
    ],
)
def test_baselines_are_found_by_name_and_effort(text: str, name: str, description: str) -> None:
    assert (find_baseline(text).name, find_baseline(text).description) == (name, description)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("bpg", "there is no codec 'bpg' among the baselines: jpeg, webp, avif, jpeg2000, jpegxl"),
        ("jpeg:2", "JPEG takes no effort"),
        ("avif:11", "AVIF takes a speed of 0 to 10, not 11"),
        ("webp:fast", "the effort of webp is a whole number, not 'fast'"),
    ],
)
def test_unknown_baselines_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        find_baseline(text)


def test_effort_changes_the_file(photograph: np.ndarray) -> None:
    files = [find_baseline(text).encode(photograph, 60, int(text[-1])) for text in ("webp:0", "webp:6")]
    assert len(files[1]) < len(files[0])
