"""The training loop: warm-up, stable, decay, with everything that is needed to go on after a kill."""

import copy
import csv
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import cast

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast, parse_flag_from_env
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from residae.checkpoint import Checkpoint
from residae.codec.quantizer import dequantize, quantize
from residae.codec.tables import PLANES, Tables
from residae.engine import Engine, preferred_float
from residae.errors import TrainingError
from residae.evaluate import open_pictures
from residae.image import write_png
from residae.metrics import psnr
from residae.model import ResidualAutoencoder
from residae.pipeline import Pipeline, reference
from residae.train.data import Crops
from residae.train.optimizer import build_optimizers
from residae.train.rate import RateDistortion, relative
from residae.train.recipe import Recipe
from residae.train.statistics import renew
from residae.train.tables import KNOTS, fit_tables, refit
from residae.weights import CONFIG

STATE = "state.safetensors"  # of the stable phase
DECAY = "decay.safetensors"  # of the decay that follows
LOG = "log.csv"
LOG_STEPS = 20  # steps per row of the log
QUALITIES = (20, 40, 60, 80)  # at which validation looks
COLUMNS = (
    *("step", "minutes", "memory_gb", "train_psnr", "train_bpp", "validation_psnr"),
    *(f"{name}_{quality}" for quality in QUALITIES for name in ("bpp", "psnr")),
)
FIT_CROPS, FIT_SIDE = 48, 256  # of each kind of plane, from which the rate model begins; and for statistics at the end
TABLE_PICTURES = 96  # to which the final tables are fitted
STRIP_SIDE, STRIP_ROWS = 256, 6  # pixels and pictures of a validation's strip


