"""The resampler is the one that its docstring defines, at every size."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residae.arrays import Plane
from residae.resample import resample, taps

LENGTHS = st.integers(1, 90)


def _plane(height: int, width: int, seed: int = 0) -> Plane:
    return np.random.default_rng(seed).random((height, width), np.float32)


def _matrix(length: int, new_length: int) -> np.ndarray:
    """(new_length, length) of the taps."""
    first, weights = taps(length, new_length)
    matrix = np.zeros((new_length, length))
    for row, start, values in zip(matrix, first, weights, strict=True):
        row[start : start + len(values)] = values
    return matrix


@settings(max_examples=200, deadline=None)
@given(LENGTHS, LENGTHS, LENGTHS, LENGTHS, st.integers(0, 99))
def test_taps_are_those_of_the_resampler(height: int, width: int, tall: int, wide: int, seed: int) -> None:
    plane = _plane(height, width, seed)
    expected = np.clip(_matrix(height, tall) @ plane @ _matrix(width, wide).T, 0, 1)
    np.testing.assert_allclose(resample(plane, tall, wide), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("length", "new_length"), [(7, 9), (9, 7), (1, 5), (5, 1), (2, 200), (200, 2), (64, 16)])
def test_taps_are_those_of_the_docstring(length: int, new_length: int) -> None:
    """Computed one by one, over all samples."""

    def kernel(x: float) -> float:
        if abs(x) >= 3:
            return 0.0
        return math.sin(math.pi * x) * math.sin(math.pi * x / 3) * 3 / (math.pi * x) ** 2 if x else 1.0

    matrix = _matrix(length, new_length)
    for j, row in enumerate(matrix):
        center = (j + 0.5) * length / new_length
        weights = [kernel((i + 0.5 - center) / max(1, length / new_length)) for i in range(length)]
        np.testing.assert_allclose(row, np.array(weights) / sum(weights), atol=1e-12)


def test_taps_of_long_axes_are_those_of_the_resampler() -> None:
    (row,) = plane = _plane(1, 65_500)
    for wide in (16_377, 65_499):
        first, weights = taps(65_500, wide)
        expected = (row[first[:, None] + np.arange(weights.shape[1])] * weights).sum(1)
        np.testing.assert_allclose(resample(plane, 1, wide)[0], np.clip(expected, 0, 1), rtol=0, atol=1e-5)


def test_the_same_size_changes_nothing() -> None:
    plane = _plane(5, 7)
    assert resample(plane, 5, 7) is plane
    assert np.array_equal(_matrix(5, 5), np.eye(5))


def test_a_smooth_plane_survives_being_enlarged() -> None:
    y, x = np.mgrid[:61, :83] / 10
    plane = (0.5 + 0.3 * np.sin(x) * np.cos(y)).astype(np.float32)
    back = resample(resample(plane, 113, 151), 61, 83)
    assert np.abs(back - plane).max() < 2e-3


def test_reduction_does_not_alias() -> None:
    """A pattern above the new Nyquist frequency becomes gray."""
    stripes = np.tile(np.array([0, 1], np.float32), (64, 32))
    assert np.abs(resample(stripes, 64, 20)[:, 2:-2] - 0.5).max() < 0.02


def test_overshoot_is_clamped() -> None:
    edge = np.repeat(np.array([[0, 1]], np.float32), 8, axis=1)
    large = resample(edge, 3, 40)
    assert (large.min(), large.max()) == (0, 1)


def test_memory_is_bounded_by_the_result() -> None:
    plane = _plane(1000, 1000)
    tracemalloc.start()  # does not count the two planes that Pillow allocates by itself
    resample(plane, 2000, 2000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.2 * 4 * 2000 * 2000
