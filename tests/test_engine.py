"""The engine computes the network's function: on any size, in tiles, fused, and in the precision it was asked for."""

import copy
import ctypes
import itertools
import logging
import math
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from residae.engine import Engine, blocks, onednn, precision, preferred_float, stages
from residae.engine import engine as module
from residae.engine.engine import DECODER_HALO, ENCODER_HALO
from residae.engine.precision import has_fast_int8, preferred_dtype
from residae.engine.tiles import Region, Tile
from residae.errors import OutOfMemoryError, ResidaeError
from residae.geometry import STRIDE, grid_shape
from residae.model import ResidualAutoencoder
from residae.train.batchnorm import recalibrate_batchnorm

Array = NDArray[np.float32]
CPU = torch.device("cpu")
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # of float32 that is summed in another order


def _plane(height: int, width: int) -> Array:
    return np.random.default_rng(0).random((height, width), np.float32)


def _latent(height: int, width: int) -> Array:
    return np.random.default_rng(0).standard_normal((4, *grid_shape(height, width)), np.float32)


@pytest.fixture(scope="module")
def engine(network: ResidualAutoencoder) -> Engine:
    return Engine(network, "cpu", torch.float32)


@pytest.mark.parametrize(
    ("size", "cells"),
    [((1, 1), (1, 1)), ((16, 17), (1, 2)), ((256, 256), (16, 16)), ((255, 257), (16, 17))],
)
def test_grid_shape(size: tuple[int, int], cells: tuple[int, int]) -> None:
    assert grid_shape(*size) == cells


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 200), (200, 1), (15, 33), (48, 64), (131, 77)])
def test_engine_is_the_padded_network(network: ResidualAutoencoder, engine: Engine, height: int, width: int) -> None:
    plane, latent = _plane(height, width), _latent(height, width)
    cells = grid_shape(height, width)
    padded = np.pad(plane, ((0, cells[0] * STRIDE - height), (0, cells[1] * STRIDE - width)), mode="edge")
    with torch.inference_mode():
        expected_latent = network.encode(torch.from_numpy(padded)[None, None])[0].numpy()
        expected_plane = network.decode(torch.from_numpy(latent)[None])[0, 0].numpy()[:height, :width]
    np.testing.assert_allclose(engine.encode(plane), expected_latent, **CLOSE)
    np.testing.assert_allclose(engine.decode(latent, height, width), expected_plane, **CLOSE)
    assert expected_latent.std() > 0.1  # else closeness would say little
    assert expected_plane.std() > 0.01 or height * width == 1


def test_results_are_float32_planes(engine: Engine) -> None:
    latent = engine.encode(_plane(20, 30))
    plane = engine.decode(latent, 20, 30)
    assert (latent.dtype, latent.shape) == (np.float32, (4, 2, 2))
    assert (plane.dtype, plane.shape) == (np.float32, (20, 30))
    assert 0 <= plane.min() < plane.max() <= 1


@pytest.mark.parametrize("tile", [1, 3, 8])
def test_tiled_is_whole(network: ResidualAutoencoder, engine: Engine, tile: int) -> None:
    height, width = 117, 333  # 8 x 21 cells
    plane, latent = _plane(height, width), _latent(height, width)
    tiled = Engine(network, "cpu", torch.float32, tile)
    np.testing.assert_allclose(tiled.encode(plane), engine.encode(plane), **CLOSE)
    np.testing.assert_allclose(tiled.decode(latent, height, width), engine.decode(latent, height, width), **CLOSE)


