"""What a run changes: weights, their moving average, both optimizers, and how far it has come."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from residae.checkpoint import Checkpoint
from residae.codec import PLANES, Tables
from residae.engine import Engine, preferred_float
from residae.errors import TrainingError
from residae.model import ResidualAutoencoder
from residae.rate_model import KNOTS
from residae.train.batchnorm import recalibrate_batchnorm
from residae.train.data import Crops
from residae.train.optimizer import build_optimizers, load_moments, read_moments
from residae.train.rate import RateDistortion, normalized_loss
from residae.train.recipe import Recipe
from residae.train.state import Progress, read_progress, read_state, unusable, write_state
from residae.train.tables import refit_tables

STABLE = "stable.safetensors"  # the last state of the stable phase
DECAY = "decay.safetensors"  # the last state of the decay that follows
FIT_CROPS, FIT_SIDE = 48, 256  # crops of each plane that initialize the rate model; and that recalibrate BatchNorm


class Training:
    """One network in training.

    Attributes:
        model: The network and its rate model.
        average: Their moving average, in eval mode; what checkpoints are made of.
        step: Steps so far.
        minutes: Minutes of training so far, over all resumed runs.
        validated: The minute of the last validation.
        decay_step: The step at which the decay began; None in the stable phase.
        has_rate: Whether the rate model is initialized. To ask a tensor on a GPU would wait for all its work.
    """

    def __init__(self, model: RateDistortion, recipe: Recipe, start_tables: Tables | None = None) -> None:
        """Begin at step 0.

        Args:
            model: On its device, in its memory format.
            recipe: What the run does.
            start_tables: The codec's tables of the checkpoint to start from, whose gains are kept.
        """
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        self.recipe = recipe
        self.start_tables = start_tables
        self.optimizers = build_optimizers(model, recipe)
        self.lrs = {"muon": recipe.kernel_lr, "adamw": recipe.other_lr}
        self.step = 0
        self.minutes = 0.0
        self.validated = 0.0
        self.decay_step: int | None = None
        self.has_rate = False

    def initialize_rate(self, crops: Crops) -> None:
        """Fit the rate model to latents of the averaged network; training continues from there.

        The tables of the start are taken as they are where its weights are still the same.

        Args:
            crops: Pictures over which it is fitted.
        """
        old = self.start_tables if self.start_tables and len(self.start_tables.gains) >= KNOTS else None
        tables = old if old and self.step == 0 else self._fit_tables(crops, old)
        for model in (self.model, self.average):
            model.rate.load_tables(tables)
        self.has_rate = True

    def _fit_tables(self, crops: Crops, old: Tables | None) -> Tables:
        """Tables fitted to crops of every plane, as `refit_tables`."""
        generator = torch.Generator().manual_seed(self.recipe.seed)
        device = crops.pixels.device
        engine = Engine(self.average.network, device, preferred_float(device))
        latents = [
            [
                engine.encode(crop.numpy())
                for crop in self.draw(crops, torch.full((FIT_CROPS,), plane), FIT_SIDE, generator)[:, 0].cpu()
            ]
            for plane in range(len(PLANES))
        ]
        return refit_tables(engine, latents, old)

    def draw(self, crops: Crops, planes: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """Draw crops, the recipe's share of them enlarged.

        Args:
            crops: The pictures.
            planes: (B,) int64 indices of `residae.codec.PLANES`.
            size: Side of the crops, in pixels.
            generator: On the CPU.

        Returns:
            (B, 1, size, size) float32 in [0, 1].
        """
        return crops.draw(planes, size, generator, self.recipe.scaled_share, self.recipe.max_scale)

    def draw_qualities(self, planes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw the arguments of `RateDistortion` that go with crops.

        Args:
            planes: (B,) int64 indices of `residae.codec.PLANES`.
            generator: On the CPU.

        Returns:
            On the model's device: the planes; positions (B,) between the knots of quality; and bool (B,), whether the
            latent stays unquantized, as all do before the rate model is initialized.
        """
        count, device = len(planes), self.model.weights.device
        position = (KNOTS - 1) * torch.rand(count, generator=generator)
        exact = torch.rand(count, generator=generator) < self.recipe.exact_share
        if not self.has_rate:
            exact[:] = True
        planes, position, exact = (tensor.to(device, non_blocking=True) for tensor in (planes, position, exact))
        return planes, position, exact

    def prepare_step(self) -> None:
        """Set learning rates, and freeze BatchNorm after `learn_statistics_minutes`.

        Frozen statistics are those of inference: the function that is trained is then the one that is used.
        """
        factor = self.recipe.lr_factor(self.minutes)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.lrs[name] * factor
        self.model.train()
        if self.minutes >= self.recipe.learn_statistics_minutes:
            for module in self.model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def compile(
        self,
        model: Callable[..., tuple[Tensor, Tensor, Tensor]],
        backward: Callable[[Tensor], None],
        layout: torch.memory_format,
    ) -> None:
        """Pass a batch of each size through the network before the clock starts: no schedule should wait for kernels.

        Nothing is learned from them.

        Args:
            model: The model as it is called during training.
            backward: Computes gradients of a loss.
            layout: Memory format of crops.
        """
        torch.backends.cudnn.benchmark = True  # as in every step
        self.prepare_step()
        before = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        generator = torch.Generator()
        for count, side in dict.fromkeys(map(self.recipe.crops_per_batch, (self.minutes, self.recipe.minutes))):
            planes = torch.zeros(count, dtype=torch.int64)
            x = torch.rand(count, 1, side, side, generator=generator).to(self.model.weights.device)
            error, _, cost = model(x.contiguous(memory_format=layout), *self.draw_qualities(planes, generator))
            backward(normalized_loss(error, cost))
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        for name, buffer in self.model.named_buffers():
            buffer.copy_(before[name])

    @torch.no_grad()
    def update(self) -> None:
        """Step by the gradients at hand, and update the moving average."""
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        weight = 1 / self._average_span()
        states = zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True)
        old, new = zip(*(pair for pair in states if pair[0].is_floating_point()), strict=True)
        get_ema_multi_avg_fn(1 - weight)(old, new, self.step)  # type: ignore[no-untyped-call]

    def _average_span(self) -> float:
        """Steps that the average spans.

        A fixed share of the decay so far (polynomial-decay averaging, Shamir and Zhang 2013, arXiv:1212.1824) forgets
        the stable phase, and needs not be matched to the number of steps.
        """
        if self.decay_step is not None and self.recipe.decay_average:
            return max(1.0, self.recipe.decay_average * (self.step - self.decay_step))
        return min(self.step, self.recipe.average_steps)

    def check_finite(self) -> None:
        """Stop before a diverged model is saved.

        Raises:
            TrainingError: A parameter is not finite.
        """
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            raise TrainingError("Training has diverged: lower the learning rates and resume.")

    def checkpoint(self, name: str, crops: Crops | None = None) -> Checkpoint:
        """A copy of the averaged weights as a checkpoint, with the tables of the averaged rate model.

        Args:
            name: Of the checkpoint.
            crops: Pictures over which BatchNorm is recalibrated; None leaves it as it is.

        Returns:
            The checkpoint, which later steps do not change; it has the tables of the start until the rate model is
            fitted.
        """
        network = copy.deepcopy(self.average.network)
        if crops:
            recalibrate_batchnorm(network, self._calibration_crops(crops))
        tables = self.average.rate.to_tables() if self.has_rate else self.start_tables
        return Checkpoint(network, tables, name)

    def _calibration_crops(self, crops: Crops) -> Iterator[Tensor]:
        """The same FIT_CROPS crops (1, 1, FIT_SIDE, FIT_SIDE) in every call."""
        generator = torch.Generator().manual_seed(self.recipe.seed)
        for _ in range(FIT_CROPS):
            planes = crops.draw_planes(1, self.recipe.chroma_share, generator)
            yield self.draw(crops, planes, FIT_SIDE, generator)

    def save(self, run: Path) -> None:
        """Write the state into the folder of the run, completely or not at all.

        The state in which the stable phase ended is kept beside that of the decay.

        Args:
            run: Folder of the run, which exists.
        """
        tensors = dict(self.model.state_dict())
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        for kind, optimizer in self.optimizers.items():
            moments = read_moments(optimizer, self._names())
            tensors |= {f"{kind}.{name}": tensor for name, tensor in moments.items()}
        progress = Progress(self.step, self.minutes, self.validated, self.decay_step, *self._decay())
        write_state(run / (STABLE if self.decay_step is None else DECAY), tensors, progress)

    def resume(self, run: Path) -> None:
        """Continue from the last state in the folder of the run, if there is one.

        The state of a decay is used only if that was to begin and end when the recipe says; otherwise the decay is
        repeated from the end of the stable phase.

        Args:
            run: Folder of the run.

        Raises:
            TrainingError: The state is damaged, or of another network or optimizer.
        """
        if (run / DECAY).exists():
            progress = read_progress(run / DECAY)
            if (progress.decay_from, progress.decay_until) == self._decay():
                self.load(run / DECAY)
                return
        if (run / STABLE).exists():
            self.load(run / STABLE)

    def load(self, path: Path) -> None:
        """Continue from the state at `path`.

        Args:
            path: Of a file by `save`.

        Raises:
            TrainingError: It is damaged, or of another network or optimizer.
        """
        tensors, progress = read_state(path)
        parts = {kind: _take(f"{kind}.", tensors) for kind in ("average", "muon", "adamw")}
        try:
            self.model.load_state_dict(tensors)
            self.average.load_state_dict(parts["average"])
            for kind, optimizer in self.optimizers.items():
                load_moments(optimizer, self._names(), parts.pop(kind))
        except (RuntimeError, ValueError) as error:
            raise unusable(path) from error
        if any(parts.pop(kind, None) for kind in ("muon", "adamw")):
            raise unusable(path)
        self.step, self.minutes = progress.step, progress.minutes
        self.validated, self.decay_step = progress.validated, progress.decay_step
        self.has_rate = bool(self.model.rate.initialized)

    def _names(self) -> dict[nn.Parameter, str]:
        return {parameter: name for name, parameter in self.model.named_parameters()}

    def _decay(self) -> tuple[float, float]:
        """Minutes at which the recipe's decay begins and ends."""
        return self.recipe.stable_until, self.recipe.minutes


def initialize(
    network: ResidualAutoencoder, branch_scale: float = 0.2, output_scale: float = 0.1
) -> ResidualAutoencoder:
    """He initialization, with small residual branches and a small output, so that training starts stably.

    Args:
        network: Its convolutions are initialized in place.
        branch_scale: Factor of the last convolution of each residual branch.
        output_scale: Factor of the decoder's output layer.

    Returns:
        `network` itself.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            if name.endswith("conv2"):
                module.weight.data *= branch_scale
    network.decoder.out.weight.data *= output_scale
    return network


def _take(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove the tensors whose names begin with `prefix`, and return them by the rest of their names."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}
