"""What a training run does: its lengths, sizes and rates."""

from dataclasses import dataclass, field
from typing import Any

from residae.errors import TrainingError

OPTIMIZERS = ("muon", "adamw")


def _option(default: float | str, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class Recipe:
    """What a training run does. Times are minutes of wall clock, summed over resumed runs."""

    minutes: float = _option(60.0, "length of the run, after which statistics and tables are made")
    warmup_minutes: float = _option(1.0, "learning rate rises from 0 at the start, and the rate term where it begins")
    decay_minutes: float = _option(20.0, "learning rate falls to 0 at the end")
    learn_statistics_minutes: float = _option(6.0, "BatchNorm learns its statistics, then keeps them")
    rate_minutes: float = _option(20.0, "squared error alone counts, then bits do too")
    exact_share: float = _option(0.25, "share of crops whose latent is not rounded, and costs nothing")
    crop: int = _option(256, "side of a crop, pixels")
    batch: int = _option(8, "crops per step and process")
    optimizer: str = _option("muon", f"for the kernels between feature maps: {' or '.join(OPTIMIZERS)}")
    kernel_lr: float = _option(0.02, "learning rate of Muon")
    other_lr: float = _option(0.003, "learning rate of AdamW, for the rest")
    branch_scale: float = _option(0.2, "size of the last convolution of each residual branch, of random weights")
    chroma_share: float = _option(0.15, "share of crops from chroma planes")
    average_steps: int = _option(100, "memory of the moving average of weights, steps")
    save_minutes: float = _option(5.0, "time between saves of the state")
    validate_minutes: float = _option(30.0, "time between validations")
    seed: int = _option(0, "of first weights and crops")

    def __post_init__(self) -> None:
        if self.crop % 16 or min(self.crop, self.batch, self.average_steps) < 1:
            raise TrainingError("The crop must be a positive multiple of 16, batch and average steps at least 1.")
        if self.warmup_minutes + self.decay_minutes > self.minutes:
            raise TrainingError("Warm-up and decay must fit into the minutes of the run.")
        if self.optimizer not in OPTIMIZERS:
            raise TrainingError(f"The optimizer must be {' or '.join(OPTIMIZERS)}, not {self.optimizer}.")

    @property
    def stable_until(self) -> float:
        """Minute at which the decay begins."""
        return self.minutes - self.decay_minutes

    def lr_factor(self, minute: float) -> float:
        """Learning rate at `minute`, as a share of the full one: up to 1, flat, then linearly down to 0."""
        down = (self.minutes - minute) / max(self.decay_minutes, 1e-9)
        return max(0.0, min(self._rise(minute), down))

    def rate_factor(self, minute: float) -> float:
        """How much bits count at `minute`: nothing at first, and fully a warm-up after `rate_minutes`."""
        return self._rise(minute - self.rate_minutes) if minute >= self.rate_minutes else 0.0

    def _rise(self, minute: float) -> float:
        return min(1.0, (minute + 0.01) / max(self.warmup_minutes, 0.01))