@pytest.mark.parametrize("side", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("wanted", [range(1), range(2), range(5), range(64), range(65), range(3, 17), range(80, 199)])
def test_tiles_cover_each_cell_once_and_are_no_larger_than_asked(wanted: range, side: int) -> None:
    length = max(wanted.stop, 70)
    tiles = list(Tile(wanted, range(9), (length, 9), halo=5).split(side, 9))
    assert [i for tile in tiles for i in range(length)[tile.core()[0]]] == list(wanted)
    assert max(len(tile.rows) for tile in tiles) <= side
    assert len(tiles) == math.ceil(len(wanted) / side)
    for tile in tiles:
        assert tile.outer() == (slice(max(tile.rows.start - 5, 0), min(tile.rows.stop + 5, length)), slice(0, 9))
        for scale in (1, 16):
            everything = list(range(length * scale))
            assert everything[tile.outer(scale)[0]][tile.inner(scale)[0]] == everything[tile.core(scale)[0]]


@pytest.mark.parametrize(
    ("height", "width", "most", "rows", "columns"),
    [
        (256, 256, 65536, 256, 256),
        (256, 256, 40000, 128, 256),  # one cut, and not two
        (256, 256, 20000, 128, 128),
        (10, 1000, 1000, 10, 100),
        (1000, 10, 1000, 100, 10),
        (3, 5, 1, 1, 1),
        (3, 5, 3, 3, 1),
    ],
)
def test_cuts_are_short(height: int, width: int, most: int, rows: int, columns: int) -> None:
    tiles = list(Tile(range(height), range(width), (height, width), halo=5).cut(most))
    assert len(tiles) == math.ceil(height / rows) * math.ceil(width / columns)
    assert {(len(tile.rows), len(tile.columns)) for tile in tiles} == {(rows, columns)}


@pytest.mark.parametrize("columns", [30, 48, 64, 200])
def test_stages_cut_into_small_tiles_are_whole(
    network: ResidualAutoencoder, engine: Engine, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    height, width = 112, 336
    plane, latent = _plane(height, width), _latent(height, width)
    with torch.inference_mode():
        expected_latent = network.encode(torch.from_numpy(plane)[None, None])[0].numpy()
        expected_plane = network.decode(torch.from_numpy(latent)[None])[0, 0].numpy()
    monkeypatch.setattr(stages, "MAX_STAGE_COLUMNS", columns)
    monkeypatch.setattr(stages, "MAX_STAGE_TENSOR_BYTES", 50 * columns * 4 * 4)  # 50 rows of 4 channels of float32
    steps: list[float] = []
    np.testing.assert_allclose(engine.encode(plane, steps.append), expected_latent, **CLOSE)
    np.testing.assert_allclose(engine.decode(latent, height, width, steps.append), expected_plane, **CLOSE)
    layers = sum(len(stage.layers) for stage in (*engine._encoder, *engine._decoder))
    assert len(steps) > 2 * layers  # it was cut
    tiled = Engine(network, "cpu", torch.float32, tile=10)  # each tile in the memory of the one before
    np.testing.assert_allclose(tiled.encode(plane), expected_latent, **CLOSE)
    np.testing.assert_allclose(tiled.decode(latent, height, width), expected_plane, **CLOSE)


@pytest.mark.parametrize("tile", [2, 64])
@pytest.mark.parametrize(
    "region",
    [
        (slice(0, 1), slice(0, 1)),
        (slice(100, 117), slice(300, 333)),
        (slice(31, 33), slice(95, 97)),
        (slice(40, 41), slice(None)),
        (slice(-20, None), slice(17, 160)),
    ],
)
def test_a_region_is_the_crop_of_the_whole(
    network: ResidualAutoencoder, engine: Engine, region: Region, tile: int
) -> None:
    height, width = 117, 333
    latent = _latent(height, width)
    crop = engine.decode(latent, height, width)[region]
    part = Engine(network, "cpu", torch.float32, tile).decode(latent, height, width, region=region)
    np.testing.assert_allclose(part, crop, **CLOSE)


def test_a_region_costs_only_the_cells_that_it_depends_on(engine: Engine) -> None:
    height = width = 40 * STRIDE
    latent = _latent(height, width)
    region = slice(320, 336), slice(300, 340)  # cell 20 down, cells 18 to 21 across
    inside = np.full_like(latent, np.nan)
    inside[:, 15:26, 13:27] = latent[:, 15:26, 13:27]  # with five cells around them
    np.testing.assert_array_equal(
        engine.decode(inside, height, width, region=region), engine.decode(latent, height, width, region=region)
    )


@pytest.mark.parametrize("part", [slice(5, 5), slice(20, None), slice(0, 10, 2), slice(None, None, -1)])
def test_a_region_that_is_empty_or_has_gaps(engine: Engine, part: slice) -> None:
    for region in ((part, slice(None)), (slice(None), part)):
        with pytest.raises(ValueError, match="is empty or has gaps on an axis of 20 pixels"):
            engine.decode(_latent(20, 20), 20, 20, region=region)


def _all_alive(network: ResidualAutoencoder) -> ResidualAutoencoder:
    """Give a network positive weights, so that with positive inputs every ReLU is open and no influence is lost."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return network.double().eval()


def _reach(influence: Tensor, start: int, stop: int) -> list[int]:
    """How far the non-zero part of a (H, W) influence reaches beyond start..stop: up, down, left and right."""
    rows, columns = influence.any(1).nonzero(), influence.any(0).nonzero()
    return [x for line in (rows, columns) for x in (start - int(line.min()), int(line.max()) + 1 - stop)]


def test_a_cell_sees_108_pixels_and_no_more() -> None:
    network = _all_alive(ResidualAutoencoder(base_channels=2, latent_channels=2))
    size, cell = 20, 10
    x = torch.rand(1, 1, size * STRIDE, size * STRIDE, dtype=torch.float64, requires_grad=True)
    network.encode(x)[0, :, cell, cell].sum().backward()
    reach = _reach(x.grad[0, 0], cell * STRIDE, (cell + 1) * STRIDE)
    assert reach == [108, 93, 108, 93]  # a stride keeps the first of each two: 108 of the cell's first pixel
    assert (ENCODER_HALO - 1) * STRIDE < max(reach) <= ENCODER_HALO * STRIDE


def test_a_pixel_sees_five_cells_and_no_more() -> None:
    network = _all_alive(ResidualAutoencoder(base_channels=2, latent_channels=2))
    size, cell = 17, 8
    z = torch.rand(1, 2, size, size, dtype=torch.float64, requires_grad=True)
    logits = network.decoder.out(network.decoder.stages(z))  # the sigmoid would be flat there
    logits[..., cell * STRIDE : (cell + 1) * STRIDE, cell * STRIDE : (cell + 1) * STRIDE].sum().backward()
    assert _reach(z.grad[0].sum(0), cell, cell + 1) == [DECODER_HALO] * 4


def test_beyond_the_halo_nothing_changes_at_all(engine: Engine) -> None:
    """The whole plane is one tile, so that only the network limits the influence."""
    size = 20
    plane, latent = _plane(size * STRIDE, size * STRIDE), _latent(size * STRIDE, size * STRIDE)
    pixel, cell = 9 * STRIDE, 10
    changed_plane, changed_latent = plane.copy(), latent.copy()
    changed_plane[pixel, pixel] += 100
    changed_latent[:, cell, cell] += 100
    cells = np.abs(engine.encode(changed_plane) - engine.encode(plane)).max(0)
    pixels = np.abs(engine.decode(changed_latent, *plane.shape) - engine.decode(latent, *plane.shape))
    near = slice(pixel // STRIDE - ENCODER_HALO, pixel // STRIDE + ENCODER_HALO + 1)
    assert cells[near, near].max() > 0.1
    cells[near, near] = 0
    assert not cells.any()
    near = slice((cell - DECODER_HALO) * STRIDE, (cell + DECODER_HALO + 1) * STRIDE)
    assert pixels[near, near].max() > 0.01
    pixels[near, near] = 0
    assert not pixels.any()


def test_bfloat16_is_close(network: ResidualAutoencoder, engine: Engine) -> None:
    coarse = Engine(network, "cpu", torch.bfloat16)
    assert coarse.description == "CPU, bfloat16"
    plane = _plane(64, 80)
    latent = engine.encode(plane)
    error = coarse.encode(plane) - latent
    assert 0 < np.abs(error).mean() < 0.02 * latent.std()  # not zero: else it is not bfloat16
    error = coarse.decode(latent, 64, 80) - engine.decode(latent, 64, 80)
    assert 0 < np.abs(error).mean() < 0.5 / 255
    assert np.abs(error).max() < 0.05


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (9, 12)])
def test_upsampling_in_bfloat16_is_bilinear(shape: tuple[int, int]) -> None:
    x = torch.randn(1, 8, *shape, generator=torch.Generator().manual_seed(0)).bfloat16()
    made = blocks.upsample(x.contiguous(memory_format=torch.channels_last))
    assert made.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(made.float(), blocks.upsample(x.float()), rtol=2**-8, atol=2**-8)


def test_a_slow_size_in_bfloat16_gives_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "SLOW_BF16_SHAPE", (8, 32, 32))
    layer = torch.nn.Conv2d(8, 8, 3, padding=1)
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        convolution = onednn.Convolution(layer, torch.device("cpu"), torch.bfloat16)
        for shape in ((32, 32), (32, 33)):
            x, total = torch.randn(2, 1, 8, *shape, generator=generator).bfloat16()
            x, total = (each.contiguous(memory_format=torch.channels_last) for each in (x, total))
            expected = layer(x.float())
            near = {"rtol": 2**-7, "atol": 2**-7, "check_dtype": False}
            torch.testing.assert_close(convolution(x, relu=True), expected.relu(), **near)
            torch.testing.assert_close(convolution.onto(total.clone(), x), total.float() + expected, **near)


def test_pixels_of_a_bfloat16_network_are_not_coarse(network: ResidualAutoencoder) -> None:
    """Eight bits of mantissa leave 128 values between a half and one; the last layer is float32 and has more."""
    plane = Engine(network, "cpu", torch.bfloat16).decode(_latent(96, 96), 96, 96)
    assert (torch.from_numpy(plane) != torch.from_numpy(plane).bfloat16().float()).float().mean() > 0.9


@pytest.fixture
def calibrated_network(network: ResidualAutoencoder) -> ResidualAutoencoder:
    """A network whose BatchNorm statistics are those of its activations, as after training."""
    network = copy.deepcopy(network)
    recalibrate_batchnorm(network, [torch.from_numpy(_plane(64, 80))[None, None]])
    return network


@pytest.fixture(params=[torch.float32, torch.bfloat16])
def sums(request: pytest.FixtureRequest, fast_int8: None, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """The precision of the sums of an int8 engine."""
    monkeypatch.setattr(precision, "cpu_prefers_bfloat16", lambda: request.param == torch.bfloat16)
    return request.param


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Private operators as they are before the first engine: not tried yet."""
    for path in (onednn.CONVOLUTION, onednn.CONVOLUTION_SUM, onednn.INT8_CONVOLUTION, onednn.INT8_PRODUCT):
        monkeypatch.setattr(path, "opened", {})


@pytest.fixture
def fast_int8(untried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU with VNNI. On others, the int8 operators are computed in float64."""
    if has_fast_int8(CPU):
        return
    find = onednn.find_operator
    supports = onednn.cpu_supports
    monkeypatch.setattr(onednn, "has_onednn", lambda dtype: True)
    monkeypatch.setattr(onednn, "cpu_supports", lambda feature: feature == "avx512_vnni" or supports(feature))
    monkeypatch.setattr(onednn, "find_operator", lambda name: EXACT_INT8.get(name) or find(name))
    onednn.INT8_CONVOLUTION.opened.clear()


def _exact_convolution(
    x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, options: tuple[Any, ...]
) -> Tensor:
    weight = weight.double() * scale.double().view(-1, 1, 1, 1)
    stride, padding, dilation, groups = options
    return F.conv2d(x.double(), weight, None if bias is None else bias.double(), stride, padding, dilation, groups)


def _exact_pointwise(x: Tensor, x_scale: float, x_zero: int, weight: Tensor, scale: Tensor, *given: Any) -> Tensor:
    _, bias, *options, out_scale, out_zero, dtype, activation, _, _ = given
    assert (x.dtype, weight.dtype, dtype, activation) == (torch.uint8, torch.int8, torch.uint8, "relu")
    assert (x_scale, x_zero, out_scale, out_zero) == (1, 0, 1, 0)
    return _exact_convolution(x, weight, scale, bias, options).round().clamp(0, 255).to(torch.uint8)


def _exact_sum(x: Tensor, x_scale: float, x_zero: int, weight: Tensor, scale: Tensor, *given: Any) -> Tensor:
    _, total, bias, *options, out_scale, out_zero, dtype, total_scale, total_zero, kind, alpha, activation, _, _ = given
    assert (x_scale, x_zero, out_scale, out_zero, total_scale, total_zero, alpha) == (1, 0, 1, 0, 1, 0, 1)
    assert (kind, activation, dtype) == ("sum", "none", total.dtype)
    return (total.double() + _exact_convolution(x, weight, scale, bias, options)).to(dtype)


EXACT_INT8 = {
    "onednn.qconv_prepack": lambda weight, *_: weight,
    "onednn.qconv2d_pointwise": _exact_pointwise,
    "onednn.qconv2d_pointwise.binary": _exact_sum,
}


@pytest.mark.usefixtures("sums")
def test_int8_is_close(calibrated_network: ResidualAutoencoder) -> None:
    plane, latent = _plane(64, 80), _latent(64, 80)
    fine, coarse = Engine(calibrated_network, "cpu", torch.float32), Engine(calibrated_network, "cpu", torch.int8)
    assert coarse.description == "CPU, int8"
    exact = fine.encode(plane)
    error = coarse.encode(plane) - exact
    assert 0 < np.abs(error).mean() < 0.04 * exact.std()  # not zero: else it is not int8
    error = coarse.decode(latent, 64, 80) - fine.decode(latent, 64, 80)
    assert 0 < np.abs(error).mean() < 1.5 / 255


@pytest.mark.usefixtures("sums")
def test_tiled_is_whole_in_int8(calibrated_network: ResidualAutoencoder) -> None:
    whole, tiled = Engine(calibrated_network, "cpu", torch.int8), Engine(calibrated_network, "cpu", torch.int8, tile=3)
    plane, latent = _plane(117, 333), _latent(117, 333)
    np.testing.assert_allclose(tiled.encode(plane), whole.encode(plane), **CLOSE)
    np.testing.assert_allclose(tiled.decode(latent, 117, 333), whole.decode(latent, 117, 333), **CLOSE)


@pytest.mark.parametrize(("loss", "keeps"), [(-1, True), (0.09, True), (0.11, False), (1, False)])
def test_int8_is_for_networks_that_lose_less_than_a_tenth_of_a_decibel_by_it(
    calibrated_network: ResidualAutoencoder,
    sums: torch.dtype,
    loss: float,
    keeps: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The int8 reconstruction is replaced by that of the network, with its error made larger by `loss` dB."""
    planes: list[Array] = []
    encode = Engine.encode

    def remember(engine: Engine, plane: Array) -> Array:
        planes.append(plane)
        return encode(engine, plane)

    def lose(engine: Engine, latent: Array, height: int, width: int) -> Array:
        plane = planes[-1]
        rebuilt = calibrated_network(torch.from_numpy(plane)[None, None])[0][0, 0].numpy()
        return plane + 10 ** (loss / 20) * (rebuilt - plane)

    monkeypatch.setattr(Engine, "encode", remember)
    monkeypatch.setattr(Engine, "decode", lose)
    monkeypatch.setattr(precision, "preferred_dtype", lambda device: torch.int8)
    assert Engine(calibrated_network, "cpu").dtype == (torch.int8 if keeps else sums)
    assert len(planes) == 1
    assert Engine(calibrated_network, "cpu", "int8").dtype == torch.int8  # whoever asks for int8 gets it


@pytest.mark.parametrize(
    ("features", "floats", "dtype"),
    [
        ({"amx_tile", "avx512_bf16", "avx512_vnni"}, "bfloat16", "bfloat16"),
        ({"avx512_bf16", "avx512_vnni"}, "bfloat16", "int8"),
        ({"avx512_vnni"}, "float32", "int8"),
        ({"avx_vnni"}, "float32", "int8"),
        ({"avx512_bf16"}, "bfloat16", "bfloat16"),
        ({"avx512_f"}, "float32", "float32"),
        (set(), "float32", "float32"),
    ],
)
@pytest.mark.usefixtures("fast_int8")
def test_the_instruction_sets_of_a_cpu_decide_its_precision(
    features: set[str], floats: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onednn, "cpu_supports", lambda feature: feature in features)
    monkeypatch.setattr(onednn, "has_onednn", lambda dtype: True)
    assert preferred_dtype(CPU) == getattr(torch, dtype)
    assert preferred_float(CPU) == getattr(torch, floats)
    monkeypatch.setattr(onednn, "has_onednn", lambda dtype: False)
    assert preferred_dtype(CPU) == preferred_float(CPU) == torch.float32


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 80)])
def test_without_onednn_the_function_is_the_same(
    network: ResidualAutoencoder, engine: Engine, height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU and on a Mac, torch's public operators do the work."""
    monkeypatch.setattr(onednn, "has_onednn", lambda dtype: False)
    plain = Engine(network, "cpu", torch.float32)
    plane, latent = _plane(height, width), _latent(height, width)
    np.testing.assert_allclose(plain.encode(plane), engine.encode(plane), **CLOSE)
    np.testing.assert_allclose(plain.decode(latent, height, width), engine.decode(latent, height, width), **CLOSE)


@pytest.mark.skipif(sys.platform == "win32", reason="oneDNN's log cannot be captured")
def test_kernels_are_laid_out_once_for_each_size(capfd: pytest.CaptureFixture[str]) -> None:
    """Bringing them into another layout takes up to as long as the convolution itself."""
    engine = Engine(ResidualAutoencoder(), "cpu", torch.float32)
    if not onednn.has_onednn(torch.float32):
        pytest.skip("torch has no oneDNN here")

    def reorders(side: int) -> int:
        with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
            engine.decode(engine.encode(_plane(side, side)), side, side)
        ctypes.CDLL(None).fflush(None)
        lines = capfd.readouterr().out.splitlines()
        assert sum(",convolution," in line for line in lines) > 50
        return sum(",reorder," in line for line in lines)

    sizes = (64, 96)[: onednn.KEPT_LAYOUTS]
    first, again = (sum(reorders(side) for side in sizes) for _ in range(2))
    assert again < first / 10  # none with AVX2; elsewhere oneDNN may still rearrange tensors with one channel
    reorders(112)
    assert reorders(64) > first / 10  # so that not every size takes memory forever


def test_the_network_itself_is_left_alone(network: ResidualAutoencoder) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.train()
    try:
        Engine(network, "cpu", torch.bfloat16).encode(_plane(16, 16))
        assert network.training
    finally:
        network.eval()
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in after)