def train(
    folder: str | Path,
    run: str | Path,
    output: str | Path,
    recipe: Recipe,
    start: str | Path | None = None,
    validate: str | Path | None = None,
) -> None:
    """Train on the pictures below `folder`, keep all that resuming needs in `run`, write the checkpoint to `output`,
    with codec tables fitted to it.

    A run that finds its own state in `run` goes on from there: killed at any moment, it repeats the steps since the
    last save and ends as if nothing had happened. The state in which the stable phase ended is kept beside that of the
    decay, so that a finished run can be prolonged by giving it more minutes. `start` is a checkpoint (folder or Hub id)
    to begin with, gains included; without it weights are random. With `validate`, the averaged weights are measured on
    that folder's pictures now and then, and some of what they make of them is kept in `run` as a picture.

    Under `accelerate launch` each process draws its own crops, and gradients are averaged over processes.
    ImageError where a folder holds no picture, CheckpointError as `from_pretrained`, TrainingError where the state
    does not fit, `output` holds a checkpoint that is not of this run, or training diverges.
    """
    folder, run, output = Path(folder), Path(run), Path(output)
    if (output / CONFIG).exists() and not any((run / state).exists() for state in (STATE, DECAY)):
        raise TrainingError(f"{output} holds a checkpoint already, and a new run does not replace it: name another.")
    if validate:
        next(open_pictures(validate))  # a wrong folder is better known now than after half an hour
    # The state that Accelerator goes on with: it would come too late with the wish for a CPU. The GPU of a Mac has no
    # float64, which clocks and sums need.
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or torch.backends.mps.is_available()
    device = PartialState(cpu=on_cpu).device
    mixed = preferred_float(device) == torch.bfloat16
    accelerator = Accelerator(mixed_precision="bf16" if mixed else "no")
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    if start:
        checkpoint = Checkpoint.open(start)
        network, tables = checkpoint.network, checkpoint.tables
    else:
        network, tables = initialize(ResidualAutoencoder(), recipe.branch_scale), None
    # Kernels, too, or every bfloat16 convolution on a CPU reorders what it gets, at twice the time. In float32 there is
    # nothing to gain, and oneDNN's gradients of narrow layers crash.
    layout = torch.channels_last if mixed else torch.contiguous_format
    network.to(memory_format=layout)  # type: ignore[call-overload]
    training = Training(RateDistortion(network).to(device), recipe, tables)
    training.resume(run)
    crops = Crops.from_folder(folder, device)
    wrapped = accelerator.prepare(training.model)
    generator = torch.Generator()
    figures: list[Tensor] = []
    saved = validated = training.minutes
    started = time.monotonic() - 60 * training.minutes
    precision = "bfloat16" if mixed else "float32"
    megapixels = crops.pixels.numel() / 1e6
    accelerator.print(f"{megapixels:.0f} megapixels on {accelerator.device}, {precision}, step {training.step}")

    while True:
        clock = torch.tensor((time.monotonic() - started) / 60, dtype=torch.float64, device=accelerator.device)
        training.minutes = broadcast(clock).item()  # that of the first process, so that all stop at the same step
        stable = saved < recipe.stable_until  # then its end is not missed
        if training.minutes >= min(saved + recipe.save_minutes, recipe.stable_until if stable else math.inf):
            saved = training.minutes
            training.check()
            if accelerator.is_main_process:
                training.save(run / (STATE if stable else DECAY))
        if training.minutes >= recipe.minutes:
            break
        if recipe.rate_factor(training.minutes) and not training.model.rate.begun:
            training.begin_rate(crops)
            broadcast([parameter.detach() for parameter in training.model.rate.parameters()])

        seed = hash((recipe.seed, training.step, accelerator.process_index)) % 2**63
        generator.manual_seed(seed)
        torch.manual_seed(seed)  # of the noise that stands for rounding
        kinds = crops.draw_kinds(recipe.batch, recipe.chroma_share, generator)
        x = crops.draw(kinds, recipe.crop, generator).contiguous(memory_format=layout)
        training.prepare()
        error, bits, cost = wrapped(x, *training.draw_rates(kinds, generator))
        accelerator.backward(relative(error, cost * recipe.rate_factor(training.minutes)))
        training.update()

        figures.append(torch.stack((error.detach().mean(), bits.detach().mean())))
        if len(figures) < LOG_STEPS:
            continue
        row = training.row(*torch.stack(figures).mean(0).tolist())
        figures.clear()
        training.check()
        if accelerator.is_main_process:
            if validate and training.minutes - validated >= recipe.validate_minutes:
                validated = training.minutes
                row |= validate_checkpoint(
                    training.checkpoint(), accelerator.device, Path(validate), run / f"step-{training.step}.png"
                )
            append(run / LOG, row)

    training.check()
    if accelerator.is_main_process:
        network = training.average.network
        accelerator.print("Statistics of BatchNorm are renewed, then tables are fitted.")
        renew(network, training.some_crops(crops))
        checkpoint = training.checkpoint()
        fitted = fit_tables(checkpoint, folder, TABLE_PICTURES, accelerator.device)
        checkpoint = replace(checkpoint, tables=fitted)
        checkpoint.save(output)
        if validate:
            row = {"step": str(training.step), "minutes": f"{recipe.minutes:.2f}"}
            row |= validate_checkpoint(
                checkpoint, accelerator.device, Path(validate), run / f"step-{training.step}.png"
            )
            append(run / LOG, row)
        accelerator.print(f"{output} is written.")


