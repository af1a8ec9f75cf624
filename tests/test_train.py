"""Training learns, resumes as if nothing had happened, and stops before it spoils what it has."""

import copy
import csv
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from residae.checkpoint import Checkpoint
from residae.cli import main
from residae.codec import Codec
from residae.codec.coder import ideal_bits
from residae.codec.quantizer import dequantize, quantize
from residae.codec.tables import Tables
from residae.errors import CheckpointError, ImageError, TrainingError
from residae.evaluate import evaluate
from residae.image import Pixels, open_picture, write_png
from residae.model import ResidualAutoencoder
from residae.pipeline import Pipeline
from residae.rate_model import KNOTS, LAMBDA, known_features, laplace_bits
from residae.resample import resample
from residae.train import __main__ as command
from residae.train import loop
from residae.train import tables as tables_module
from residae.train.data import Crops, choose_pictures
from residae.train.loop import train
from residae.train.optimizer import KernelMuon, build_optimizers
from residae.train.rate import (
    EXTRA_KNOTS,
    RateDistortion,
    RateModel,
    double,
    normalized_loss,
    run_decoder,
    run_encoder,
)
from residae.train.recipe import PRESETS, Recipe
from residae.train.records import NOTE, Log
from residae.train.state import RENAMED, VERSION
from residae.train.tables import enlarge_middle, fit_checkpoint, fit_contexts, fit_tables
from residae.train.training import DECAY, STABLE, Training, initialize

# ---- crops ----


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _draw(crops: Crops, count: int, size: int, chroma_share: float = 0, seed: int = 0) -> Tensor:
    generator = _generator(seed)
    return crops.draw(crops.draw_planes(count, chroma_share, generator), size, generator)


def _symmetries(square: NDArray[Any]) -> list[bytes]:
    """A square turned and mirrored in all eight ways."""
    return [np.rot90(side, turns).tobytes() for side in (square, square.T) for turns in range(4)]


def test_crops_are_windows_of_the_plane_in_all_eight_symmetries() -> None:
    plane = np.arange(12 * 20, dtype=np.uint8).reshape(12, 20)  # each value once
    crops = _draw(Crops([(plane, 0)]), 600, 8)
    assert crops.shape == (600, 1, 8, 8)
    assert crops.dtype == torch.float32
    found = set()
    for crop in np.rint(crops[:, 0].numpy() * 255).astype(np.uint8):
        top, left = divmod(int(crop.min()), 20)
        found.add((top, left, _symmetries(plane[top : top + 8, left : left + 8]).index(crop.tobytes())))
    assert {place[:2] for place in found} == set(itertools.product(range(5), range(13)))
    assert {place[2] for place in found} == set(range(8))


def test_a_small_plane_is_continued_by_reflection() -> None:
    plane = np.random.default_rng(0).integers(0, 256, (3, 7), np.uint8)
    expected = _symmetries(np.pad(plane, ((0, 13), (0, 9)), mode="symmetric"))
    crops = _draw(Crops([(plane, 0)]), 64, 16)
    seen = {np.rint(crop.numpy() * 255).astype(np.uint8).tobytes() for crop in crops[:, 0]}
    assert seen == set(expected)


def _flat(value: int, height: int, width: int) -> Pixels:
    return np.full((height, width), value, np.uint8)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_share_of_chroma(share: float) -> None:
    """Whatever its area, half of it Cb and half Cr."""
    crops = Crops([(_flat(10, 64, 64), 0), (_flat(100, 20, 20), 1), (_flat(200, 20, 20), 2)])
    generator = _generator()
    planes = crops.draw_planes(2000, share, generator)
    for plane in (1, 2):
        assert (planes == plane).double().mean() == pytest.approx(share / 2, abs=0.04 if share else 0)
    values = 255 * crops.draw(planes, 16, generator)[:, 0, 0, 0]
    assert torch.equal(values.round(), torch.tensor([10.0, 100.0, 200.0])[planes])


def test_luma_stands_in_for_chroma_that_is_not_there() -> None:
    assert (_draw(Crops([(_flat(10, 16, 16), 0)]), 8, 16, 1.0) == 10 / 255).all()


def test_planes_are_drawn_by_their_area() -> None:
    crops = Crops([(_flat(10, 16, 16), 0), (_flat(200, 16, 48), 0)])
    values = _draw(crops, 2000, 16)[:, 0, 0, 0] * 255
    assert (values > 100).double().mean() == pytest.approx(3 / 4, abs=0.04)


def test_the_generator_alone_decides() -> None:
    plane = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    crops = Crops([(plane, 0), (plane[:20, :20], 1)])
    torch.manual_seed(1)
    first = _draw(crops, 8, 16, 0.5, 7)
    torch.manual_seed(2)
    assert torch.equal(_draw(crops, 8, 16, 0.5, 7), first)
    assert not torch.equal(_draw(crops, 8, 16, 0.5, 8), first)


def test_planes_of_a_folder(folder: Path) -> None:
    """Found in all its folders; a gray picture has no chroma, and what is no picture is passed over."""
    crops = Crops.from_folder(folder)
    shapes = list(zip(crops.height.tolist(), crops.width.tolist(), crops.plane.tolist(), strict=True))
    color = [(48, 64, 0), (24, 32, 1), (24, 32, 2), (20, 20, 0), (10, 10, 1), (10, 10, 2)]
    assert shapes == [(40, 52, 0), *color]
    assert crops.pixels.numel() == sum(height * width for height, width, _ in shapes)
    assert crops.pixels.dtype == torch.uint8


def test_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("no picture")
    with pytest.raises(ImageError, match="no picture to train on"):
        Crops.from_folder(tmp_path)