def test_input_is_left_alone(engine: Engine) -> None:
    plane, latent = _plane(16, 16), _latent(16, 16)
    engine.encode(plane)
    engine.decode(latent, 16, 16)
    assert np.array_equal(plane, _plane(16, 16))
    assert np.array_equal(latent, _latent(16, 16))


@pytest.mark.parametrize("shape", [(4, 2, 3), (4, 3, 2), (3, 2, 2), (2, 2), (1, 4, 2, 2)])
def test_latent_of_another_shape(engine: Engine, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a 20 x 30 plane has no latent of shape"):
        engine.decode(np.zeros(shape, np.float32), 20, 30)


@pytest.mark.parametrize("tile", [2, 64])
@pytest.mark.parametrize("way", ["encode", "decode"])
def test_progress_rises_to_one(network: ResidualAutoencoder, tile: int, way: str) -> None:
    engine, shares = Engine(network, "cpu", torch.float32, tile), []
    _work(engine, way, shares.append)
    assert all(a < b for a, b in itertools.pairwise([0.0, *shares]))
    assert shares[-1] == 1
    assert len(shares) >= 9 * (6 if tile == 2 else 1)  # some for each of 2 x 3 tiles


def _work(engine: Engine, way: str, progress: Callable[[float], None]) -> None:
    if way == "encode":
        engine.encode(_plane(50, 90), progress)
    else:
        engine.decode(_latent(50, 90), 50, 90, progress)


@pytest.mark.parametrize("way", ["encode", "decode"])
def test_progress_may_stop_the_work(engine: Engine, way: str) -> None:
    told = []

    def stop(share: float) -> None:
        told.append(share)
        if share > 0.3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        _work(engine, way, stop)
    assert told[-1] < 0.5  # and nothing was done after


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), OutOfMemoryError),
        (torch.OutOfMemoryError("CUDA out of memory."), OutOfMemoryError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), OutOfMemoryError),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to"), OutOfMemoryError),
        (RuntimeError("could not create a primitive"), OutOfMemoryError),
        (RuntimeError("could not create a primitive descriptor for the convolution"), RuntimeError),
        (RuntimeError("another"), RuntimeError),
    ],
)
def test_out_of_memory_is_one_error(network: ResidualAutoencoder, error: Exception, kind: type[Exception]) -> None:
    def fail(_: float) -> None:
        raise error

    with pytest.raises(kind) as raised:
        Engine(network, "cpu", torch.float32).encode(_plane(16, 16), fail)
    assert type(raised.value) is kind


