import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity

from residae import metrics

Picture = NDArray[np.uint8]
Metric = Callable[[Picture, Picture], float]
SHAPES = [(64, 48), (64, 48, 3)]


def picture(*shape: int, seed: int = 0) -> Picture:
    """Smooth shades with some texture, well inside 0 .. 255."""
    rng = np.random.default_rng(seed)
    shades = np.cumsum(np.cumsum(rng.normal(size=shape), axis=0), axis=1)
    shades = 60 + 120 * (shades - shades.min()) / np.ptp(shades)
    return np.rint(shades + rng.normal(0, 3, shape)).clip(0, 255).astype(np.uint8)


def noisy(original: Picture, sigma: float) -> Picture:
    noise = np.random.default_rng(1).normal(0, sigma, original.shape)
    return np.rint(original + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
def test_psnr_is_its_formula(shape: tuple[int, ...]) -> None:
    a, b = picture(*shape), noisy(picture(*shape), 12)
    mse = np.mean((a.astype(float) - b.astype(float)) ** 2)
    assert metrics.psnr(a, b) == pytest.approx(20 * math.log10(255) - 10 * math.log10(mse), abs=1e-9)


def test_psnr_spans_its_range() -> None:
    black, white = np.zeros((5, 7), np.uint8), np.full((5, 7), 255, np.uint8)
    assert metrics.psnr(black, white) == metrics.psnr(white, black) == 0
    assert metrics.psnr(black, black) == math.inf


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim, metrics.ms_ssim])
def test_pictures_that_cannot_be_compared_are_refused(metric: Metric) -> None:
    a = np.zeros((20, 30), np.uint8)
    with pytest.raises(ValueError, match="shape"):
        metric(a, a.T)
    with pytest.raises(ValueError, match="uint8"):
        metric(a, a.astype(np.int16))


# 300 and 139 are several tiles and a part of one; 11 is one window position, 138 one whole tile.
@pytest.mark.parametrize("shape", [(11, 11), (138, 138), (139, 300), (300, 12), (150, 140, 3)])
def test_ssim_agrees_with_scikit_image(shape: tuple[int, ...]) -> None:
    a, b = picture(*shape), noisy(picture(*shape), 15)
    expected = structural_similarity(
        a,
        b,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=2 if len(shape) == 3 else None,
    )
    assert metrics.ssim(a, b) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", [metrics.ssim, metrics.ms_ssim])
@pytest.mark.parametrize("shape", [(170, 161), (170, 161, 3)])
def test_similarity_is_one_for_equal_pictures_and_falls_with_noise(metric: Metric, shape: tuple[int, ...]) -> None:
    a = picture(*shape)
    values = [metric(a, noisy(a, sigma)) for sigma in (0, 5, 15, 45)]
    assert values[0] == pytest.approx(1, abs=1e-12)
    assert all(before > after + 0.01 for before, after in pairwise(values))


@pytest.mark.parametrize("shape", [(192, 176), (163, 181)])
def test_ms_ssim_is_the_weighted_product_over_scales(shape: tuple[int, ...]) -> None:
    """With a huge K1, the SSIM of scikit-image is the contrast-structure term."""
    a, b = picture(*shape), noisy(picture(*shape), 25)
    x, y = a.astype(float), b.astype(float)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    expected = 1.0
    for weight in (0.0448, 0.2856, 0.3001, 0.2363):
        expected *= structural_similarity(x, y, K1=1e6, **settings) ** weight
        x, y = (np.pad(p, [(0, side % 2) for side in p.shape], "symmetric") for p in (x, y))
        x, y = (p.reshape(p.shape[0] // 2, 2, p.shape[1] // 2, 2).mean((1, 3)) for p in (x, y))
    expected *= structural_similarity(x, y, **settings) ** 0.1333
    assert metrics.ms_ssim(a, b) == pytest.approx(expected, abs=1e-6)


def test_ms_ssim_of_a_negative_is_zero() -> None:
    a = picture(170, 170)
    assert metrics.ms_ssim(a, 255 - a) == 0


def test_pictures_too_small_for_the_window_have_no_similarity() -> None:
    assert math.isnan(metrics.ssim(picture(10, 50), picture(10, 50)))
    assert math.isnan(metrics.ms_ssim(picture(160, 300), picture(160, 300)))
    assert not math.isnan(metrics.ms_ssim(picture(161, 161), picture(161, 161)))


def test_ssimulacra2_agrees_with_its_package_on_files(tmp_path: Path) -> None:
    reference = pytest.importorskip("ssimulacra2")
    for name, shape in (("gray", (70, 90)), ("color", (70, 90, 3))):
        a, b = picture(*shape), noisy(picture(*shape), 20)
        paths = [tmp_path / f"{name}{number}.png" for number in (1, 2)]
        for path, pixels in zip(paths, (a, b), strict=True):
            Image.fromarray(pixels).save(path)
        assert metrics.ssimulacra2(a, b) == reference.compute_ssimulacra2(*paths) < 90
        assert metrics.ssimulacra2(a, a) == pytest.approx(100)
    assert math.isnan(metrics.ssimulacra2(picture(7, 50), picture(7, 50)))


def test_bits_per_pixel_counts_the_whole_file() -> None:
    assert metrics.bits_per_pixel(9_000, 600, 400) == 0.3


@pytest.mark.parametrize("size", [(100, 8), (768, 512), (1, 1), (333, 271)])
def test_a_byte_budget_is_the_most_bytes_of_the_rate(size: tuple[int, int]) -> None:
    for hundredths in range(1, 400):
        budget = metrics.byte_budget(hundredths / 100, *size)
        assert 800 * budget <= hundredths * math.prod(size) < 800 * (budget + 1)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_what_is_no_rate(rate: float) -> None:
    with pytest.raises(ValueError, match="a rate is a finite number"):
        metrics.byte_budget(rate, 8, 8)
