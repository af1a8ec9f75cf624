"""Rate control finds the scale of a picture from few encodings, whatever the picture."""

import csv
import itertools
import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residae.checkpoint import DEFAULT, Checkpoint
from residae.codec import Tables
from residae.errors import CodecError
from residae.geometry import MAX_PIXELS, MAX_SIDE, latent_shape, scaled_shape
from residae.image import Picture, Pixels
from residae.model import ResidualAutoencoder
from residae.pipeline import AUTO_ENCODES, Encoding, Pipeline, network_pixels
from residae.rate_control import (
    MAX_ENCODINGS,
    MAX_EXCESS,
    QUALITIES,
    Probe,
    best_quality,
    choose_scale,
    detail,
    usable_scales,
    usual_scale,
)

HEIGHT, WIDTH = 512, 768
SCALES = usable_scales(HEIGHT, WIDTH)


def _simulated(size: float, growth: float, bend: float, fineness: float, scale: float) -> Probe:
    """A picture with `size` times the bytes that are usual with this detail."""
    power = growth + bend * math.log(scale)
    size *= 460 * fineness**0.5 * scale**power
    return Probe(scale, tuple(40 + int(size * math.exp(0.022 * (quality - 43))) for quality in QUALITIES))


PICTURES = st.tuples(st.floats(0.4, 1.4), st.floats(1.4, 2.2), st.floats(-0.2, 0.2), st.floats(1, 1000))


@settings(max_examples=300, deadline=None)
@given(PICTURES, st.floats(800, 100_000))
def test_few_encodings_find_what_all_of_them_find(picture: tuple[float, float, float, float], limit: float) -> None:
    """The quality is hardly farther from the best one than with all sizes known: about a step of scale."""
    tried: list[float] = []

    def probe(scale: float) -> Probe:
        tried.append(scale)
        return _simulated(*picture, scale)

    chosen = choose_scale(HEIGHT, WIDTH, int(limit), picture[-1], probe)
    assert len(tried) == len(set(tried)) <= MAX_ENCODINGS
    assert chosen in tried
    fitting = [scale for scale in SCALES if _simulated(*picture, scale).sizes[0] <= limit]
    if not fitting:
        return
    assert chosen in fitting
    assert max(tried) <= MAX_EXCESS * chosen or max(tried) > MAX_EXCESS * fitting[-1]

    def distance(scale: float) -> float:
        return abs(_simulated(*picture, scale).quality_at(limit) - best_quality(picture[-1], scale))

    allowed = [scale for scale in fitting if MAX_EXCESS * scale >= max(tried)]
    assert distance(chosen) <= min(map(distance, allowed)) + 5


def test_a_limit_beyond_all_files_takes_the_largest_scale() -> None:
    chosen = choose_scale(HEIGHT, WIDTH, 10**8, 100.0, lambda scale: _simulated(1, 2, 0, 100, scale))
    assert chosen == SCALES[-1]


@pytest.mark.parametrize("size", [(512, 768), (8000, 8000), (1, 1), (1, 65_500), (5657, 5657), (853, 1280), (77, 45)])
def test_scales_stay_within_the_limits_and_waste_little(size: tuple[int, int]) -> None:
    scales = usable_scales(*size)
    assert 1.0 in scales
    assert 0.5 <= scales[0] <= 0.51
    assert scales[-1] == 1 or scales[-1] >= 1.4
    assert all(1 < b / a < 1.105 for a, b in itertools.pairwise(scales))
    for scale in scales:
        shape = scaled_shape(*size, scale)
        assert math.prod(shape) <= MAX_PIXELS
        assert max(shape) <= MAX_SIDE
    if size == (853, 1280):
        wastes = [256 * math.prod(latent_shape(*size, s)) / math.prod(scaled_shape(*size, s)) for s in scales]
        assert max(wastes) < 1.05