@pytest.mark.parametrize("way", ["encode", "decode"])
def test_out_of_memory_on_a_gpu_halves_the_tile(
    network: ResidualAutoencoder, engine: Engine, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU in place of a GPU, with memory for the first tile only."""
    height, width = 160, 640
    plane, latent = _plane(height, width), _latent(height, width)
    expected = engine.encode(plane) if way == "encode" else engine.decode(latent, height, width)
    small, tried = Engine(network, "cpu", torch.float32, tile=20), []
    run = small._run

    def short_of_memory(
        stages: list[stages.Stage], array: Array, wanted: Region, buffers: stages.PingPongBuffers, progress: None
    ) -> Array:
        cells = array.shape[1] * array.shape[2] // (STRIDE**2 if way == "encode" else 1)
        tried.append(cells)
        if len(tried) > 1 and cells >= tried[0]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return run(stages, array, wanted, buffers, progress)

    monkeypatch.setattr(Engine, "on_gpu", True)
    monkeypatch.setattr(small, "_run", short_of_memory)
    result = small.encode(plane) if way == "encode" else small.decode(latent, height, width)
    np.testing.assert_allclose(result, expected, **CLOSE)
    assert tried[0] == tried[1] > max(tried[2:])
    assert small.tile == 20  # another picture may come when there is more memory


def test_out_of_memory_on_a_gpu_with_one_cell(network: ResidualAutoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, tried = Engine(network, "cpu", torch.float32, tile=8), []

    def no_memory(stages: object, array: Array, wanted: Region, buffers: object, progress: object) -> Array:
        tried.append(array.shape)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Engine, "on_gpu", True)
    monkeypatch.setattr(engine, "_run", no_memory)
    with pytest.raises(OutOfMemoryError):
        engine.encode(_plane(128, 128))
    assert len(tried) == 4  # 8, 4, 2 and 1


def test_tiles_are_sized_from_the_memory_that_is_free(
    network: ResidualAutoencoder, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def most_cells(free: int) -> int:
        monkeypatch.setattr(module.psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2 * free))
        return engine._most_cells()

    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    for on_gpu in (False, True):
        monkeypatch.setattr(Engine, "on_gpu", on_gpu)
        assert most_cells(1) == 1
        assert 1 < most_cells(2**24) < most_cells(2**26) < most_cells(2**28)
        assert most_cells(2**28) == pytest.approx(4 * most_cells(2**26), rel=0.1)
        assert (most_cells(2**36) == most_cells(2**37)) is not on_gpu  # a larger tile is hardly faster on a CPU


def test_the_precision_of_this_cpu_is_that_of_its_engines(network: ResidualAutoencoder) -> None:
    assert Engine(network, "cpu").dtype in (preferred_dtype(CPU), preferred_float(CPU))


def test_no_clock_decides_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
        monkeypatch.setattr(time, name, lambda: pytest.fail("a clock was read"))
        monkeypatch.setattr(time, f"{name}_ns", lambda: pytest.fail("a clock was read"))
    assert preferred_dtype(CPU) in precision.PRECISIONS.values()


@pytest.mark.parametrize(("supported", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_preferred_dtype_of_a_gpu(supported: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert preferred_dtype(torch.device("cuda")) == dtype


def _missing(name: str) -> Any:
    raise AttributeError(f"'_OpNamespace' object has no attribute '{name}'")


def _raising(operator: Callable[..., Any]) -> Callable[..., Any]:
    def call(*_: object) -> Tensor:
        raise RuntimeError("could not create a primitive descriptor")

    return call


def _differing(operator: Callable[..., Any]) -> Callable[..., Any]:
    """Every result is off by a tenth, or two steps of int8."""

    def call(*arguments: Any) -> Tensor:
        result = operator(*arguments)
        if result.is_mkldnn:
            return (1.1 * result.to_dense().float()).to(result.dtype).to_mkldnn()
        return result * 1.1 if result.is_floating_point() else result + 2

    return call


def _break(name: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a private operator of torch missing, raise, or compute something else."""
    find = onednn.find_operator

    def find_broken(asked: str) -> Callable[..., Any]:
        if asked != name:
            return find(asked)
        if fault == "missing":
            return _missing(name)
        return {"raising": _raising, "differing": _differing}[fault](find(name))

    monkeypatch.setattr(onednn, "find_operator", find_broken)


FAULTS = ("missing", "raising", "differing")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", sorted({*onednn.CONVOLUTION.operators, *onednn.CONVOLUTION_SUM.operators}))
@pytest.mark.usefixtures("untried")
def test_a_private_operator_that_fails_is_replaced_by_a_public_one(
    network: ResidualAutoencoder,
    engine: Engine,
    name: str,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if not onednn.has_onednn(torch.float32):
        pytest.skip("torch has no oneDNN here")
    _break(name, fault, monkeypatch)
    plane, latent = _plane(48, 80), _latent(48, 80)
    for _ in range(2):
        plain = Engine(network, "cpu", torch.float32)
        np.testing.assert_allclose(plain.encode(plane), engine.encode(plane), **CLOSE)
        np.testing.assert_allclose(plain.decode(latent, 48, 80), engine.decode(latent, 48, 80), **CLOSE)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("residae.engine.onednn", logging.WARNING)
    assert f"torch.ops.{name}" in record.getMessage()
    assert "float32" in record.getMessage()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", onednn.INT8_CONVOLUTION.operators)
@pytest.mark.usefixtures("sums")
def test_an_int8_operator_that_fails_leaves_float(
    calibrated_network: ResidualAutoencoder,
    name: str,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert has_fast_int8(CPU)  # until then
    monkeypatch.setattr(onednn.INT8_CONVOLUTION, "opened", {})
    caplog.clear()
    _break(name, fault, monkeypatch)
    fallback, expected = Engine(calibrated_network, "cpu"), Engine(calibrated_network, "cpu", preferred_float(CPU))
    assert fallback.dtype == expected.dtype == preferred_float(CPU)
    plane = _plane(48, 80)
    np.testing.assert_array_equal(fallback.encode(plane), expected.encode(plane))
    with pytest.raises(ResidaeError, match=r"^int8 needs a CPU with VNNI .*\.$"):
        Engine(calibrated_network, "cpu", "int8")
    records = [record for record in caplog.records if f"torch.ops.{name}" in record.getMessage()]
    assert len(records) == 1


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("untried")
def test_an_int8_product_that_fails_is_not_used(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _break("aten._int_mm", fault, monkeypatch)
    assert onednn.INT8_PRODUCT.open(torch.int8) is None
    assert len(caplog.records) == 1


@pytest.mark.parametrize("answer", [True, False, None])
@pytest.mark.usefixtures("untried")
def test_a_wrong_answer_about_bfloat16_changes_no_picture(
    network: ResidualAutoencoder, engine: Engine, answer: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether oneDNN has bfloat16 here is asked of a private operator, which may be wrong, or missing."""
    name, find = "mkldnn._is_mkldnn_bf16_supported", onednn.find_operator
    fake = _missing if answer is None else (lambda asked: lambda: answer)
    monkeypatch.setattr(onednn, "find_operator", lambda asked: fake(asked) if asked == name else find(asked))
    coarse, plane = Engine(network, "cpu", "bfloat16"), _plane(48, 80)
    latent = engine.encode(plane)
    assert np.abs(coarse.encode(plane) - latent).mean() < 0.02 * latent.std()


@pytest.mark.usefixtures("untried")
def test_a_trial_changes_no_random_numbers() -> None:
    state = torch.get_rng_state()
    onednn.CONVOLUTION.open(torch.float32)
    onednn.INT8_CONVOLUTION.open(torch.float32)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("untried")
def test_threads_try_an_operator_once(caplog: pytest.LogCaptureFixture) -> None:
    tried: list[object] = []
    together = threading.Barrier(4)

    def trial(operators: object, dtype: torch.dtype) -> Any:
        tried.append(dtype)
        time.sleep(0.05)
        yield torch.ones(1), torch.zeros(1), 0.5

    path = onednn.FastPath(("aten.relu",), trial)

    def open_path(_: int) -> object:
        together.wait()
        return path.open(torch.float32)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(open_path, range(4))) == [None] * 4
    assert len(tried) == len(caplog.records) == 1


def test_capabilities_where_torch_has_no_public_function_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert onednn.cpu_supports("avx512_vnni")
    assert not onednn.cpu_supports("amx_tile")
    assert not onednn.cpu_supports("avx_vnni")


def test_threads_share_an_engine(network: ResidualAutoencoder) -> None:
    """More sizes than layouts are kept for, so that threads replace each other's."""
    engine, fresh = (Engine(network, "cpu", torch.float32) for _ in range(2))
    jobs = [(48, 80), (16, 16), (64, 32), (33, 70), (80, 48), (16, 100)] * 4
    alone = [engine.decode(engine.encode(_plane(*size)), *size) for size in jobs[:6]] * 4

    def work(size: tuple[int, int]) -> Array:
        return fresh.decode(fresh.encode(_plane(*size)), *size)

    with ThreadPoolExecutor(4) as pool:
        for made, expected in zip(pool.map(work, jobs), alone, strict=True):
            np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("dtype", ["float32", torch.float32, "bfloat16", torch.bfloat16])
def test_a_precision_by_name_or_as_a_dtype(network: ResidualAutoencoder, dtype: torch.dtype | str) -> None:
    assert Engine(network, "cpu", dtype).description == f"CPU, {str(dtype).removeprefix('torch.')}"


@pytest.mark.parametrize("dtype", ["foo", "", "float16", torch.float16, torch.float64])
def test_an_unknown_precision(network: ResidualAutoencoder, dtype: torch.dtype | str) -> None:
    with pytest.raises(ResidaeError, match=r"^There is no precision .*: choose float32, bfloat16, int8\.$"):
        Engine(network, "cpu", dtype)


def test_an_unknown_device(network: ResidualAutoencoder) -> None:
    with pytest.raises(ResidaeError, match=r"^There is no device 'foo': choose cpu or cuda\.$"):
        Engine(network, "foo")


@pytest.mark.parametrize("device", ["mps", "xpu:0", "meta", torch.device("meta")])
def test_a_device_that_is_neither_a_cpu_nor_a_gpu_with_cuda(
    network: ResidualAutoencoder, device: torch.device | str
) -> None:
    with pytest.raises(ResidaeError, match=rf"^Residae does not compute on '{device}': choose cpu or cuda\.$"):
        Engine(network, device)


def test_a_gpu_that_is_not_there(network: ResidualAutoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ResidaeError, match=r"^There is no GPU 2 here: they are numbered from 0\.$"):
        Engine(network, "cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "cuda:0", torch.device("cuda")):
        with pytest.raises(ResidaeError, match=r"^There is no GPU here that PyTorch can use\.$"):
            Engine(network, device)


class ElsewhereNetwork(ResidualAutoencoder):
    """A network on a device that takes no tensors of the CPU, until it is moved."""

    elsewhere = True

    def to(self, *arguments: Any, **named: Any) -> Any:
        self.elsewhere = arguments[0] != "cpu"
        return super().to(*arguments, **named)

    def modules(self) -> Any:
        assert not self.elsewhere, "a layer was used on the other device"
        return super().modules()

    def __getattr__(self, name: str) -> Any:
        assert not (self.elsewhere and name in ("encoder", "decoder")), "a layer was used on the other device"
        return super().__getattr__(name)


def test_a_network_on_another_device_makes_an_engine_on_the_cpu(network: ResidualAutoencoder, engine: Engine) -> None:
    elsewhere = ElsewhereNetwork.__new__(ElsewhereNetwork)
    elsewhere.__dict__.update(network.__dict__)
    plane = _plane(32, 48)
    np.testing.assert_array_equal(Engine(elsewhere, "cpu", torch.float32).encode(plane), engine.encode(plane))
    assert elsewhere.elsewhere


def test_building_a_layer_for_another_device_leaves_the_network_where_it_is() -> None:
    """A GPU could not refine: the norm was on the GPU when the decoder with a gradient folded it on the CPU."""
    norm = nn.BatchNorm2d(4).eval()
    blocks.build_activation(norm, torch.device("meta"), torch.float32)
    assert norm.weight.device.type == "cpu"
