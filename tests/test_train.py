"""Training learns, resumes as if nothing had happened, and stops before it spoils what it has."""

import copy
import csv
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from residae.checkpoint import Checkpoint
from residae.codec import Codec
from residae.codec.coder import ideal_bits
from residae.codec.quantizer import dequantize, quantize
from residae.codec.tables import Tables
from residae.errors import CheckpointError, ImageError, TrainingError
from residae.evaluate import mean_psnr
from residae.image import Pixels, open_picture, write_png
from residae.model import ResidualAutoencoder
from residae.pipeline import Pipeline
from residae.train import __main__ as command
from residae.train import loop
from residae.train.data import Crops
from residae.train.loop import DECAY, STATE, Training, initialize, train
from residae.train.optimizer import KernelMuon, build_optimizers
from residae.train.rate import LAMBDA, LOWER, RateDistortion, RateModel, decode, encode, laplace_bits, relative
from residae.train.recipe import Recipe
from residae.train.tables import KNOTS, fit, fit_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- crops ----


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _draw(crops: Crops, count: int, size: int, chroma_share: float = 0, seed: int = 0) -> Tensor:
    generator = _generator(seed)
    return crops.draw(crops.draw_kinds(count, chroma_share, generator), size, generator)


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
    """Whatever its area, half of it of each kind."""
    crops = Crops([(_flat(10, 64, 64), 0), (_flat(100, 20, 20), 1), (_flat(200, 20, 20), 2)])
    generator = _generator()
    kinds = crops.draw_kinds(2000, share, generator)
    for kind in (1, 2):
        assert (kinds == kind).double().mean() == pytest.approx(share / 2, abs=0.04 if share else 0)
    values = 255 * crops.draw(kinds, 16, generator)[:, 0, 0, 0]
    assert torch.equal(values.round(), torch.tensor([10.0, 100.0, 200.0])[kinds])


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
    shapes = list(zip(crops.height.tolist(), crops.width.tolist(), crops.kind.tolist(), strict=True))
    color = [(48, 64, 0), (24, 32, 1), (24, 32, 2), (20, 20, 0), (10, 10, 1), (10, 10, 2)]
    assert shapes == [(40, 52, 0), *color]
    assert crops.pixels.numel() == sum(height * width for height, width, _ in shapes)
    assert crops.pixels.dtype == torch.uint8


def test_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("no picture")
    with pytest.raises(ImageError, match="no picture to train on"):
        Crops.from_folder(tmp_path)


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


def test_zero_grad_clears_the_kernels() -> None:
    kernel = nn.Parameter(torch.randn(4, 4, 3, 3, generator=_generator()))
    muon = KernelMuon([kernel], lr=0.1)
    kernel.grad = torch.ones_like(kernel)
    muon.step()
    muon.zero_grad()
    assert [parameter.grad for parameter in (kernel, *muon.matrices)] == [None, None]
    after = kernel.detach().clone()
    muon.step()  # without a gradient nothing moves
    assert torch.equal(kernel, after)


def test_a_kernel_that_cannot_be_shared_is_refused() -> None:
    """A matrix that is a copy would leave the kernel where it is, and say nothing."""
    kernel = nn.Parameter(torch.randn(8, 4, 3, 3)[::2, ..., ::2])
    with pytest.raises(RuntimeError, match="view"):
        KernelMuon([kernel], lr=0.1)


def test_each_parameter_has_one_optimizer(network: ResidualAutoencoder) -> None:
    model = RateDistortion(network)
    optimizers = build_optimizers(model, Recipe())
    muon = {id(kernel) for kernel in optimizers["muon"].kernels}
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
    [{"crop": 40}, {"crop": 0}, {"batch": 0}, {"average_steps": 0}, {"minutes": 20.9}, {"optimizer": "sgd"}],
)
def test_a_recipe_that_cannot_be_followed(option: dict[str, Any]) -> None:
    with pytest.raises(TrainingError):
        Recipe(**option)


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
    return fit([_latents(12, 0)] * 3, np.array([[1.0, -2.0]] * 3), gains)


