"""Rate control finds the scale of a picture from few encodings, whatever the picture."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residae.checkpoint import Checkpoint
from residae.codec import Tables
from residae.errors import CodecError
from residae.geometry import MAX_PIXELS, scaled_shape
from residae.image import Picture, Pixels
from residae.model import ResidualAutoencoder
from residae.pipeline import Pipeline
from residae.rate_control import (
    MAX_ENCODINGS,
    MAX_EXCESS,
    QUALITIES,
    SCALES,
    Probe,
    best_quality,
    choose_scale,
    detail_spectrum,
    usable_scales,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def _simulated(size: float, growth: float, bend: float, scale: float, detail: float) -> Probe:
    """A picture with `size` times the bytes that are usual with this detail."""
    power = growth + bend * math.log(scale)
    size *= 1550 * detail**0.3 * scale**power
    return Probe(scale, tuple(40 + int(size * math.exp(0.022 * (q - 65))) for q in QUALITIES))


PICTURES = st.tuples(st.floats(0.4, 1.4), st.floats(1.4, 2.2), st.floats(-0.2, 0.2))


def _quality(probe: Probe, max_bytes: int, detail: float) -> float:
    return probe.quality_at(max_bytes) - best_quality(probe.scale, [detail] * 4)


@settings(max_examples=300, deadline=None)
@given(PICTURES, st.floats(500, 100_000), st.floats(1, 1000))
def test_the_scale_is_that_of_all_encodings(picture: tuple[float, float, float], limit: float, detail: float) -> None:
    """At most one step from the one that is found by trying all of them, and never at the cost of large encodings."""
    tried: list[float] = []

    def probe(scale: float) -> Probe:
        tried.append(scale)
        return _simulated(*picture, scale, detail)

    chosen = choose_scale(512, 768, int(limit), [detail] * 4, probe)
    assert len(tried) == len(set(tried)) <= MAX_ENCODINGS
    assert chosen in tried
    fitting = [scale for scale in SCALES if _simulated(*picture, scale, detail).sizes[0] <= limit]
    if not fitting:
        return
    assert _simulated(*picture, chosen, detail).sizes[0] <= limit
    assert max(tried) <= MAX_EXCESS * chosen or max(tried) > MAX_EXCESS * fitting[-1]
    exact = next((s for s in SCALES if _quality(_simulated(*picture, s, detail), int(limit), detail) <= 0), SCALES[-1])
    exact = max(exact, min(s for s in SCALES if MAX_EXCESS * s >= max(tried)))
    assert abs(SCALES.index(chosen) - SCALES.index(exact)) <= 1


@pytest.mark.parametrize("size", [(512, 768), (8000, 8000), (1, 1), (1, 65_500), (5657, 5657)])
def test_scales_stay_within_the_limits(size: tuple[int, int]) -> None:
    scales = usable_scales(*size)
    assert scales[0] == 0.5
    assert 1.0 in scales
    assert all(math.prod(scaled_shape(*size, scale)) <= MAX_PIXELS for scale in scales)
    assert all(b / a < 1.103 for a, b in itertools.pairwise(SCALES))
    assert len(scales) == (25 if size in [(512, 768), (1, 1)] else len(scales))


def test_the_spectrum_has_the_energy_of_each_band() -> None:
    """A wave counts where its frequency is the resolution's, and a flat plane nowhere."""
    _, x = np.mgrid[:128, :128].astype(np.float32)
    for band, frequency in enumerate((0.24, 0.34, 0.47, 0.67)):  # of the Nyquist frequency
        wave = np.float32(0.5) + np.float32(0.2) * np.sin(np.float32(math.pi * frequency) * x)
        spectrum = detail_spectrum(wave)
        assert int(np.argmax(spectrum)) == band
        assert spectrum[band] * math.log(1.4) > 0.5 * 255**2 * 0.2**2 / 2
    for size in ((1, 1), (7, 90)):
        assert detail_spectrum(np.full(size, 0.5, np.float32)) == (1, 1, 1, 1)


@pytest.fixture(scope="module")
def fine(network: ResidualAutoencoder) -> Pipeline:
    """A pipeline whose files have some bytes: the default tables round all latents of the tiny network to 0."""
    tables = Tables.default(4)
    return Pipeline(Checkpoint(network, replace(tables, gains=1000 * tables.gains), "tiny"), "cpu")


@pytest.fixture(scope="module")
def photograph() -> Picture:
    """Edges, waves and noise: (96, 128, 3)."""
    y, x = np.mgrid[:96, :128]
    waves = 128 + 60 * np.sin(x / 5) * np.cos(y / 9) + 50 * np.sign(np.sin((x + 2 * y) / 17))
    noise = np.random.default_rng(0).normal(0, 12, (96, 128, 3))
    pixels: Pixels = np.clip(waves[..., None] * [1, 0.8, 0.6] + noise, 0, 255).astype(np.uint8)
    return Picture(pixels, (), None)


@pytest.mark.parametrize("color", [False, True])
def test_bytes_grow_with_the_rate(
    fine: Pipeline, photograph: Picture, color: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[float] = []
    encode = type(fine).encode

    def counted(self: Pipeline, *arguments: object) -> object:
        encoded.append(arguments[-1])  # type: ignore[arg-type]
        return encode(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(fine), "encode", counted)
    sizes, scales = [], []
    for limit in np.geomspace(150 if color else 90, 12_000, 30):
        encoded.clear()
        encoding, compressed = fine.encode_and_write(photograph, color, max_bytes=int(limit))
        assert 0.9 * limit - 8 < len(compressed.data) <= limit or compressed.quality == 100
        assert len(encoded) <= MAX_ENCODINGS
        assert max(encoded) <= MAX_EXCESS * encoding.scale
        sizes.append(len(compressed.data))
        scales.append(encoding.scale)
    assert sizes == sorted(sizes)
    assert scales[-1] > 1 > scales[0]


def test_a_limit_that_no_file_meets(fine: Pipeline, photograph: Picture) -> None:
    with pytest.raises(CodecError, match="takes at least"):
        fine.encode_and_write(photograph, False, max_bytes=30)


def test_the_scale_may_be_given(fine: Pipeline, photograph: Picture) -> None:
    for arguments, scale, limit in [
        ({"quality": 60}, 1.0, None),
        ({"quality": 60, "scale": 1.5}, 1.5, None),
        ({"max_bytes": 400, "scale": 0.7}, 0.7, 400),
        ({"target_bpp": 0.3, "scale": 1}, 1.0, 460),
        ({"target_bpp": 0.3, "max_bytes": 300, "scale": 1}, 1.0, 300),
    ]:
        encoding, compressed = fine.encode_and_write(photograph, False, **arguments)
        data = fine.compress(photograph.pixels, color=False, **arguments)
        assert data == compressed.data
        assert encoding.scale == scale
        assert len(data) <= limit if limit else compressed.quality == 60
    with pytest.raises(ValueError, match="give target_bpp or max_bytes"):
        fine.compress(photograph.pixels, scale="auto")
