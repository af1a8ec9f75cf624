"""The training loop: warm-up, stable, decay, with everything that is needed to go on after a kill."""

import copy
import csv
import json
import math
import time
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from residae.checkpoint import ResidualAutoencoder
from residae.engine import preferred_dtype
from residae.errors import TrainingError
from residae.evaluate import mean_psnr, open_pictures
from residae.session import Laboratory
from residae.train.data import Crops
from residae.train.optimizer import build_optimizers
from residae.train.recipe import Recipe

STATE = "state.safetensors"
LOG = "log.csv"
LOG_STEPS = 20  # steps per row of the log


def train(
    folder: str | Path,
    run: str | Path,
    output: str | Path,
    recipe: Recipe,
    start: str | Path | None = None,
    validate: str | Path | None = None,
) -> None:
    """Train on the pictures below `folder`, keep all that resuming needs in `run`, write the checkpoint to `output`.

    A run that finds its own state in `run` goes on from there: killed at any moment, it repeats the steps since the
    last save and ends as if nothing had happened. State is saved in the stable phase only, so that a finished run can
    be prolonged by giving it more minutes. `start` is a checkpoint (folder or Hub id) to begin with; without it weights
    are random. With `validate`, the mean PSNR of the averaged weights on that folder's pictures is logged.

    Under `accelerate launch` each process draws its own crops, and gradients are averaged over processes.
    ImageError where a folder holds no picture, CheckpointError as `from_pretrained`, TrainingError where the state
    does not fit or training diverges.
    """
    if validate:
        next(open_pictures(validate))  # a wrong folder is better known now than after half an hour
    device = PartialState().device
    mixed = preferred_dtype(device) == torch.bfloat16
    accelerator = Accelerator(mixed_precision="bf16" if mixed else "no")
    run = Path(run)
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    network = ResidualAutoencoder.from_pretrained(start) if start else initialise(ResidualAutoencoder())
    network.tables = None  # those of the start fit its weights, not the ones to come
    training = Training(network.to(device), recipe)
    if (run / STATE).exists():
        training.load(run / STATE)
    crops = Crops.from_folder(folder, device)
    wrapped = accelerator.prepare(training.network)
    generator = torch.Generator()
    losses: list[Tensor] = []
    saved = validated = training.minutes
    started = time.monotonic() - 60 * training.minutes
    accelerator.print(f"{crops.pixels.numel() / 1e6:.0f} megapixels on {accelerator.device}, step {training.step}")

    while True:
        clock = torch.tensor((time.monotonic() - started) / 60, dtype=torch.float64, device=accelerator.device)
        training.minutes = broadcast(clock).item()  # that of the first process, so that all stop at the same step
        if saved < recipe.stable_until and training.minutes >= min(saved + recipe.save_minutes, recipe.stable_until):
            saved = training.minutes
            training.check()
            if accelerator.is_main_process:
                training.save(run / STATE)
        if training.minutes >= recipe.minutes:
            break

        generator.manual_seed(hash((recipe.seed, training.step, accelerator.process_index)) % 2**63)
        x = crops.draw(recipe.batch, recipe.crop, recipe.chroma_share, generator)
        training.prepare()
        x_hat, _ = wrapped(x.contiguous(memory_format=torch.channels_last))
        loss = nn.functional.mse_loss(x_hat.float(), x)
        accelerator.backward(loss)
        training.update()

        losses.append(loss.detach())
        if len(losses) < LOG_STEPS:
            continue
        mse = torch.stack(losses).mean().item()
        losses.clear()
        training.check()
        if accelerator.is_main_process:
            row = training.row(mse)
            if validate and training.minutes - validated >= recipe.validate_minutes:
                validated = training.minutes
                laboratory = Laboratory(training.average, "average", accelerator.device)
                row["validation_psnr"] = f"{mean_psnr(laboratory, validate):.3f}"
            append(run / LOG, row)

    training.check()
    if accelerator.is_main_process:
        training.average.save_pretrained(output)
        if validate:
            psnr = mean_psnr(Laboratory.open(output, accelerator.device), validate)
            append(run / LOG, {"step": training.step, "minutes": recipe.minutes, "validation_psnr": f"{psnr:.3f}"})


class Training:
    """What a run changes and must keep: weights, their moving average, both optimisers, and how far it has come."""

    def __init__(self, network: ResidualAutoencoder, recipe: Recipe) -> None:
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False).eval()
        self.recipe = recipe
        self.optimizers = build_optimizers(network, recipe.kernel_lr, recipe.other_lr)
        self.rates = {"muon": recipe.kernel_lr, "adamw": recipe.other_lr}
        self.step = 0
        self.minutes = 0.0

    def prepare(self) -> None:
        """Set learning rates and BatchNorm for the step to come. Frozen statistics are those of inference: what is
        trained is then what is used."""
        factor = self.recipe.rate_factor(self.minutes)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.rates[name] * factor
        self.network.train()
        if self.minutes >= self.recipe.learn_statistics_minutes:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    @torch.no_grad()
    def update(self) -> None:
        """Step by the gradients at hand, and move the average along."""
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        weight = 1 / min(self.step, self.recipe.average_steps)
        for old, new in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if old.is_floating_point():
                old.lerp_(new, weight)

    def check(self) -> None:
        """TrainingError if training has diverged, before the state or a checkpoint takes that up."""
        if not all(parameter.isfinite().all() for parameter in self.network.parameters()):
            raise TrainingError("Training has diverged: lower the learning rates and resume.")

    def row(self, mse: float) -> dict[str, float | str]:
        """A row of the log."""
        return {"step": self.step, "minutes": f"{self.minutes:.2f}", "train_psnr": f"{-10 * math.log10(mse):.3f}"}

    def save(self, path: Path) -> None:
        """Write the state to `path`, whole or not at all."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        for kind, optimizer in self.optimizers.items():
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"{kind}.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        partial = path.with_suffix(".partial")
        progress = {"progress": json.dumps({"step": self.step, "minutes": self.minutes})}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, progress)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Take up the state in `path`. TrainingError if it is damaged or another network's."""
        try:
            with safe_open(path, "pt") as file:
                progress = json.loads(file.metadata()["progress"])
            tensors = load_file(path)
            self.network.load_state_dict(_below("network.", tensors))
            self.average.load_state_dict(_below("average.", tensors))
        except (SafetensorError, RuntimeError, TypeError, KeyError) as error:
            raise TrainingError(f"{path} is damaged, or is the state of another network.") from error
        self.step, self.minutes = progress["step"], progress["minutes"]
        for kind, optimizer in self.optimizers.items():
            states: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _below(f"{kind}.", tensors).items():
                index, key = name.split(".")
                states.setdefault(int(index), {})[key] = tensor
            optimizer.load_state_dict(optimizer.state_dict() | {"state": states})


def initialise(
    network: ResidualAutoencoder, branch_scale: float = 0.2, output_scale: float = 0.1
) -> ResidualAutoencoder:
    """He initialisation; each residual branch starts small, and so does the output, so that training starts calm."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            if name.endswith("conv2"):
                module.weight.data *= branch_scale
    network.decoder.out.weight.data *= output_scale
    return network


def append(path: Path, row: dict[str, float | str]) -> None:
    """Add a row to a CSV file, and print it."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("step", "minutes", "train_psnr", "validation_psnr"))
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    print(*(f"{name} {value}" for name, value in row.items()), sep="  ", flush=True)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