def _rate_model(tables: Tables) -> RateModel:
    rate = RateModel(tables.channels)
    rate.take(tables)
    return rate


def test_a_rate_model_holds_the_tables(tables: Tables) -> None:
    back = _rate_model(tables).tables()
    np.testing.assert_array_equal(back.means, tables.means)
    np.testing.assert_allclose(back.gains[LOWER:], tables.gains, rtol=1e-5)
    np.testing.assert_array_equal(back.mean_weights[LOWER:], tables.mean_weights)
    np.testing.assert_array_equal(back.spread_weights[LOWER:], tables.spread_weights)
    steps = np.diff(np.log(back.gains), axis=0)  # below, qualities that were not trained
    np.testing.assert_allclose(steps[:LOWER], np.broadcast_to(steps[LOWER], steps[:LOWER].shape), rtol=1e-4)
    np.testing.assert_allclose(_rate_model(back).tables().gains, back.gains, rtol=1e-5)


@pytest.mark.parametrize("quality", [0, 35, 70, 100])
@pytest.mark.parametrize("kind", [0, 2])
def test_a_rate_model_speaks_for_the_codec(
    tables: Tables, kind: int, quality: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rounded latent, and for whole symbols about as many bits, from the same predictions."""
    level = round(10_000 * (quality / 100 * (KNOTS - 1) + LOWER) / (KNOTS - 1 + LOWER))
    rate = _rate_model(tables)
    codec = Codec(rate.tables(), bytes(8))
    latent = _latents(1, 1)[0][:, :17, :22]
    symbols = quantize(latent, kind, level, codec.tables)
    rounded = torch.from_numpy(dequantize(symbols, kind, level, codec.tables))[None]

    monkeypatch.setattr(torch, "rand_like", lambda x: torch.full_like(x, 0.5))  # without the noise
    place = torch.tensor([kind]), torch.tensor([level / 10_000 * (KNOTS - 1 + LOWER) - LOWER])
    torch.testing.assert_close(rate(torch.from_numpy(latent)[None], *place)[0], rounded, atol=1e-4, rtol=1e-4)
    bits = ideal_bits(symbols, kind, level, codec.tables).sum()
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
    kind, position, exact = torch.tensor([0, 1]), torch.tensor([1.0, 2.0]), torch.tensor([True, False])
    error, rate, cost = model(x, kind, position, exact)
    mse = (network(x)[0][0] - x[0]).square().mean() * 255**2
    assert error[0].item() == pytest.approx(mse.item(), rel=1e-4)
    assert (cost > 0).tolist() == [False, True]
    assert cost[1].item() == pytest.approx(rate[1].item() / LAMBDA[2])

    hard = torch.tensor([1000.0], requires_grad=True)
    easy = torch.tensor([100.0], requires_grad=True)
    for error in (hard, easy):
        relative(error, error.detach()).backward()
    assert hard.grad * 1000 == pytest.approx(easy.grad * 100, rel=0.3)


# ---- one step ----


@pytest.fixture
def training() -> Training:
    torch.manual_seed(0)
    recipe = Recipe(warmup_minutes=2, learn_statistics_minutes=5, kernel_lr=0.02, other_lr=0.003, average_steps=2)
    return Training(RateDistortion(initialize(ResidualAutoencoder(2, 2))), recipe)


def _step(training: Training) -> None:
    training.prepare()
    x = torch.rand(2, 1, 32, 32, generator=_generator(training.step))
    kinds = torch.zeros(2, dtype=torch.int64)
    error, _, cost = training.model(x, *training.draw_rates(kinds, _generator(training.step)))
    relative(error, cost).backward()
    training.update()


def test_rates_follow_the_recipe(training: Training) -> None:
    training.minutes = 1
    training.prepare()
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
    monkeypatch.setattr(loop, "preferred_float", lambda _: torch.float32)
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


def _progress(run: Path) -> dict[str, float]:
    with safe_open(run / STATE, "pt") as file:
        return json.loads(file.metadata()["progress"])


def _weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _mean_psnr(checkpoint: Path, pictures: Path) -> float:
    network = ResidualAutoencoder.from_pretrained(checkpoint)
    return mean_psnr(Pipeline(Checkpoint(network), "cpu", torch.float32), pictures)


def test_training_learns(clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path) -> None:
    recipe = Recipe(**SHORT | {"minutes": 15.0, "validate_minutes": 7.5})
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
    with pytest.raises(TrainingError, match="holds a checkpoint already"):
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


def test_no_step_of_training_is_done_in_bytes(
    clock: SimpleNamespace, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they round away is more than the noise by which the rates of channels are found."""
    asked = []
    monkeypatch.setattr("residae.engine.preferred_dtype", lambda device: asked.append(device) or torch.float32)
    recipe = Recipe(**SHORT_RATE | {"minutes": 3.0, "validate_minutes": 2.0})
    initialize(ResidualAutoencoder(2, 2)).save_pretrained(tmp_path / "start")
    train(pictures, tmp_path / "run", tmp_path / "output", recipe, tmp_path / "start", pictures)
    fit_checkpoint(tmp_path / "output", pictures, 3)
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
    assert _progress(tmp_path / "run") == {"step": 12, "minutes": 3.0, "until": 5.0}
    clock.kill_at = None
    clock.seconds += 12345  # while nothing ran
    train(pictures, tmp_path / "run", tmp_path / "output", RECIPE, start)
    assert clock.steps == 20 + 13 + (20 - 12)
    assert _weights(tmp_path / "output") == _weights(tmp_path / "expected")
    for state in (STATE, DECAY):
        assert (tmp_path / "run" / state).read_bytes() == (tmp_path / "whole" / state).read_bytes()

    (tmp_path / "output" / "model.safetensors").unlink()
    train(pictures, tmp_path / "run", tmp_path / "output", RECIPE, start)  # killed once more, before it ended
    assert clock.steps == 20 + 13 + (20 - 12)
    assert _weights(tmp_path / "output") == _weights(tmp_path / "expected")


def test_a_finished_run_can_be_prolonged(clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path) -> None:
    """From where its decay began."""
    run, output = tmp_path / "run", tmp_path / "output"
    train(pictures, run, output, RECIPE, start)
    assert _progress(run) == {"step": 14, "minutes": 3.5, "until": 5.0}
    first = _weights(output)
    train(pictures, run, output, Recipe(**SHORT_RATE | {"minutes": 6.0}), start)
    assert clock.steps == 20 + (24 - 14)
    assert _progress(run) == {"step": 18, "minutes": 4.5, "until": 6.0}
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
    """Its kernels are; its BatchNorm computes the same from statistics of what passes, which frozen ones are not."""
    recipe = Recipe(**SHORT | {"minutes": 2.5, "decay_minutes": 0.0})  # without a decay, the last state is saved
    train(pictures, tmp_path / "run", tmp_path / "output", recipe, start)
    state = load_file(tmp_path / "run" / STATE)
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
    assert not torch.equal(state["average.network.decoder.out.bias"], state["model.network.decoder.out.bias"])


def test_gains_are_learned(clock: SimpleNamespace, start: Path, pictures: Path, tmp_path: Path) -> None:
    """Those of the checkpoint are not those that the run began with, its predictions are fitted about them, and the
    same bytes buy no worse a picture than with gains that were not trained."""
    recipe = Recipe(**SHORT | {"minutes": 20.0, "other_lr": 0.02}, rate_minutes=3.0)
    train(pictures, tmp_path / "run", tmp_path / "output", recipe, start, pictures)
    learned = Checkpoint.open(tmp_path / "output")
    state = load_file(tmp_path / "run" / DECAY)
    np.testing.assert_allclose(learned.tables.means, state["average.rate.means"], atol=0.2)
    rows = [row for row in _rows(tmp_path / "run") if row["train_bpp"]]
    assert float(rows[-1]["train_bpp"]) < float(rows[0]["train_bpp"])
    last = _rows(tmp_path / "run")[-1]
    assert 0 < float(last["bpp_20"]) < float(last["bpp_60"])
    assert float(last["psnr_20"]) < float(last["psnr_80"]) + 0.2
    assert open_picture(tmp_path / "run" / "step-80.png").pixels.shape == (
        3 * 256,
        6 * 256,
    )  # original, unquantized, four qualities


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
    training.save(tmp_path / STATE)
    before = (tmp_path / STATE).read_bytes()
    _step(training)

    def fail(_: object, path: Path, *__: object) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(loop, "save_file", fail)
    with pytest.raises(OSError, match="no space left"):
        training.save(tmp_path / STATE)
    assert (tmp_path / STATE).read_bytes() == before


@pytest.mark.parametrize("damage", ["cut", "foreign", "muon", "adamw"])
def test_a_state_that_does_not_fit(training: Training, tmp_path: Path, damage: str) -> None:
    path = tmp_path / STATE
    if damage in ("muon", "adamw"):
        recipes = {name: replace(training.recipe, optimizer=name) for name in ("muon", "adamw")}
        other = Training(training.model, recipes.pop(damage))
        _step(other)
        other.save(path)
        training = Training(training.model, *recipes.values())
    elif damage == "foreign":
        Training(RateDistortion(ResidualAutoencoder(4, 2)), training.recipe).save(path)
    else:
        training.save(path)
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TrainingError, match="is damaged, or is the state of another network or optimizer"):
        training.load(path)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"minutes": 3.0}, 3),  # found when the state is to be saved
        ({"minutes": 8.0, "save_minutes": 100.0}, 20),  # at the first row of the log
        ({"minutes": 1.5, "warmup_minutes": 0.0, "save_minutes": 100.0}, 6),  # at the end
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
    assert not (tmp_path / "run" / STATE).exists()
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