def test_the_work_of_a_scale_that_is_not_chosen_yet_is_that_of_the_usual_one() -> None:
    """Of the published table at each rate. Where it is off for new weights, the two USUAL constants must change."""
    shares: dict[str, list[float]] = {}
    with (Path(__file__).parents[1] / "checkpoints" / DEFAULT / "results.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            is_luma, is_refined = row["options"].startswith("luma"), "steps" in row["setting"]
            if row["codec"] == "Residae" and row["max_bytes"] and is_luma and not is_refined:
                size, limit = (int(row["height"]), int(row["width"])), int(row["max_bytes"])
                work = network_pixels(*size, False, float(row["scale"]), encodes=AUTO_ENCODES)
                expected = network_pixels(*size, False, "auto", max_bytes=limit)
                shares.setdefault(row["setting"], []).append(work / expected)
    assert len(shares) == 6
    for setting, values in shares.items():
        assert fmean(values) == pytest.approx(1, abs=0.1), setting
        assert max(values) < 2, setting
    assert fmean(itertools.chain(*shares.values())) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("size", [(0, 0), (1, 1), (512, 768), (8000, 8000), (1, 65_500), (100_000, 100_000)])
def test_the_usual_scale_is_within_the_limits(size: tuple[int, int]) -> None:
    for limit in (0, 1, 10**4, 10**9):
        scale = usual_scale(*size, limit)
        assert 0 < scale <= 4
        assert scale**2 * math.prod(size) <= MAX_PIXELS * 1.000001
        assert scale * max(size) <= MAX_SIDE * 1.000001
    assert usual_scale(512, 768, 0) == 0.5
    with pytest.raises(ValueError, match="give target_bpp or max_bytes"):
        network_pixels(*size, False, "auto")


def test_detail_is_what_half_the_resolution_loses() -> None:
    _, x = np.mgrid[:128, :128].astype(np.float32)
    coarse, fine = (
        detail(np.float32(0.5) + np.float32(0.2) * np.sin(np.float32(math.pi * frequency) * x))
        for frequency in (0.25, 0.8)  # of the Nyquist frequency
    )
    assert fine == pytest.approx(255**2 * 0.2**2 / 2, rel=0.1)
    assert coarse < 0.1 * fine
    for size in ((1, 1), (7, 90)):
        assert detail(np.full(size, 0.5, np.float32)) == 1


def test_detail_that_is_lost_calls_for_scale_rather_than_for_quality() -> None:
    assert best_quality(300, 1) < best_quality(30, 1) < best_quality(30, 3)
    for fineness, scale in ((1, 4), (255**2, 0.5)):
        assert 0 < best_quality(fineness, scale) < 100


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
    for limit in (30, 1, 0):  # 0 is what a low rate leaves to a picture of a few pixels
        with pytest.raises(CodecError, match="takes at least"):
            fine.encode_and_write(photograph, False, max_bytes=limit)


@pytest.mark.parametrize("side", [1, 16, 40, 64])
@pytest.mark.parametrize("color", [False, True])
def test_the_smallest_file_at_scale_1_is_found(fine: Pipeline, photograph: Picture, side: int, color: bool) -> None:
    """Without a scale in its header it may be smaller than at a smaller scale, also of the fewest cells."""
    for pixels in (photograph.pixels[:side, :side], np.full((side, side, 3), 90, np.uint8)):
        least = len(fine.compress(pixels, quality=0, color=color))
        assert len(fine.compress(pixels, max_bytes=least, color=color)) <= least


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


@pytest.mark.parametrize("limit", [90, 4000])
def test_a_reconstruction_is_that_of_the_file(fine: Pipeline, photograph: Picture, limit: int) -> None:
    """Of `compress` with the same arguments: a limit on the size lets the scale be chosen."""
    report = fine.reconstruct(photograph, color=False, max_bytes=limit)
    assert report.compressed
    assert report.compressed.data == fine.compress(photograph, color=False, max_bytes=limit)
    assert report.encoding.scale != 1
    assert fine.reconstruct(photograph, color=False).encoding.scale == 1


def test_the_time_of_an_encoding_is_that_of_all_that_were_tried(
    fine: Pipeline, photograph: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, scales = fine.encode, list[float]()

    def encode_in_a_second(picture: Picture, color: bool, progress: Any, scale: float) -> Encoding:
        scales.append(scale)
        return replace(encode(picture, color, progress, scale), seconds=1)

    monkeypatch.setattr(fine, "encode", encode_in_a_second)
    assert fine.encode_within(photograph, False, 300).seconds == len(scales) > 1
