"""The training loop: warm-up, stable phase and decay, resumable at any moment."""

import math
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from residae.checkpoint import Checkpoint
from residae.distributed import join_processes
from residae.engine import preferred_float
from residae.model import ResidualAutoencoder
from residae.train.data import Crops, choose_pictures
from residae.train.rate import RateDistortion, normalized_loss
from residae.train.recipe import SCALED_SHARE, Recipe
from residae.train.records import Log, check_output, claim, sign_output
from residae.train.tables import fit_tables
from residae.train.training import Training, initialize
from residae.train.validation import validate_checkpoint
from residae.weights import write_tables

LOG = "log.csv"
LOG_STEPS = 20  # steps per row of the log
TABLE_PICTURES = 96  # to which the final tables are fitted
SHARD_SIZE = "16MB"  # of an export, which may have to pass through a channel for small files: below 16 MiB


def train(
    folder: str | Path,
    run: str | Path,
    output: str | Path,
    recipe: Recipe,
    start: str | Path | None = None,
    validate: str | Path | None = None,
    export: str | Path | None = None,
) -> None:
    """Train on the pictures in a folder, and write a checkpoint with codec tables fitted to it.

    A run that finds its own state in `run` continues from there: stopped at any moment, it repeats the steps since the
    last save and ends as if nothing had happened. The state at the end of the stable phase is kept beside that of the
    decay, so that a finished run can be prolonged by giving it more minutes. Under `accelerate launch` each process
    draws its own crops, and gradients are averaged over processes.

    Args:
        folder: Pictures to train on, searched through all its folders.
        run: Folder of the run's state and log.
        output: Folder of the checkpoint. It is written when training ends, and its tables once more after they are
            fitted.
        recipe: What the run does.
        start: Checkpoint (folder or Hub id) whose weights and gains training starts from; None for random weights.
        validate: Folder of held-out pictures on which the averaged weights are measured now and then, and at the end.
        export: Folder to which the averaged weights are written every `recipe.export_minutes`, in shards below 16 MiB.

    Raises:
        ImageError: A folder holds no picture.
        CheckpointError: `start` is not a checkpoint.
        TrainingError: The state does not fit, a folder holds a checkpoint of another run, or training diverges.
    """
    folder, run, output = Path(folder), Path(run), Path(output)
    exports = Path(export) if export else None
    held_out = Path(validate) if validate else None
    for written in (output, exports):
        if written:
            check_output(written, run)
    if held_out:
        choose_pictures(held_out)  # a wrong folder should fail now, not after half an hour
    device = join_processes().device  # first, because Accelerator continues with it and would choose the device itself
    mixed = preferred_float(device) == torch.bfloat16
    accelerator = Accelerator(mixed_precision="bf16" if mixed else "no")
    torch.manual_seed(recipe.seed)
    if start:
        checkpoint = Checkpoint.open(start)
        network, tables = checkpoint.network, checkpoint.tables
    else:
        network, tables = initialize(ResidualAutoencoder(), recipe.branch_scale), None
    # The memory format of kernels matters as well: otherwise every bfloat16 convolution on a CPU reorders its input, at
    # twice the time. In float32 nothing is gained, and oneDNN's gradients of narrow layers crash.
    layout = torch.channels_last if mixed else torch.contiguous_format
    network.to(memory_format=layout)  # type: ignore[call-overload]
    training = Training(RateDistortion(network, bool(recipe.compiled)).to(device), recipe, tables)
    training.resume(run)
    log = Log(run / LOG)
    if accelerator.is_main_process:
        claim(run)
        log.cut(training.step)
    crops = Crops.from_folder(folder, device)
    wrapped = accelerator.prepare(training.model)
    generator = torch.Generator()
    terms: list[Tensor] = []
    if recipe.compiled:
        training.compile(wrapped, accelerator.backward, layout)
    saved = exported = training.minutes
    started = time.monotonic() - 60 * training.minutes
    precision = "bfloat16" if mixed else "float32"
    megapixels = crops.pixels.numel() / 1e6
    accelerator.print(f"{megapixels:.0f} megapixels on {device}, {precision}, from step {training.step}")

    def measure(checkpoint: Checkpoint) -> dict[str, str]:
        assert held_out
        return validate_checkpoint(checkpoint, device, held_out, run / f"step-{training.step}.png")

    while True:
        training.minutes = (time.monotonic() - started) / 60
        if accelerator.num_processes > 1:  # that of the first, so that all end at the same step
            clock = torch.tensor(training.minutes, dtype=torch.float64, device=device)
            training.minutes = broadcast(clock).item()
        decays = training.minutes >= recipe.stable_until and training.decay_step is None
        ends = training.minutes >= recipe.minutes
        if decays or ends or training.minutes >= saved + recipe.save_minutes:
            saved = training.minutes
            training.check_finite()
            if accelerator.is_main_process:
                training.save(run)
        if decays:
            training.decay_step = training.step
        if ends:
            break
        if recipe.rate_factor(training.minutes) and not training.has_rate:
            training.initialize_rate(crops)
            broadcast([parameter.detach() for parameter in training.model.rate.parameters()])

        torch.backends.cudnn.benchmark = True  # crops have one size, for which it finds the fastest convolutions
        training.prepare_step()
        batches = recipe.batches_per_step(training.minutes)
        count, side = recipe.crops_per_batch(training.minutes)
        for batch in range(batches):
            seed = hash((recipe.seed, training.step, batch, accelerator.process_index)) % 2**63
            generator.manual_seed(seed)
            torch.manual_seed(seed)  # of the noise that stands for rounding
            planes = crops.draw_planes(count, recipe.chroma_share, generator)
            x = training.draw(crops, planes, side, generator).contiguous(memory_format=layout)
            with accelerator.no_sync(wrapped) if batch < batches - 1 else nullcontext():
                error, bits, cost = wrapped(x, *training.draw_qualities(planes, generator))
                loss = normalized_loss(error, cost * recipe.rate_factor(training.minutes))
                accelerator.backward(loss / batches)
            terms.append(torch.stack((error.detach().mean(), bits.detach().mean())))
        training.update()
        torch.backends.cudnn.benchmark = False  # whole pictures have many

        if exports and training.minutes >= exported + recipe.export_minutes:
            exported = training.minutes
            training.check_finite()
            if accelerator.is_main_process:
                sign_output(exports, run, recipe, training.step, training.minutes)
                training.checkpoint(output.name, crops).save(exports, SHARD_SIZE)
        if training.step % LOG_STEPS:
            continue
        row = _row(training, *torch.stack(terms).mean(0).tolist())
        terms.clear()
        training.check_finite()
        if held_out and training.minutes - training.validated >= recipe.validate_minutes:
            training.validated = training.minutes
            if accelerator.is_main_process:
                row |= measure(training.checkpoint(output.name))
        if accelerator.is_main_process:
            log.append(row)

    if accelerator.is_main_process:
        check_output(output, run)  # others may have written there meanwhile
        accelerator.print("BatchNorm is recalibrated, and the checkpoint written; then codec tables are fitted to it.")
        checkpoint = training.checkpoint(output.name, crops)
        sign_output(output, run, recipe, training.step, training.minutes)
        checkpoint.save(output)
        scaled_share = max(SCALED_SHARE, recipe.scaled_share)  # the codec enlarges pictures, whatever the crops were
        fitted = fit_tables(checkpoint, folder, TABLE_PICTURES, device, scaled_share, recipe.max_scale)
        write_tables(output, fitted.arrays())
        if held_out:
            row = {"step": str(training.step), "minutes": f"{recipe.minutes:.2f}"}
            log.append(row | measure(replace(checkpoint, tables=fitted)))
        accelerator.print(f"{output} is written.")


def _row(training: Training, error: float, bits: float) -> dict[str, str]:
    """A row of the log, from the mean error in gray levels^2 and bits per pixel of the last steps."""
    row = {
        "step": str(training.step),
        "minutes": f"{training.minutes:.2f}",
        "train_psnr": f"{10 * math.log10(255**2 / error):.3f}",
        "memory_gb": f"{_peak_memory(training.model.weights.device) / 1e9:.2f}",
    }
    return row | ({"train_bpp": f"{bits:.4f}"} if training.has_rate else {})


def _peak_memory(device: torch.device) -> int:
    """Peak memory in bytes: of tensors on a GPU, of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource  # does not exist on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
