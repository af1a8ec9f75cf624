"""AVIF at its best speed, and the BD-rate between rate-distortion curves."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from residae import compare
from residae.baselines import CODECS, compress_within
from residae.compare import CodecResult, Comparison, RatePoint, bd_rate, with_best_speed
from residae.image import Pixels
from residae.metrics import psnr, ssimulacra2

# The example of the package `bjontegaard` 1.3.0, with what its bd_rate(..., method="pchip") gives.
ANCHOR = [(9487.76, 40.037), (4593.60, 38.615), (2486.44, 36.845), (1358.24, 34.851)]
TEST = [(9787.80, 40.121), (4469.00, 38.651), (2451.52, 36.970), (1356.24, 34.987)]
EXPECTED = -4.417485350589045


def curve(points: list[tuple[float, float]]) -> list[RatePoint]:
    return [RatePoint(*point) for point in points]


def test_bd_rate_of_a_known_example() -> None:
    assert bd_rate(curve(ANCHOR), curve(TEST)) == pytest.approx(EXPECTED, abs=1e-9)
    assert bd_rate(curve(ANCHOR[::-1]), curve(TEST)) == pytest.approx(EXPECTED, abs=1e-9)


@pytest.mark.parametrize("points", [2, 3, 7])
def test_bd_rate_of_a_constant_factor_is_that_factor(points: int) -> None:
    ours = [(0.1 * 1.5**i, 25 + 2 * i**0.8) for i in range(points)]
    assert bd_rate(curve(ours), curve([(2 * rate, db) for rate, db in ours])) == pytest.approx(100)
    assert bd_rate(curve(ours), curve([(rate / 2, db) for rate, db in ours])) == pytest.approx(-50)


def test_bd_rate_is_that_of_scipy_s_interpolation() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        curves = [
            list(zip(np.cumsum(rng.uniform(0.01, 1, n)), 20 + np.cumsum(rng.uniform(0.01, 3, n)), strict=True))
            for n in rng.integers(3, 8, 2)
        ]
        functions = [PchipInterpolator([d for _, d in c], np.log([r for r, _ in c])) for c in curves]
        low, high = max(c[0][1] for c in curves), min(c[-1][1] for c in curves)
        ours, theirs = (function.integrate(low, high) / (high - low) for function in functions)
        expected = 100 * math.expm1(theirs - ours)
        assert bd_rate(*(curve(c) for c in curves)) == pytest.approx(expected, rel=1e-9)


def test_points_that_cost_more_and_are_no_better_are_left_out() -> None:
    more = [*ANCHOR, (20_000.0, 40.0), (9487.76, 39.0), (9487.76, 40.037), (30_000.0, math.inf)]
    assert bd_rate(curve(more), curve(TEST)) == bd_rate(curve(ANCHOR), curve(TEST))


@pytest.mark.parametrize("test", [[], ANCHOR[:1], [(1.0, 10.0), (2.0, 20.0)]])
def test_curves_with_nothing_in_common_have_no_bd_rate(test: list[tuple[float, float]]) -> None:
    assert math.isnan(bd_rate(curve(ANCHOR), curve(test)))
    assert math.isnan(bd_rate(curve(test), curve(ANCHOR)))


@pytest.mark.parametrize("color", [False, True])
def test_avif_at_its_best_speed_is_within_the_bytes(
    smooth: Callable[[int, int, int], Pixels], color: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).normal(0, 12, (96, 128, 3))
    original = (smooth(96, 128, 0) + noise).clip(0, 255).astype(np.uint8)[..., slice(None) if color else 0]
    fast = compress_within(original, CODECS["AVIF"], 2000)
    assert fast
    ours = CodecResult("Residae", original, 2000, 30)
    worse = CodecResult("AVIF", fast.pixels, len(fast.data), 10, quality=fast.quality)
    before = Comparison(original, (ours, worse, CodecResult("WebP", None)))
    after = with_best_speed(before)
    best = after.results[1]
    assert best.pixels is not None
    assert (best.name, best.effort, after.results[0], after.results[2].name) == ("AVIF", "speed 0", ours, "WebP")
    assert worse.bytes * 0.9 < best.bytes <= 2000
    assert best.psnr == pytest.approx(psnr(original, best.pixels))
    assert best.ssimulacra2 == pytest.approx(ssimulacra2(original, best.pixels))
    better = replace(before, results=(ours, replace(worse, psnr=best.psnr + 0.1)))
    assert with_best_speed(better).results == better.results
    monkeypatch.setattr(compare, "MAX_BEST_SPEED_PIXELS", 96 * 128 - 1)
    assert with_best_speed(before) is before


def test_avif_that_cannot_make_so_small_a_file_stays_out() -> None:
    before = Comparison(np.zeros((8, 8), np.uint8), (CodecResult("Residae", None, 20), CodecResult("AVIF", None)))
    assert with_best_speed(before) is before