KEEPING = """
import os, torch
from accelerate import PartialState
from residae.train import __main__ as command
from residae.train.loop import Training

check = Training.check

def keep(training):
    check(training)
    assert PartialState().num_processes == 2
    torch.save(dict(training.model.named_parameters()), f"{os.environ['KEPT']}/{os.environ['RANK']}.pt")

Training.check = keep
command.main()
"""


def test_two_processes_train_one_network(start: Path, pictures: Path, tmp_path: Path) -> None:
    """As `accelerate launch` starts them on several GPUs; each has crops of its own."""
    (tmp_path / "keeping.py").write_text(KEEPING)
    options = SHORT | {"minutes": 0.05, "rate_minutes": 0.0, "decay_minutes": 0.02, "warmup_minutes": 0.01}
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "--"]
    done = subprocess.run(
        [*launch, str(tmp_path / "keeping.py"), *_arguments(pictures, start, tmp_path, **options)],
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT), "KEPT": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name, parameter in one.items():
        torch.testing.assert_close(other[name], parameter, rtol=0, atol=0, msg=name)
    assert Checkpoint.open(tmp_path / "output").tables


def test_the_command_has_each_option_of_the_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(loop, "train", lambda *arguments: asked.extend(arguments))
    options = {option.name: type(option.default)(16 * (i + 1)) for i, option in enumerate(fields(Recipe))}
    options |= {"minutes": 1000.0, "optimizer": "adamw"}
    monkeypatch.setattr(sys, "argv", ["train", *_arguments(tmp_path, tmp_path, tmp_path, **options)])
    command.main()
    assert asked == [tmp_path, tmp_path / "run", tmp_path / "output", Recipe(**options), str(tmp_path), tmp_path]


def test_the_command_fails_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", *_arguments(tmp_path, tmp_path, tmp_path, crop=33)])
    with pytest.raises(SystemExit) as leaving:
        command.main()
    assert leaving.value.code == 1
    assert capsys.readouterr().err.startswith("residae: The crop must be a positive multiple of 16")


def test_what_is_trained_is_the_network(network: ResidualAutoencoder) -> None:
    """In another order and with less memory, but the same function, with the same gradients."""
    plain, frugal = copy.deepcopy(network), copy.deepcopy(network)
    x = torch.rand(2, 1, 48, 32)
    expected, expected_latent = plain(x)
    latent = encode(frugal.encoder, x)
    result = decode(frugal.decoder, latent)
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