def _with_sidecars(folder: Path, count: int) -> list[Path]:
    """`count` pictures in a new folder, each with a description beside it."""
    folder.mkdir()
    paths = [folder / f"{number:02}.png" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(write_png(np.full((32, 32), 8 * number, np.uint8)))
        path.with_suffix(".json").write_text("{}")
    return paths


@pytest.mark.parametrize("count", [1, 4, 7, 16, 99])
def test_pictures_are_chosen_evenly_among_those_that_open(count: int, tmp_path: Path) -> None:
    paths = _with_sidecars(tmp_path / "pictures", 16)
    (tmp_path / "pictures" / "aaa.png").write_bytes(b"damaged")
    expected = [paths[i * 16 // min(count, 16)] for i in range(min(count, 16))]
    assert choose_pictures(tmp_path / "pictures", count) == expected


def test_no_picture_can_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("no picture")
    with pytest.raises(ImageError, match="There is no picture in"):
        choose_pictures(tmp_path, 3)


# ---- scales ----


def test_enlarged_crops_are_smaller_crops_enlarged() -> None:
    rng = np.random.default_rng(0)
    plane = rng.integers(0, 256, (36, 40), np.uint8)
    drawn = Crops([(plane, 0)]).draw(torch.zeros(10, dtype=torch.int64), 32, _generator(), 1.0, 2.5)[:, 0]
    assert 0 <= drawn.min() <= drawn.max() <= 1
    sides = [_window_side(plane, crop) for crop in drawn.numpy()]
    assert len(set(sides)) > 6
    assert min(sides) < 18  # 32 / 2.5 is 12.8
    assert max(sides) > 24


def _window_side(plane: NDArray[np.uint8], crop: NDArray[np.float32]) -> int:
    """Side of the window of `plane` that `crop` is an enlargement of, in one of the eight symmetries."""
    ways = [np.rot90(side, turns) for side in (crop, crop.T) for turns in range(4)]
    for side in range(13, 33):
        for top, left in itertools.product(range(36 - side + 1), range(40 - side + 1)):
            window = np.float32(plane[top : top + side, left : left + side]) / 255
            if abs(window.mean() - crop.mean()) < 0.003:  # saves most of the work
                enlarged = resample(window, *crop.shape)
                if any(np.allclose(way, enlarged, atol=1e-5) for way in ways):
                    return side
    raise AssertionError("the crop is no enlarged window")


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_crops_is_enlarged(share: float) -> None:
    plane = np.random.default_rng(0).integers(0, 2, (64, 64), np.uint8) * 255
    drawn = Crops([(plane, 0)]).draw(torch.zeros(800, dtype=torch.int64), 16, _generator(), share, 2.5)
    own = ((drawn == 0) | (drawn == 1)).flatten(1).all(1)  # enlarged, black and white become gray
    # Scales are uniform in their logarithm up to 2.5; those below 16 / 15.5 leave all 16 pixels.
    expected = share * (1 - math.log(16 / 15.5) / math.log(2.5))
    assert (~own).double().mean() == pytest.approx(expected, abs=0.04)


def test_tables_are_fitted_to_pictures_at_several_scales(
    network: ResidualAutoencoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pictures"
    _with_sidecars(folder, 12)
    rng = np.random.default_rng(0)
    for path in folder.glob("*.png"):
        path.write_bytes(write_png(rng.integers(0, 256, (64, 64), np.uint8)))
    seen: list[float] = []
    enlarge = tables_module.enlarge_middle

    def record(plane: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
        seen.append(scale)
        return enlarge(plane, scale)

    monkeypatch.setattr(tables_module, "enlarge_middle", record)
    checkpoint = Checkpoint(network, Tables.default(4))
    fitted = fit_tables(checkpoint, folder, 12, torch.device("cpu"), 0.5, 2.0)
    assert len(seen) == 12
    assert 4 <= sum(scale > 1 for scale in seen) <= 7
    assert max(seen) > 1.7
    plain = fit_tables(checkpoint, folder, 12, torch.device("cpu"), 0.0, 2.0)
    assert seen[12:] == [1.0] * 12
    assert not np.array_equal(plain.counts, fitted.counts)
    np.testing.assert_array_equal(plain.gains, fitted.gains)


def test_a_run_fits_tables_to_enlarged_pictures_whatever_its_crops_were(
    clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scales: list[float] = []
    enlarge = tables_module.enlarge_middle
    monkeypatch.setattr(
        tables_module, "enlarge_middle", lambda plane, scale: scales.append(scale) or enlarge(plane, scale)
    )
    train(
        pictures, tmp_path / "run", tmp_path / "output", Recipe(**SHORT | {"minutes": 2.5, "scaled_share": 0.0}), start
    )
    assert sum(scale > 1 for scale in scales) >= len(scales) // 5 > 0


def test_the_middle_of_a_plane_is_enlarged() -> None:
    plane = np.random.default_rng(0).random((30, 40), np.float32)
    assert enlarge_middle(plane, 1.0) is plane
    np.testing.assert_array_equal(enlarge_middle(plane, 1.5), resample(plane[5:25, 6:33], 30, 40))


# ---- optimizers ----


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (40, 4, 1, 1), (3, 8, 3, 3)])
def test_muon_steps_by_an_orthogonal_matrix(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(shape).contiguous(memory_format=layout))
    before = kernel.detach().clone()
    kernel.grad = (1e-6 * torch.randn(shape)).contiguous(memory_format=layout)  # its size does not matter
    KernelMuon([kernel], lr=0.1).step()
    step = (before - kernel.detach()).flatten(1)
    scale = 0.1 * math.sqrt(max(1, step.shape[0] / step.shape[1]))
    singular = torch.linalg.svdvals(step) / scale
    assert singular.min() > 0.5  # five Newton-Schulz steps bring them near 1, not to it
    assert singular.max() < 1.5
    assert (step * kernel.grad.flatten(1)).sum() > 0  # downhill


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch has it since 2.9")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_is_that_of_pytorch(
    layout: torch.memory_format, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which takes matrices, and always iterates in bfloat16: to its rounding in float32, exactly in bfloat16."""
    monkeypatch.setattr("residae.train.optimizer.preferred_float", lambda _: dtype)
    torch.manual_seed(0)
    kernels = [
        nn.Parameter(torch.randn(shape).contiguous(memory_format=layout)) for shape in ((6, 4, 3, 3), (16, 2, 3, 3))
    ]
    matrices = [nn.Parameter(kernel.detach().clone().flatten(1)) for kernel in kernels]
    before = [matrix.detach().clone() for matrix in matrices]
    ours, theirs = KernelMuon(kernels, lr=0.1), torch.optim.Muon(matrices, lr=0.1, momentum=0.9, weight_decay=0.0)
    for _ in range(4):
        for kernel, matrix in zip(kernels, matrices, strict=True):
            kernel.grad = torch.randn(kernel.shape).contiguous(memory_format=layout)
            matrix.grad = kernel.grad.flatten(1)
        ours.step()
        theirs.step()
    for kernel, matrix, start in zip(kernels, matrices, before, strict=True):
        step, expected = kernel.detach().flatten(1) - start, matrix.detach() - start
        error = (step - expected).norm() / expected.norm()
        assert error < (1e-5 if dtype == torch.bfloat16 else 0.05)
        assert kernel.is_contiguous(memory_format=layout)


def test_muon_leaves_kernels_without_a_gradient() -> None:
    kernel = nn.Parameter(torch.randn(4, 4, 3, 3, generator=_generator()))
    muon = KernelMuon([kernel], lr=0.1)
    kernel.grad = torch.ones_like(kernel)
    muon.step()
    muon.zero_grad()
    after = kernel.detach().clone()
    muon.step()
    assert torch.equal(kernel, after)


def test_each_parameter_has_one_optimizer(network: ResidualAutoencoder) -> None:
    model = RateDistortion(network)
    optimizers = build_optimizers(model, Recipe())
    muon = {id(kernel) for kernel in optimizers["muon"].param_groups[0]["params"]}
    adamw = {id(parameter) for parameter in optimizers["adamw"].param_groups[0]["params"]}
    assert not muon & adamw
    assert muon | adamw == {id(parameter) for parameter in model.parameters()}
    by_hand = {id(m.weight) for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (7, 7)}
    assert muon == by_hand


def test_adamw_alone(network: ResidualAutoencoder) -> None:
    optimizers = build_optimizers(network, Recipe(optimizer="adamw"))
    assert list(optimizers) == ["adamw"]
    assert len(optimizers["adamw"].param_groups[0]["params"]) == len(list(network.parameters()))


# ---- recipe ----


def test_learning_rate_rises_stays_and_falls() -> None:
    recipe = Recipe(minutes=60, warmup_minutes=2, decay_minutes=10)
    assert recipe.stable_until == 50
    assert 0 < recipe.lr_factor(0) < 0.01  # the first step is not lost
    assert recipe.lr_factor(1) == pytest.approx(0.5, abs=0.01)
    assert [recipe.lr_factor(minute) for minute in (2, 30, 50)] == [1, 1, 1]
    assert recipe.lr_factor(55) == pytest.approx(0.5)
    assert [recipe.lr_factor(minute) for minute in (60, 61)] == [0, 0]


def test_a_recipe_without_warm_up_and_decay() -> None:
    recipe = Recipe(minutes=1, warmup_minutes=0, decay_minutes=0)
    assert [recipe.lr_factor(minute) for minute in (0, 0.5, 0.999)] == [1, 1, 1]


def test_bits_count_late_and_by_and_by() -> None:
    recipe = Recipe(minutes=60, warmup_minutes=2, rate_minutes=10)
    assert [recipe.rate_factor(minute) for minute in (0, 9.99)] == [0, 0]
    assert 0 < recipe.rate_factor(10) < 0.01
    assert recipe.rate_factor(11) == pytest.approx(0.5, abs=0.01)
    assert [recipe.rate_factor(minute) for minute in (12, 60)] == [1, 1]


@pytest.mark.parametrize(
    "option",
    [
        {"crop": 40},
        {"crop": 0},
        {"batch": 0},
        {"average_steps": 0},
        {"minutes": 20.9},
        {"optimizer": "sgd"},
        {"accumulate": 0},
        {"decay_accumulate": -1},
        {"final_crop": 40},
        {"final_crop": -16},
        {"final_minutes": 21.0},
        {"scaled_share": 1.5},
        {"max_scale": 0.5},
        {"decay_average": -0.1},
        {"minutes": math.nan},
        {"minutes": math.inf},
        {"minutes": 0.0, "warmup_minutes": 0.0, "decay_minutes": 0.0},
        {"minutes": -5.0, "warmup_minutes": -10.0, "decay_minutes": 0.0},
        {"save_minutes": math.nan},
        {"kernel_lr": -0.1},
        {"branch_scale": math.inf},
        {"seed": 10**20},
    ],
)
def test_a_recipe_that_cannot_be_followed(option: dict[str, Any]) -> None:
    with pytest.raises(TrainingError):
        Recipe(**option)


def test_batches_and_crops_change_in_the_decay() -> None:
    recipe = Recipe(
        minutes=60, decay_minutes=10, batch=6, accumulate=2, decay_accumulate=4, final_crop=384, final_minutes=1
    )
    assert [recipe.batches_per_step(minute) for minute in (0, 49.9, 50, 60)] == [2, 2, 4, 4]
    assert [recipe.crops_per_batch(minute) for minute in (0, 50, 58.9, 59)] == [(6, 256)] * 3 + [(2, 384)]
    plain = Recipe(accumulate=3)
    assert [plain.batches_per_step(minute) for minute in (0, 60)] == [3, 3]
    assert [plain.crops_per_batch(minute) for minute in (0, 60)] == [(8, 256)] * 2


def test_a_recipe_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Recipe().minutes = 5


# ---- rate ----


def _latents(count: int, seed: int) -> list[NDArray[np.float32]]:
    """(2, 24, 24) each, whose channels and cells resemble their neighbors."""
    rng = np.random.default_rng(seed)
    slow = rng.normal(size=(count, 1, 8, 8)).repeat(3, 2).repeat(3, 3)
    return list((slow * [[[[3.0]], [[1.0]]]] + rng.normal(size=(count, 2, 24, 24))).astype(np.float32))


@pytest.fixture(scope="module")
def tables() -> Tables:
    gains = np.geomspace(0.2, 8, KNOTS)[:, None, None] * np.array([[1.0, 0.5]] * 3)
    return fit_contexts([_latents(12, 0)] * 3, np.array([[1.0, -2.0]] * 3), gains)


def _rate_model(tables: Tables) -> RateModel:
    rate = RateModel(tables.channels)
    rate.load_tables(tables)
    return rate


def test_a_rate_model_holds_the_tables(tables: Tables) -> None:
    back = _rate_model(tables).to_tables()
    np.testing.assert_array_equal(back.means, tables.means)
    np.testing.assert_allclose(back.gains[EXTRA_KNOTS:], tables.gains, rtol=1e-5)
    np.testing.assert_array_equal(back.mean_weights[EXTRA_KNOTS:], tables.mean_weights)
    np.testing.assert_array_equal(back.spread_weights[EXTRA_KNOTS:], tables.spread_weights)
    steps = np.diff(np.log(back.gains), axis=0)  # below, qualities that were not trained
    np.testing.assert_allclose(
        steps[:EXTRA_KNOTS], np.broadcast_to(steps[EXTRA_KNOTS], steps[:EXTRA_KNOTS].shape), rtol=1e-4
    )
    np.testing.assert_allclose(_rate_model(back).to_tables().gains, back.gains, rtol=1e-5)


@pytest.mark.parametrize("quality", [0, 35, 70, 100])
@pytest.mark.parametrize("plane", [0, 2])
def test_a_rate_model_speaks_for_the_codec(
    tables: Tables, plane: int, quality: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rounded latent, and for whole symbols about as many bits, from the same predictions."""
    level = round(10_000 * (quality / 100 * (KNOTS - 1) + EXTRA_KNOTS) / (KNOTS - 1 + EXTRA_KNOTS))
    rate = _rate_model(tables)
    codec = Codec(rate.to_tables(), bytes(8))
    latent = _latents(1, 1)[0][:, :17, :22]
    symbols = quantize(latent, plane, level, codec.tables)
    rounded = torch.from_numpy(dequantize(symbols, plane, level, codec.tables))[None]

    monkeypatch.setattr(torch, "rand_like", lambda x: torch.full_like(x, 0.5))  # without the noise
    place = torch.tensor([plane]), torch.tensor([level / 10_000 * (KNOTS - 1 + EXTRA_KNOTS) - EXTRA_KNOTS])
    torch.testing.assert_close(rate(torch.from_numpy(latent)[None], *place)[0], rounded, atol=1e-4, rtol=1e-4)
    bits = ideal_bits(symbols, plane, level, codec.tables).sum()
    assert rate(rounded, *place)[1].item() == pytest.approx(bits, rel=0.08)


def test_bits_of_a_laplace_distribution() -> None:
    """All unit intervals together hold everything, and far out each has its few bits."""
    spread = torch.tensor([0.05, 0.3, 1.0, 7.0, 90.0])[:, None]
    distance = torch.arange(-2000, 2001) + 0.3
    mass = torch.exp2(-laplace_bits(distance, spread).double())
    torch.testing.assert_close(mass.sum(1), torch.ones(5, dtype=torch.float64), atol=1e-4, rtol=0)
    torch.testing.assert_close(laplace_bits(-distance, spread), laplace_bits(distance, spread))
    assert (laplace_bits(distance, spread) <= 56).all()


def test_gradients_pass_rounding_and_reach_each_part(tables: Tables) -> None:
    rate = _rate_model(tables)
    z = torch.randn(4, 2, 6, 6, generator=_generator()).requires_grad_()
    rounded, bits = rate(z, torch.tensor([0, 0, 1, 2]), torch.tensor([0.0, 1.5, 3.2, 5.0]))
    torch.testing.assert_close(torch.autograd.grad(rounded.sum(), z, retain_graph=True)[0], torch.ones_like(z))
    bits.sum().backward()
    for name, parameter in rate.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_exact_crops_cost_nothing_and_easy_ones_count_as_much(network: ResidualAutoencoder) -> None:
    model = RateDistortion(network)
    x = torch.rand(2, 1, 32, 32, generator=_generator())
    plane, position, exact = torch.tensor([0, 1]), torch.tensor([1.0, 2.0]), torch.tensor([True, False])
    error, rate, cost = model(x, plane, position, exact)
    mse = (network(x)[0][0] - x[0]).square().mean() * 255**2
    assert error[0].item() == pytest.approx(mse.item(), rel=1e-4)
    assert (cost > 0).tolist() == [False, True]
    assert cost[1].item() == pytest.approx(rate[1].item() / LAMBDA[2])

    hard = torch.tensor([1000.0], requires_grad=True)
    easy = torch.tensor([100.0], requires_grad=True)
    for error in (hard, easy):
        normalized_loss(error, error.detach()).backward()
    assert hard.grad * 1000 == pytest.approx(easy.grad * 100, rel=0.3)


# ---- one step ----


@pytest.fixture
def training() -> Training:
    torch.manual_seed(0)
    recipe = Recipe(warmup_minutes=2, learn_statistics_minutes=5, kernel_lr=0.02, other_lr=0.003, average_steps=2)
    return Training(RateDistortion(initialize(ResidualAutoencoder(2, 2))), recipe)


def _step(training: Training) -> None:
    training.prepare_step()
    x = torch.rand(2, 1, 32, 32, generator=_generator(training.step))
    planes = torch.zeros(2, dtype=torch.int64)
    error, _, cost = training.model(x, *training.draw_qualities(planes, _generator(training.step)))
    normalized_loss(error, cost).backward()
    training.update()


def test_rates_follow_the_recipe(training: Training) -> None:
    training.minutes = 1
    training.prepare_step()
    factor = training.recipe.lr_factor(1)
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in training.optimizers.items()}
    assert rates == {"muon": 0.02 * factor, "adamw": 0.003 * factor}


@pytest.mark.parametrize(("minute", "learning"), [(0, True), (4.99, True), (5, False), (59, False)])
def test_statistics_are_learned_then_kept(training: Training, minute: float, learning: bool) -> None:
    training.minutes = minute
    before = training.model.network.encoder.stem[1].running_mean.clone()
    _step(training)
    assert torch.equal(training.model.network.encoder.stem[1].running_mean, before) != learning
    assert training.model.training


def test_a_step_moves_every_parameter_and_leaves_no_gradient(training: Training) -> None:
    before = [parameter.detach().clone() for parameter in training.model.network.parameters()]  # bits do not count yet
    _step(training)
    assert training.step == 1
    for old, (name, new) in zip(before, training.model.network.named_parameters(), strict=True):
        assert not torch.equal(old, new), name
        assert new.grad is None, name


def test_the_average_moves_along(training: Training) -> None:
    """With a memory of two steps, and none before the first."""
    expected: dict[str, Tensor] = {}
    for _ in range(3):
        _step(training)
        for name, new in training.model.state_dict().items():
            expected[name] = (expected[name] + new) / 2 if name in expected else new.clone()
    for name, average in training.average.state_dict().items():
        if average.is_floating_point():
            torch.testing.assert_close(average, expected[name])
    assert not training.average.training


def test_the_rate_model_starts_from_the_tables_of_the_start(pictures: Path) -> None:
    """As they are before the first step, and later fitted anew about their gains."""
    tables = RateModel(2).to_tables()
    tables = replace(tables, mean_weights=tables.mean_weights + np.int32(7))
    crops = Crops.from_folder(pictures)
    for step in (0, 1):
        training = Training(RateDistortion(initialize(ResidualAutoencoder(2, 2))), Recipe(), tables)
        training.step = step
        training.initialize_rate(crops)
        for model in (training.model, training.average):
            back, known = model.rate.to_tables(), known_features(2).numpy()
            np.testing.assert_allclose(back.gains, tables.gains, rtol=1e-4)
            unchanged = (back.mean_weights == tables.mean_weights)[:, :, known].all()
            assert unchanged == (step == 0)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_an_average_over_the_decay(share: float, training: Training) -> None:
    """It forgets all that was before; with share 1 every step since then counts alike."""
    _step(training)
    training.recipe = replace(training.recipe, decay_average=share)
    training.decay_step = training.step
    weights, average = [], None
    for number in range(1, 6):
        _step(training)
        weights.append(training.model.network.decoder.out.weight.detach().clone())
        span = max(1.0, share * number)
        average = weights[-1] if average is None else average + (weights[-1] - average) / span
    torch.testing.assert_close(training.average.network.decoder.out.weight, average)
    if share == 1:
        torch.testing.assert_close(average, torch.stack(weights).mean(0))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_batch_counts_once_in_the_statistics(frozen: bool, network: ResidualAutoencoder) -> None:
    """In the stages that are computed again for their gradients as well."""
    plain, model = copy.deepcopy(network).train(not frozen), RateDistortion(copy.deepcopy(network)).train(not frozen)
    x = torch.rand(2, 1, 48, 32)
    plain(x)
    exact = torch.tensor([True, True])
    model(x, torch.tensor([0, 0]), torch.tensor([1.0, 2.0]), exact)[0].mean().backward()
    for (name, expected), counted in zip(plain.named_buffers(), model.network.buffers(), strict=True):
        torch.testing.assert_close(counted, expected, rtol=1e-4, atol=1e-5, msg=name)
    assert int(plain.encoder.stem[1].num_batches_tracked) == (0 if frozen else 1)


@torch.no_grad()
def test_training_starts_calm() -> None:
    torch.manual_seed(0)
    network = initialize(ResidualAutoencoder(16, 4))
    block = network.decoder.stages[0][3]
    he = math.sqrt(2 / block.conv1.weight[0].numel())
    assert block.conv1.weight.std() == pytest.approx(he, rel=0.05)
    assert block.conv2.weight.std() == pytest.approx(0.2 * he, rel=0.05)
    out = network.decoder.out.weight
    assert out.std() == pytest.approx(0.1 * math.sqrt(2 / out[0].numel()), rel=0.1)


# ---- runs ----

ROOT = Path(__file__).resolve().parent.parent
SHORT = {  # minutes of a clock that ticks 15 seconds each step
    "minutes": 5.0,  # 20 steps
    "warmup_minutes": 0.5,
    "decay_minutes": 1.5,
    "learn_statistics_minutes": 2.5,
    "crop": 32,
    "batch": 4,
    "average_steps": 4,
    "save_minutes": 0.75,
}
SHORT_RATE = SHORT | {"rate_minutes": 2.0}
RECIPE = Recipe(**SHORT_RATE)


@pytest.fixture(autouse=True)
def _fresh_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in float32 that begin anew, and that look at no more pixels than tiny networks need."""
    monkeypatch.setattr(loop, "preferred_float", lambda _: torch.float32)
    monkeypatch.setattr("residae.train.training.FIT_CROPS", 8)
    monkeypatch.setattr("residae.train.training.FIT_SIDE", 96)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time that passes with training steps and with nothing else, and may end in a kill."""
    clock = SimpleNamespace(seconds=1000.0, steps=0, kill_at=None)
    update = Training.update

    def tick(training: Training) -> None:
        if training.step == clock.kill_at:
            raise KeyboardInterrupt
        update(training)
        clock.steps += 1
        clock.seconds += 15

    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    monkeypatch.setattr(Training, "update", tick)
    return clock


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of first weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("start")
    initialize(ResidualAutoencoder(4, 4)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(smooth: Callable[[int, int, int], Pixels], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smooth")
    for seed in range(3):
        (folder / f"{seed}.png").write_bytes(write_png(smooth(64, 64, seed)))
    return folder


def _progress(run: Path) -> tuple[int, float, float]:
    """Step and minutes of the stable state, and the minute at which the run was to end."""
    with safe_open(run / STABLE, "pt") as file:
        progress = json.loads(file.metadata()["training_state"])["progress"]
    return progress["step"], progress["minutes"], progress["decay_until"]


def _weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _mean_psnr(checkpoint: Path, pictures: Path) -> float:
    network = ResidualAutoencoder.from_pretrained(checkpoint)
    return fmean(ours.psnr for (ours,) in evaluate(Pipeline(Checkpoint(network), "cpu", torch.float32), pictures))


def test_training_learns(clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path) -> None:
    recipe = Recipe(**SHORT | {"minutes": 15.0, "validate_minutes": 7.5, "save_minutes": 15.0})
    before = _mean_psnr(start, pictures)
    train(pictures, tmp_path / "run", tmp_path / "output", recipe, start, pictures)
    after = _mean_psnr(tmp_path / "output", pictures)
    assert after > before + 6

    rows = _rows(tmp_path / "run")
    assert [row["step"] for row in rows] == ["20", "40", "60", "60"]
    assert [row["minutes"] for row in rows[:2]] == ["4.75", "9.75"]  # when the step began
    assert [bool(row["validation_psnr"]) for row in rows] == [False, True, False, True]
    assert float(rows[-1]["validation_psnr"]) == pytest.approx(after, abs=0.05)
    train_psnr = [float(row["train_psnr"]) for row in rows[:-1]]
    assert train_psnr[-1] > train_psnr[0] + 3


def test_a_new_run_does_not_replace_a_checkpoint(start: Path, pictures: Path, tmp_path: Path) -> None:
    before = _weights(start)
    with pytest.raises(TrainingError, match="holds a checkpoint that is not of this run"):
        train(pictures, tmp_path / "run", start, Recipe(**SHORT))
    assert _weights(start) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which a Mac's would not come before")
def test_the_gpu_of_a_mac_is_left_alone(
    clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("is_available", "is_built"):
        monkeypatch.setattr(torch.backends.mps, name, lambda: True)
    train(pictures, tmp_path / "run", tmp_path / "output", Recipe(**SHORT), start)
    assert clock.steps == 20


def test_no_step_of_training_is_done_in_int8(
    clock: SimpleNamespace, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rounding is more than the noise by which the sensitivity of channels is measured."""
    asked = []
    monkeypatch.setattr(
        "residae.engine.precision.preferred_dtype", lambda device: asked.append(device) or torch.float32
    )
    recipe = Recipe(**SHORT_RATE | {"minutes": 3.0, "validate_minutes": 2.0})
    initialize(ResidualAutoencoder(2, 2)).save_pretrained(tmp_path / "start")
    train(pictures, tmp_path / "run", tmp_path / "output", recipe, tmp_path / "start", pictures)
    fit_checkpoint(tmp_path / "output", pictures, 3, force=True)
    assert not asked
    Pipeline.open(tmp_path / "output", "cpu")
    assert asked


def test_a_killed_run_ends_as_if_nothing_had_happened(
    clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path
) -> None:
    train(pictures, tmp_path / "whole", tmp_path / "expected", RECIPE, start)
    assert clock.steps == 20

    clock.kill_at = 13
    with pytest.raises(KeyboardInterrupt):
        train(pictures, tmp_path / "run", tmp_path / "output", RECIPE, start)
    assert not (tmp_path / "output").exists()
    assert _progress(tmp_path / "run") == (12, 3.0, 5.0)
    clock.kill_at = None
    clock.seconds += 12345  # while nothing ran
    train(pictures, tmp_path / "run", tmp_path / "output", RECIPE, start)
    assert clock.steps == 20 + 13 + (20 - 12)
    assert _weights(tmp_path / "output") == _weights(tmp_path / "expected")
    for state in (STABLE, DECAY):
        assert (tmp_path / "run" / state).read_bytes() == (tmp_path / "whole" / state).read_bytes()

    (tmp_path / "output" / "model.safetensors").unlink()
    train(pictures, tmp_path / "run", tmp_path / "output", RECIPE, start)  # killed once more, before it ended
    assert clock.steps == 20 + 13 + (20 - 12)
    assert _weights(tmp_path / "output") == _weights(tmp_path / "expected")


def test_a_finished_run_can_be_prolonged(clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path) -> None:
    """From where its decay began."""
    run, output = tmp_path / "run", tmp_path / "output"
    train(pictures, run, output, RECIPE, start)
    assert _progress(run) == (14, 3.5, 5.0)
    first = _weights(output)
    train(pictures, run, output, Recipe(**SHORT_RATE | {"minutes": 6.0}), start)
    assert clock.steps == 20 + (24 - 14)
    assert _progress(run) == (18, 4.5, 6.0)
    assert _weights(output) != first


@pytest.mark.parametrize("from_start", [True, False])
def test_the_seed_decides(
    from_start: bool,
    clock: SimpleNamespace,
    start: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not from_start:
        monkeypatch.setattr(loop, "ResidualAutoencoder", lambda: ResidualAutoencoder(2, 2))
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        recipe = Recipe(**SHORT | {"minutes": 2.5, "seed": seed})
        train(pictures, tmp_path / f"run-{name}", tmp_path / name, recipe, start if from_start else None)
    assert _weights(tmp_path / "a") == _weights(tmp_path / "b") != _weights(tmp_path / "c")


def test_the_checkpoint_is_the_average(clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path) -> None:
    """Its kernels are; its BatchNorm computes the same function with the true statistics of its inputs."""
    recipe = Recipe(**SHORT | {"minutes": 2.5, "decay_minutes": 0.0})  # without a decay, the last state is saved
    train(pictures, tmp_path / "run", tmp_path / "output", recipe, start)
    state = load_file(tmp_path / "run" / STABLE)
    exported, average = (ResidualAutoencoder.from_pretrained(folder) for folder in (tmp_path / "output", start))
    for name, tensor in average.state_dict().items():
        tensor.copy_(state[f"average.network.{name}"].half() if tensor.ndim == 4 else state[f"average.network.{name}"])
    for name, tensor in exported.state_dict().items():
        assert tensor.ndim < 4 or torch.equal(tensor, average.state_dict()[name]), name
    x = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(exported(x), average(x), rtol=1e-4, atol=1e-5)
    frozen = average.decoder.stages[3][2].running_mean
    assert not torch.allclose(exported.decoder.stages[3][2].running_mean, frozen, rtol=0.01)
    assert not torch.equal(state["average.network.decoder.out.bias"], state["network.decoder.out.bias"])


def test_gains_are_learned(clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path) -> None:
    """Those of the checkpoint are not those that the run began with, its predictions are fitted about them, and the
    same bytes buy no worse a picture than with gains that were not trained."""
    recipe = Recipe(**SHORT | {"minutes": 15.0, "other_lr": 0.02, "save_minutes": 15.0}, rate_minutes=3.0)
    train(pictures, tmp_path / "run", tmp_path / "output", recipe, start, pictures)
    learned = Checkpoint.open(tmp_path / "output")
    state = load_file(tmp_path / "run" / DECAY)
    np.testing.assert_allclose(learned.tables.means, state["average.rate.means"], atol=0.2)
    rows = [row for row in _rows(tmp_path / "run") if row["train_bpp"]]
    assert float(rows[-1]["train_bpp"]) < float(rows[0]["train_bpp"])
    last = _rows(tmp_path / "run")[-1]
    assert 0 < float(last["bpp_20"]) < float(last["bpp_60"])
    assert float(last["psnr_20"]) < float(last["psnr_80"]) + 0.2
    assert open_picture(tmp_path / "run" / "step-60.png").pixels.shape == (
        3 * 256,
        8 * 256,
    )  # original, unquantized, four qualities, two of an enlarged picture


def test_a_start_keeps_its_gains(
    clock: SimpleNamespace, network: ResidualAutoencoder, pictures: Path, tmp_path: Path
) -> None:
    """Where bits do not count."""
    start = Checkpoint(network, Tables.default(4))
    start.save(tmp_path / "start")
    train(pictures, tmp_path / "run", tmp_path / "output", Recipe(**SHORT | {"minutes": 2.5}), tmp_path / "start")
    tables = Checkpoint.open(tmp_path / "output").tables
    np.testing.assert_array_equal(tables.gains, start.tables.gains)
    assert (tables.counts != start.tables.counts).any()  # fitted to these latents


def test_a_save_that_fails_leaves_the_last_one(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.save(tmp_path)
    before = (tmp_path / STABLE).read_bytes()
    _step(training)

    def fail(_: object, path: Path, *__: object) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr("residae.train.state.save_file", fail)
    with pytest.raises(OSError, match="no space left"):
        training.save(tmp_path)
    assert (tmp_path / STABLE).read_bytes() == before


# ---- the state ----


def _damage(damage: str, training: Training, run: Path) -> Training:
    """Leave a state in `run` that does not fit the training returned."""
    path = run / STABLE
    if damage in ("muon", "adamw"):
        recipes = {name: replace(training.recipe, optimizer=name) for name in ("muon", "adamw")}
        other = Training(training.model, recipes.pop(damage))
        _step(other)
        other.save(run)
        return Training(training.model, *recipes.values())
    if damage == "foreign":
        Training(RateDistortion(ResidualAutoencoder(4, 2)), training.recipe).save(run)
        return training
    training.save(run)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        save_file(load_file(path), path, {"format": "another"})
    return training


@pytest.mark.parametrize("damage", ["cut", "foreign", "muon", "adamw", "another format"])
def test_a_state_that_does_not_fit(training: Training, tmp_path: Path, damage: str) -> None:
    training = _damage(damage, training, tmp_path)
    with pytest.raises(TrainingError, match="is damaged, or is the state of another network or optimizer"):
        training.load(tmp_path / STABLE)


def _training_in(layout: torch.memory_format) -> Training:
    torch.manual_seed(1)
    network = initialize(ResidualAutoencoder(4, 4)).to(memory_format=layout)
    return Training(RateDistortion(network), Recipe())


LAYOUTS = (torch.contiguous_format, torch.channels_last)


def _assert_moments_are_kept(other: Training) -> None:
    """Momentum is equal to its kernel, however that lies in memory."""
    muon, adamw = other.optimizers["muon"], other.optimizers["adamw"]
    for kernel in muon.param_groups[0]["params"]:
        assert torch.equal(muon.state[kernel]["momentum"], kernel)
        assert muon.state[kernel]["momentum"].stride() == kernel.stride()
    for parameter, state in adamw.state.items():
        assert torch.equal(state["exp_avg"], parameter)
        assert state["exp_avg"].stride() == parameter.stride()
        assert state["step"].item() == 3


@pytest.mark.parametrize("before", LAYOUTS)
@pytest.mark.parametrize("after", LAYOUTS)
def test_a_run_goes_on_in_another_memory_format(
    before: torch.memory_format, after: torch.memory_format, tmp_path: Path
) -> None:
    """As when a run on a CPU in float32 is resumed on a GPU in bfloat16."""
    training = _training_in(before)
    muon, adamw = training.optimizers["muon"], training.optimizers["adamw"]
    for kernel in muon.param_groups[0]["params"]:
        muon.state[kernel]["momentum"] = kernel.detach().clone()
    for parameter in adamw.param_groups[0]["params"]:
        mean = parameter.detach().clone()
        adamw.state[parameter] = {"exp_avg": mean, "exp_avg_sq": mean.square(), "step": torch.tensor(3.0)}
    training.save(tmp_path)
    other = _training_in(after)
    other.load(tmp_path / STABLE)
    _assert_moments_are_kept(other)
    other.save(tmp_path / "..")
    assert (tmp_path / STABLE).read_bytes() == (tmp_path / ".." / STABLE).read_bytes()


def test_a_state_has_the_documented_names(training: Training, tmp_path: Path) -> None:
    _step(training)
    training.save(tmp_path)
    tensors = load_file(tmp_path / STABLE)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    weights = {f"network.{name}": tuple(x.shape) for name, x in training.model.network.state_dict().items()}
    rate = ("means", "first", "growth", "mean_weights", "spread_weights", "initialized")
    model = {"network." + name for name in training.model.network.state_dict()} | {f"rate.{name}" for name in rate}
    moments = {name for name in shapes if name.startswith(("muon.", "adamw."))}
    assert shapes.keys() - moments == model | {f"average.{name}" for name in model}
    assert {name: shape for name, shape in shapes.items() if name in weights} == weights
    kernel, norm = "network.encoder.stages.1.0.conv1.weight", "network.encoder.stem.1.weight"
    assert shapes[f"muon.{kernel}.momentum"] == shapes[kernel]
    assert shapes[f"adamw.{norm}.mean"] == shapes[f"adamw.{norm}.square"] == shapes[norm]
    assert shapes[f"adamw.{norm}.step"] == ()
    parameters = {name for name, parameter in training.model.named_parameters() if parameter.grad is None}
    assert {name.split(".", 1)[1].rsplit(".", 1)[0] for name in moments} <= parameters


def _versioned(metadata: dict[str, Any], version: int) -> dict[str, str]:
    return {"training_state": json.dumps(metadata | {"version": version})}


def test_a_state_with_older_names_is_read(training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _step(training)
    training.save(tmp_path)
    with safe_open(tmp_path / STABLE, "pt") as file:
        metadata = json.loads(file.metadata()["training_state"])
    now = load_file(tmp_path / STABLE)
    older = {name.replace("rate.initialized", "rate.begun"): tensor for name, tensor in now.items()}
    save_file(older, tmp_path / "older.safetensors", _versioned(metadata, VERSION - 1))
    with pytest.raises(TrainingError, match="is damaged, or is the state of another network"):
        training.load(tmp_path / "older.safetensors")
    names = {"rate.begun": "rate.initialized", "average.rate.begun": "average.rate.initialized"}
    monkeypatch.setitem(RENAMED, VERSION - 1, names)
    training.load(tmp_path / "older.safetensors")
    save_file(now, tmp_path / "newer.safetensors", _versioned(metadata, VERSION + 1))
    with pytest.raises(TrainingError, match="written by a newer version"):
        training.load(tmp_path / "newer.safetensors")


# ---- what a run leaves, and what it spares ----


def test_a_killed_run_repeats_no_row_of_its_log(
    clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOG_STEPS", 2)
    recipe = Recipe(**SHORT | {"minutes": 4.0, "decay_minutes": 0.5, "save_minutes": 1.25})
    clock.kill_at = 9  # four rows, and the state of step 5
    with pytest.raises(KeyboardInterrupt):
        train(pictures, tmp_path / "run", tmp_path / "output", recipe, start)
    assert [row["step"] for row in _rows(tmp_path / "run")] == ["2", "4", "6", "8"]
    with (tmp_path / "run" / "log.csv").open("a") as file:
        file.write("9,2.")  # killed while it was written
    clock.kill_at = None
    train(pictures, tmp_path / "run", tmp_path / "output", recipe, start)
    assert [row["step"] for row in _rows(tmp_path / "run")] == ["2", "4", "6", "8", "10", "12", "14", "16"]


def test_a_log_is_cut_at_a_step(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.csv")
    log.cut(0)
    for step in (20, 40, 60):
        log.append({"step": str(step), "minutes": "1.00"})
    log.cut(40)
    assert [row["step"] for row in _rows(tmp_path)] == ["20", "40"]


def test_a_shorter_decay_starts_from_the_stable_state(
    clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path
) -> None:
    """The state of a decay never replaces that of the stable phase."""
    shorter = replace(RECIPE, decay_minutes=0.5)
    train(pictures, tmp_path / "whole", tmp_path / "expected", shorter, start)
    clock.kill_at = 18  # in the decay, after the save of step 17
    with pytest.raises(KeyboardInterrupt):
        train(pictures, tmp_path / "run", tmp_path / "output", RECIPE, start)
    assert (tmp_path / "run" / DECAY).exists()
    clock.kill_at = None
    train(pictures, tmp_path / "run", tmp_path / "output", shorter, start)
    assert (tmp_path / "run" / STABLE).read_bytes() == (tmp_path / "whole" / STABLE).read_bytes()
    assert _weights(tmp_path / "output") == _weights(tmp_path / "expected")


def test_the_checkpoint_is_written_before_tables_are_fitted(
    clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(**SHORT_RATE | {"minutes": 3.0})
    output = tmp_path / "output"
    with monkeypatch.context() as broken:
        broken.setattr(loop, "fit_tables", lambda *_: pytest.fail("a power cut"))
        with pytest.raises(pytest.fail.Exception, match="a power cut"):
            train(pictures, tmp_path / "run", output, recipe, start)
    weights, first = _weights(output), Checkpoint.open(output).tables
    assert first  # of the rate model
    train(pictures, tmp_path / "run", output, recipe, start)  # nothing is left to train
    assert clock.steps == 12
    assert _weights(output) == weights
    fitted = Checkpoint.open(output).tables
    np.testing.assert_array_equal(fitted.gains, first.gains)
    assert not np.array_equal(fitted.counts, first.counts)


def test_descriptions_beside_the_pictures_do_not_stop_a_run(
    clock: SimpleNamespace, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "TABLE_PICTURES", 2)
    _with_sidecars(tmp_path / "pictures", 2)
    (tmp_path / "pictures" / "00.json").rename(tmp_path / "pictures" / "0.json")  # the first and the middle of four
    train(tmp_path / "pictures", tmp_path / "run", tmp_path / "output", Recipe(**SHORT | {"minutes": 2.5}), start)
    assert Checkpoint.open(tmp_path / "output").tables


def test_a_run_replaces_no_checkpoint_but_its_own(
    clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path
) -> None:
    recipe = Recipe(**SHORT | {"minutes": 2.5})
    train(pictures, tmp_path / "run", tmp_path / "output", recipe, start)
    train(pictures, tmp_path / "other", tmp_path / "others", recipe, start)
    shutil.copytree(start, tmp_path / "shipped")
    clock.steps = 0
    for output in ("others", "shipped"):
        before = _weights(tmp_path / output)
        with pytest.raises(TrainingError, match="holds a checkpoint that is not of this run"):
            train(pictures, tmp_path / "run", tmp_path / output, replace(recipe, minutes=3.0), start)
        with pytest.raises(TrainingError, match="holds a checkpoint that is not of this run"):
            train(pictures, tmp_path / "run", tmp_path / "x", recipe, start, export=tmp_path / output)
        assert _weights(tmp_path / output) == before
    assert clock.steps == 0
    before = _weights(tmp_path / "output")
    train(pictures, tmp_path / "run", tmp_path / "output", replace(recipe, minutes=3.0), start)
    assert _weights(tmp_path / "output") != before
    note = json.loads((tmp_path / "output" / NOTE).read_text())
    assert (note["step"], note["minutes"], note["recipe"]["minutes"]) == (12, 3.0, 3.0)


def test_fit_replaces_no_tables_unasked(
    network: ResidualAutoencoder, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "checkpoint"
    Checkpoint(network, Tables.default(4)).save(folder)
    before = (folder / "codec.safetensors").read_bytes()
    assert main(["fit", str(pictures), "--checkpoint", str(folder)]) == 3
    assert "has tables already" in capsys.readouterr().err
    assert (folder / "codec.safetensors").read_bytes() == before
    assert main(["fit", str(pictures), "--checkpoint", str(folder), "--force"]) == 0
    assert (folder / "codec.safetensors").read_bytes() != before


def test_fit_refuses_a_hub_id_before_its_work(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Checkpoint, "open", lambda *_: pytest.fail("it was opened"))
    assert main(["fit", str(pictures), "--checkpoint", "owner/name"]) == 3
    assert "owner/name is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--scaled-share", "1.5"], ["--max-scale", "0.5"]])
def test_fit_refuses_impossible_scales(option: list[str], pictures: Path, checkpoint: Path) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["fit", str(pictures), "--checkpoint", str(checkpoint), *option])
    assert leaving.value.code == 2


def test_weights_are_exported_during_the_run(
    clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SHARD_SIZE", "10KB")
    notes: list[tuple[int, float]] = []
    save = Checkpoint.save

    def record(self: Checkpoint, folder: Path, *arguments: Any) -> None:
        save(self, folder, *arguments)
        note = json.loads((folder / NOTE).read_text())
        notes.append((folder.name, note["step"], note["minutes"]))

    monkeypatch.setattr(Checkpoint, "save", record)
    recipe = Recipe(**SHORT_RATE | {"minutes": 3.5, "export_minutes": 1.0})
    train(pictures, tmp_path / "run", tmp_path / "output", recipe, start, export=tmp_path / "exports")
    steps = [("exports", 5, 1.0), ("exports", 9, 2.0), ("exports", 13, 3.0), ("output", 14, 3.5)]
    assert notes == steps
    shards = sorted((tmp_path / "exports").glob("model*.safetensors"))
    assert len(shards) > 2
    stored = [tensor for shard in shards for tensor in load_file(shard).values()]
    assert {tensor.dtype for tensor in stored if tensor.ndim == 4} == {torch.float16}
    assert Checkpoint.open(tmp_path / "exports").tables


def test_shards_of_an_export_are_below_16_mebibytes(tmp_path: Path) -> None:
    Checkpoint(ResidualAutoencoder()).save(tmp_path, loop.SHARD_SIZE)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sum(sizes) > 47e6
    assert max(sizes) < 16 * 2**20
    assert len(sizes) <= 6


def test_batches_of_a_step_are_averaged(
    clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them in the decay, and of larger crops at its end."""
    shapes: dict[int, list[tuple[int, ...]]] = {}
    seen: list[tuple[Tensor, ...]] = []
    forward, update = RateDistortion.forward, Training.update

    def record(self: RateDistortion, *arguments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen.append(arguments)
        return forward(self, *arguments)

    def compare(training: Training) -> None:
        shapes[training.step] = [tuple(arguments[0].shape) for arguments in seen]
        gradient = training.model.network.decoder.out.weight.grad.clone()
        losses = []
        for arguments in seen:
            error, _, cost = forward(training.model, *arguments)
            losses.append(normalized_loss(error, 0 * cost))
        (expected,) = torch.autograd.grad(torch.stack(losses).mean(), training.model.network.decoder.out.weight)
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4)
        seen.clear()
        update(training)

    monkeypatch.setattr(RateDistortion, "forward", record)
    monkeypatch.setattr(Training, "update", compare)
    options = {"minutes": 1.75, "decay_minutes": 1.0, "learn_statistics_minutes": 0.0, "exact_share": 1.0}
    options |= {"batch": 9, "accumulate": 2, "decay_accumulate": 3, "final_crop": 48, "final_minutes": 0.5}
    train(pictures, tmp_path / "run", tmp_path / "output", Recipe(**SHORT | options), start)
    stable, decay, final = [(9, 1, 32, 32)] * 2, [(9, 1, 32, 32)] * 3, [(4, 1, 48, 48)] * 3
    assert [shapes[step] for step in range(7)] == [stable] * 3 + [decay] * 2 + [final] * 2


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"minutes": 3.0}, 3),  # found when the state is to be saved
        ({"minutes": 8.0, "save_minutes": 100.0}, 20),  # at the first row of the log
        ({"minutes": 1.5, "decay_minutes": 0.0, "save_minutes": 100.0}, 6),  # at the end
    ],
)
def test_divergence_reaches_neither_state_nor_checkpoint(
    options: dict[str, float], steps: int, clock: SimpleNamespace, pictures: Path, tmp_path: Path
) -> None:
    network = initialize(ResidualAutoencoder(2, 2))
    nn.init.constant_(network.decoder.out.bias, math.nan)
    network.save_pretrained(tmp_path / "start")
    with pytest.raises(TrainingError, match="diverged"):
        train(pictures, tmp_path / "run", tmp_path / "output", Recipe(**SHORT | options), tmp_path / "start")
    assert not (tmp_path / "output").exists()
    assert not (tmp_path / "run" / STABLE).exists()
    assert clock.steps == steps


def test_a_wrong_folder_for_validation_is_known_at_once(
    clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=r"There is no picture in .*nowhere"):
        train(pictures, tmp_path / "run", tmp_path / "output", RECIPE, start, tmp_path / "nowhere")
    assert clock.steps == 0


def test_a_wrong_start(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no checkpoint folder nowhere"):
        train(pictures, tmp_path / "run", tmp_path / "output", RECIPE, "nowhere")


def test_mixed_precision_where_bfloat16_is_preferred(
    clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "preferred_float", lambda _: torch.bfloat16)
    convolve = nn.Conv2d.forward
    dtypes = set()

    def watch(self: nn.Conv2d, x: Tensor) -> Tensor:
        y = convolve(self, x)
        if torch.is_grad_enabled():
            dtypes.add(y.dtype)
        return y

    monkeypatch.setattr(nn.Conv2d, "forward", watch)
    train(pictures, tmp_path / "run", tmp_path / "output", Recipe(**SHORT | {"minutes": 2.5}), start)
    assert dtypes == {torch.bfloat16}
    tensors = ResidualAutoencoder.from_pretrained(tmp_path / "output").state_dict().values()
    assert all(tensor.isfinite().all() for tensor in tensors)


# ---- the command ----


def _arguments(pictures: Path, start: Path, tmp_path: Path, **options: Any) -> list[str]:
    folders = {"--run": tmp_path / "run", "--output": tmp_path / "output", "--start": start, "--validate": pictures}
    options = {"--" + name.replace("_", "-"): value for name, value in options.items()}
    return [str(pictures), *(str(x) for pair in (folders | options).items() for x in pair)]


def test_the_command_trains(
    clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `accelerate launch -m residae.train` starts it."""
    monkeypatch.setattr(sys, "argv", ["train", *_arguments(pictures, start, tmp_path / "a", **SHORT_RATE)])
    command.main()
    train(pictures, tmp_path / "run", tmp_path / "output", RECIPE, start)
    assert _weights(tmp_path / "a" / "output") == _weights(tmp_path / "output")
    assert _rows(tmp_path / "a" / "run")[-1]["validation_psnr"]


# What each process learned is kept. The first measures for longer than the library waits for it by default.
KEEPING = """
import os, time
from datetime import timedelta
import torch
from accelerate import PartialState
from residae.train import __main__ as command, loop
from residae.train.training import Training

initialize, measure, check = torch.distributed.init_process_group, loop.validate_checkpoint, Training.check_finite

def impatient(*arguments, timeout=timedelta(seconds=1), **options):
    initialize(*arguments, timeout=timeout, **options)

def slow(*arguments):
    time.sleep(2.5)
    return measure(*arguments)

def keep(training):
    check(training)
    assert PartialState().num_processes == 2
    torch.save(dict(training.model.named_parameters()), f"{os.environ['KEPT']}/{os.environ['RANK']}.pt")

torch.distributed.init_process_group, loop.validate_checkpoint, Training.check_finite = impatient, slow, keep
loop.LOG_STEPS = 1
command.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="PyTorch for Windows has no libuv for torch.distributed.run")
def test_two_processes_train_one_network(start: Path, pictures: Path, tmp_path: Path) -> None:
    """As `accelerate launch` starts them on several GPUs; each has crops of its own.

    Both have the same weights, and the second waits for the first, which measures them.
    """
    options = SHORT | {"minutes": 0.05, "rate_minutes": 0.0, "decay_minutes": 0.02, "warmup_minutes": 0.01}
    options["validate_minutes"] = 0.0
    (tmp_path / "program.py").write_text(KEEPING)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "--"]
    done = subprocess.run(
        [*launch, tmp_path / "program.py", *_arguments(pictures, start, tmp_path, **options)],
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT), "KEPT": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name, parameter in one.items():
        torch.testing.assert_close(other[name], parameter, rtol=0, atol=0, msg=name)
    assert Checkpoint.open(tmp_path / "output").tables
    assert len([row for row in _rows(tmp_path / "run") if row["validation_psnr"]]) >= 2


def test_the_command_has_each_option_of_the_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(loop, "train", lambda *arguments: asked.extend(arguments))
    options = {option.name: type(option.default)(16 * (i + 1)) for i, option in enumerate(fields(Recipe))}
    options |= {name: 0.01 * len(name) for name in options if name.endswith(("share", "average"))}
    options |= {"minutes": 1000.0, "final_minutes": 1.0, "optimizer": "adamw"}
    arguments = _arguments(tmp_path, tmp_path, tmp_path, **options, export=tmp_path / "exports")
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    command.main()
    folders = str(tmp_path), tmp_path, tmp_path / "exports"
    assert asked == [tmp_path, tmp_path / "run", tmp_path / "output", Recipe(**options), *folders]


def test_options_override_a_preset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(loop, "train", lambda *arguments: asked.extend(arguments))
    arguments = _arguments(tmp_path, tmp_path, tmp_path, preset="gpu-10-minutes", batch=3)
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    command.main()
    assert asked[3] == replace(PRESETS["gpu-10-minutes"], batch=3)
    assert asked[3] != Recipe(batch=3)


WITHOUT = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
from residae.train.__main__ import main
main()
"""


def test_the_recipe_for_a_gpu_rehearsed_with_few_libraries(start: Path, pictures: Path, tmp_path: Path) -> None:
    """From start to export and tables, where neither the range coder nor anything of the page is installed."""
    blocked = ("constriction", "gradio", "gradio_client", "starlette", "spaces", "imagecodecs", "tifffile", "mcp")
    options: dict[str, Any] = {"preset": "gpu-10-minutes", "export": tmp_path / "exports", "minutes": 0.1}
    options |= {
        "warmup_minutes": 0.01,
        "decay_minutes": 0.06,
        "final_minutes": 0.02,
        "crop": 32,
        "final_crop": 48,
        "compiled": 0,
    }
    options |= {"batch": 4, "save_minutes": 0.03, "export_minutes": 0.0, "validate_minutes": 0.03}
    arguments = _arguments(pictures, start, tmp_path, **options)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(blocked=set(blocked)), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for folder in ("exports", "output"):
        assert Checkpoint.open(tmp_path / folder).tables
    assert _rows(tmp_path / "run")[-1]["psnr_60_x2"]


def test_compiling_learns_nothing() -> None:
    """Batches of each size pass through the network before the first step, and leave no trace in it."""
    training = _training_in(torch.contiguous_format)
    training.recipe = replace(training.recipe, batch=4, crop=32, final_crop=64, final_minutes=1.0)
    before = copy.deepcopy(training.model.state_dict())
    shapes = []

    def run(x: torch.Tensor, *arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
        shapes.append(x.shape)
        return training.model(x, *arguments)

    training.compile(run, torch.Tensor.backward, torch.contiguous_format)
    assert shapes == [(4, 1, 32, 32), (1, 1, 64, 64)]
    assert training.model.training
    for name, tensor in training.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in training.model.parameters())


def test_doubling_is_upsampling() -> None:
    """Forward and backward, for what is compiled must learn what is used."""
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    doubled, upsampled = double(double(x, 2), 3), nn.Upsample(scale_factor=2, mode="bilinear")(x)
    torch.testing.assert_close(doubled, upsampled)
    weights = torch.randn_like(doubled)
    ours, theirs = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (doubled, upsampled))
    torch.testing.assert_close(ours, theirs)


# ---- on a GPU ----


@pytest.mark.gpu
def test_compiled_passes_have_the_same_gradients() -> None:
    torch.manual_seed(0)
    network = initialize(ResidualAutoencoder(8, 4)).cuda().eval()
    x, plane = torch.rand(4, 1, 64, 64, device="cuda"), torch.zeros(4, dtype=torch.int64, device="cuda")
    exact = plane == 0
    gradients = []
    for compiled in (False, True):
        model = RateDistortion(network, compiled).cuda()
        error, *_ = model(x, plane, plane.float(), exact)
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(error.sum(), network.parameters())]))
    assert (gradients[1] - gradients[0]).norm() < 0.01 * gradients[0].norm()


@pytest.mark.gpu
def test_training_on_a_gpu_continues_from_a_cpu(
    start: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Momentum is the same tensor there, in the memory format of bfloat16."""
    cpu = _training_in(torch.contiguous_format)
    for step in range(2):
        x = torch.rand(2, 1, 32, 32, generator=_generator(step))
        planes = torch.zeros(2, dtype=torch.int64)
        error, _, cost = cpu.model(x, *cpu.draw_qualities(planes, _generator(step)))
        normalized_loss(error, cost).backward()
        cpu.update()
    cpu.save(tmp_path)
    gpu = Training(RateDistortion(ResidualAutoencoder(4, 4).to(memory_format=torch.channels_last)).cuda(), Recipe())
    gpu.load(tmp_path / STABLE)
    muons = cpu.optimizers["muon"], gpu.optimizers["muon"]
    for here, there in zip(*(muon.param_groups[0]["params"] for muon in muons), strict=True):
        assert torch.equal(there.detach().cpu(), here.detach())
        one, other = muons[0].state[here]["momentum"], muons[1].state[there]["momentum"]
        assert (other.device, other.stride()) == (there.device, there.stride())
        assert torch.cosine_similarity(one.flatten(), other.cpu().flatten(), 0) > 0.9999


@pytest.mark.gpu
def test_a_gpu_trains_in_bfloat16_and_resumes(
    clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # of the float32 that other tests ask for
    before = _mean_psnr(start, pictures)
    recipe = Recipe(minutes=0.5, warmup_minutes=0.02, decay_minutes=0.3, learn_statistics_minutes=0.1, crop=32)
    run, output = tmp_path / "run", tmp_path / "output"
    train(pictures, run, output, recipe, start, pictures, tmp_path / "exports")
    assert _mean_psnr(output, pictures) > before + 3
    AcceleratorState._reset_state(reset_partial_state=True)
    train(pictures, run, output, replace(recipe, minutes=0.6), start, pictures)
    assert Checkpoint.open(output).tables
    assert float(_rows(run)[0]["memory_gb"]) > 0


@pytest.mark.gpu
def test_crops_are_the_same_on_a_gpu() -> None:
    plane = np.random.default_rng(0).integers(0, 256, (64, 80), np.uint8)
    planes = torch.zeros(16, dtype=torch.int64)
    here, there = (Crops([(plane, 0)], device).draw(planes, 32, _generator(), 0.5, 2.5) for device in ("cpu", "cuda"))
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-5)


# ---- the network in training ----


def test_the_command_fails_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", *_arguments(tmp_path, tmp_path, tmp_path, crop=33)])
    with pytest.raises(SystemExit) as leaving:
        command.main()
    assert leaving.value.code == 1
    assert capsys.readouterr().err.startswith("residae: Crops must be positive multiples of 16")


def test_what_is_trained_is_the_network(network: ResidualAutoencoder) -> None:
    """In another order and with less memory, but the same function, with the same gradients."""
    plain, frugal = copy.deepcopy(network), copy.deepcopy(network)
    x = torch.rand(2, 1, 48, 32)
    expected, expected_latent = plain(x)
    latent = run_encoder(frugal.encoder, x)
    result = run_decoder(frugal.decoder, latent)
    torch.testing.assert_close(latent, expected_latent, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    expected.square().sum().backward()
    result.square().sum().backward()
    for (name, one), other in zip(plain.named_parameters(), frugal.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-3 * float(one.grad.abs().max()), msg=name)


@pytest.mark.parametrize(("batch", "mixed"), [(8, False), (16, True)])
def test_memory_of_a_step_is_within_the_specification(batch: int, mixed: bool) -> None:
    """About 4 GB at batch 8, and at batch 16 in mixed precision, crops of 256: what is kept for the gradients, and four
    times the weights for these, Muon's momentum and the moving average.

    What is kept is counted at two small crops, since a CPU without bfloat16 takes minutes for a large one.
    """
    model = RateDistortion(ResidualAutoencoder())
    weights = {parameter.untyped_storage().data_ptr(): parameter.nbytes for parameter in model.parameters()}

    def kept(side: int) -> int:
        storages: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor  # holds it, so that no other gets its place
            return tensor

        crop, nothing = torch.rand(1, 1, side, side), torch.zeros(1)
        keeping = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with keeping, torch.autocast("cpu", enabled=mixed):
            model(crop, nothing.long(), nothing, nothing.bool())
        return sum(tensor.untyped_storage().nbytes() for at, tensor in storages.items() if at not in weights)

    small, large = kept(32), kept(48)
    for_each_pixel = (large - small) / (48**2 - 32**2)
    always = small - 32**2 * for_each_pixel  # weights in the other precision
    assert always >= 0
    assert 1e9 < 4 * sum(weights.values()) + always + batch * 256**2 * for_each_pixel < 4e9