class Training:
    """What a run changes and must keep: weights, their moving average, both optimizers, and how far it has come."""

    def __init__(self, model: RateDistortion, recipe: Recipe, start_tables: Tables | None = None) -> None:
        self.start_tables = start_tables
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        self.recipe = recipe
        self.optimizers = build_optimizers(model, recipe)
        self.lrs = {"muon": recipe.kernel_lr, "adamw": recipe.other_lr}
        self.step = 0
        self.minutes = 0.0

    def checkpoint(self) -> Checkpoint:
        """The averaged weights as they are now, with the tables of the averaged rate model once that is initialized."""
        tables = self.average.rate.tables() if self.average.rate.begun else self.start_tables
        return Checkpoint(copy.deepcopy(self.average.network), tables, "average")

    def begin_rate(self, crops: Crops) -> None:
        """Set gains and predictions to suit the latents of today's average; training goes on from there."""
        generator = torch.Generator().manual_seed(self.recipe.seed)
        device = crops.pixels.device
        engine = Engine(self.average.network, device, preferred_float(device))
        planes = [
            [engine.encode(crop.numpy()) for crop in crops.draw(kinds, FIT_SIDE, generator)[:, 0].cpu()]
            for kinds in (torch.full((FIT_CROPS,), kind) for kind in range(len(PLANES)))
        ]
        old = self.start_tables
        tables = refit(engine, planes, old if old and len(old.gains) >= KNOTS else None)
        for model in (self.model, self.average):
            model.rate.take(tables)

    def some_crops(self, crops: Crops) -> Iterator[Tensor]:
        """The same (1, 1, FIT_SIDE, FIT_SIDE) whenever asked, FIT_CROPS of kinds in the recipe's shares."""
        generator = torch.Generator().manual_seed(self.recipe.seed)
        for _ in range(FIT_CROPS):
            yield crops.draw(crops.draw_kinds(1, self.recipe.chroma_share, generator), FIT_SIDE, generator)

    def prepare(self) -> None:
        """Set learning rates and BatchNorm for the step to come. Frozen statistics are those of inference: what is
        trained is then what is used."""
        factor = self.recipe.lr_factor(self.minutes)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.lrs[name] * factor
        self.model.train()
        if self.minutes >= self.recipe.learn_statistics_minutes:
            for module in self.model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def draw_rates(self, kinds: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """What `RateDistortion` is to do with crops of `kinds` (B,): these, their places on the knots, and which are
        to stay exact, as all are before bits count."""
        count, device = len(kinds), self.model.weights.device
        position = (KNOTS - 1) * torch.rand(count, generator=generator)
        exact = torch.rand(count, generator=generator) < self.recipe.exact_share
        if not self.model.rate.begun:
            exact[:] = True
        return kinds.to(device), position.to(device), exact.to(device)

    @torch.no_grad()
    def update(self) -> None:
        """Step by the gradients at hand, and move the average along."""
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        weight = 1 / min(self.step, self.recipe.average_steps)
        for old, new in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
            if old.is_floating_point():
                old.lerp_(new, weight)

    def check(self) -> None:
        """TrainingError if training has diverged, before the state or a checkpoint takes that up."""
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            raise TrainingError("Training has diverged: lower the learning rates and resume.")

    def row(self, error: float, bits: float) -> dict[str, str]:
        """A row of the log, from the mean error in gray levels^2 and bits per pixel of the last steps."""
        row = {
            "step": str(self.step),
            "minutes": f"{self.minutes:.2f}",
            "train_psnr": f"{10 * math.log10(255**2 / error):.3f}",
            "memory_gb": f"{_peak_memory(self.model.weights.device) / 1e9:.2f}",
        }
        return row | ({"train_bpp": f"{bits:.4f}"} if self.model.rate.begun else {})

    def save(self, path: Path) -> None:
        """Write the state to `path`, whole or not at all."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        for kind, optimizer in self.optimizers.items():
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"{kind}.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        partial = path.with_suffix(".partial")
        progress = {"step": self.step, "minutes": self.minutes, "until": self.recipe.minutes}
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(tensors, partial, {"progress": json.dumps(progress)})
        partial.replace(path)

    def resume(self, run: Path) -> None:
        """Take up the last state in `run`, if there is one; that of a decay only if it was to end when ours does."""
        if (run / DECAY).exists() and _progress(run / DECAY)["until"] == self.recipe.minutes:
            self.load(run / DECAY)
        elif (run / STATE).exists():
            self.load(run / STATE)

    def load(self, path: Path) -> None:
        """Take up the state in `path`. TrainingError if it is damaged, another network's or another optimizer's."""
        progress = _progress(path)
        try:
            tensors = load_file(path)
            self.model.load_state_dict(_below("model.", tensors))
            self.average.load_state_dict(_below("average.", tensors))
        except (SafetensorError, RuntimeError) as error:
            raise _misfit(path) from error
        self.step, self.minutes = int(progress["step"]), progress["minutes"]
        for kind, optimizer in self.optimizers.items():
            states: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _below(f"{kind}.", tensors).items():
                index, key = name.split(".")
                states.setdefault(int(index), {})[key] = tensor
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            shapes = {(i, tensor.shape) for i, state in states.items() for tensor in state.values() if tensor.ndim}
            if not shapes <= {(i, parameter.shape) for i, parameter in enumerate(parameters)}:
                raise _misfit(path)
            optimizer.load_state_dict(optimizer.state_dict() | {"state": states})


def validate_checkpoint(checkpoint: Checkpoint, device: torch.device, folder: Path, strip: Path) -> dict[str, str]:
    """Measure a checkpoint on the luma of the pictures in `folder`, unquantized and at QUALITIES by its tables' code
    lengths: means by column of the log. Writes `strip`, of each picture's middle and what is made of it."""
    pipeline = Pipeline(checkpoint, device, preferred_float(device))
    columns: dict[str, list[float]] = {}
    rows = []
    for _, picture in open_pictures(folder):
        encoding = pipeline.encode(picture, color=False)
        original = reference(picture, color=False)
        shown = [original]
        for quality in (None, *QUALITIES):
            latent = encoding.latents[0]
            if quality is not None:
                symbols = quantize(latent, 0, quality * 100, pipeline.codec.tables)
                bits = pipeline.codec.channel_bits([symbols], quality).sum()
                latent = dequantize(symbols, 0, quality * 100, pipeline.codec.tables)
                columns.setdefault(f"bpp_{quality}", []).append(bits / original.size)
            rebuilt = pipeline.decode(replace(encoding, latents=(latent,))).pixels
            name = "validation_psnr" if quality is None else f"psnr_{quality}"
            columns.setdefault(name, []).append(psnr(original, rebuilt))
            shown.append(rebuilt)
        top, left = (max(0, (length - STRIP_SIDE) // 2) for length in original.shape)
        row = np.full((STRIP_SIDE, STRIP_SIDE * len(shown)), 128, np.uint8)
        for index, pixels in enumerate(shown):
            part = pixels[top : top + STRIP_SIDE, left : left + STRIP_SIDE]
            row[: part.shape[0], index * STRIP_SIDE : index * STRIP_SIDE + part.shape[1]] = part
        rows.append(row)
    strip.write_bytes(write_png(np.concatenate(rows[:STRIP_ROWS])))
    return {name: f"{fmean(values):.4f}" for name, values in columns.items()}


def _peak_memory(device: torch.device) -> int:
    """Most bytes so far: of a GPU what tensors took, of a CPU all that the process did."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource  # is not there on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def initialize(
    network: ResidualAutoencoder, branch_scale: float = 0.2, output_scale: float = 0.1
) -> ResidualAutoencoder:
    """He initialization; each residual branch starts small, and so does the output, so that training starts calm."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            if name.endswith("conv2"):
                module.weight.data *= branch_scale
    network.decoder.out.weight.data *= output_scale
    return network


def append(path: Path, row: dict[str, str]) -> None:
    """Add a row to a CSV file, and print it."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    print(*(f"{name} {value}" for name, value in row.items()), sep="  ", flush=True)


def _progress(path: Path) -> dict[str, float]:
    try:
        with safe_open(path, "pt") as file:
            return cast(dict[str, float], json.loads(file.metadata()["progress"]))
    except (SafetensorError, TypeError, KeyError) as error:
        raise _misfit(path) from error


def _misfit(path: Path) -> TrainingError:
    return TrainingError(f"{path} is damaged, or is the state of another network or optimizer.")


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
