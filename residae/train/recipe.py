"""What a training run does: its lengths, sizes and rates."""

from dataclasses import dataclass, field
from typing import Any

from residae.errors import TrainingError


def _option(default: float, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class Recipe:
    """What a training run does. Times are minutes of wall clock, summed over resumed runs."""

    minutes: float = _option(60.0, "length of the run")
    warmup_minutes: float = _option(1.0, "learning rate rises from 0")
    decay_minutes: float = _option(12.0, "learning rate falls to 0 at the end")
    learn_statistics_minutes: float = _option(12.0, "BatchNorm learns its statistics, then keeps them")
    crop: int = _option(256, "side of a crop, pixels")
    batch: int = _option(4, "crops per step and process")
    kernel_lr: float = _option(0.02, "learning rate of Muon, for convolution kernels")
    other_lr: float = _option(0.003, "learning rate of AdamW, for the rest")
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

    @property
    def stable_until(self) -> float:
        """Minute at which the decay begins."""
        return self.minutes - self.decay_minutes

    def rate_factor(self, minute: float) -> float:
        """Learning rate at `minute`, as a share of the full one: up to 1, flat, then linearly down to 0."""
        up = (minute + 0.01) / max(self.warmup_minutes, 0.01)
        down = (self.minutes - minute) / max(self.decay_minutes, 1e-9)
        return max(0.0, min(1.0, up, down))
