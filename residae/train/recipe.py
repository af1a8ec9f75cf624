"""The recipe of a training run: its lengths, batch sizes and learning rates."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

from residae.errors import TrainingError
from residae.geometry import STRIDE

OPTIMIZERS = ("muon", "adamw")
SCALED_SHARE = 0.25  # of the pictures to which tables are fitted: enlarged before they are encoded, as the codec does
LARGEST_SCALE = 2.5  # by which they are enlarged at most


def _option(default: float | str, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class Recipe:
    """What a training run does.

    A run warms up, is stable at full learning rates, and then decays. Times are minutes of wall clock, summed over
    resumed runs; the metadata of each field says what it means.

    Raises:
        TrainingError: An option is out of range, or options contradict one another.
    """

    minutes: float = _option(60.0, "length of the run, after which the checkpoint is written and tables are fitted")
    warmup_minutes: float = _option(1.0, "how long learning rates rise from 0, and later the weight of the rate term")
    decay_minutes: float = _option(20.0, "how long learning rates fall to 0 at the end")
    learn_statistics_minutes: float = _option(
        6.0, "how long BatchNorm updates its running statistics before it is frozen"
    )
    rate_minutes: float = _option(20.0, "when the rate term joins the squared error")
    exact_share: float = _option(
        0.25, "share of crops that are decoded from the unquantized latent, without a rate term"
    )
    crop: int = _option(256, "side of a crop, pixels")
    batch: int = _option(8, "crops per batch and process")
    accumulate: int = _option(1, "batches whose gradients are averaged for one step")
    decay_accumulate: int = _option(0, "the same during the decay; 0: as before")
    final_crop: int = _option(0, "side of a crop at the end of the decay, in batches of as many pixels; 0: as before")
    final_minutes: float = _option(0.0, "how long the end of the decay is that takes crops of that side")
    scaled_share: float = _option(0.0, "share of crops that are enlarged, as the codec does at high rates")
    max_scale: float = _option(LARGEST_SCALE, "factor by which they are enlarged at most")
    chroma_share: float = _option(0.15, "share of crops from chroma planes")
    optimizer: str = _option("muon", f"for the kernels between feature maps: {' or '.join(OPTIMIZERS)}")
    kernel_lr: float = _option(0.02, "learning rate of Muon")
    other_lr: float = _option(0.003, "learning rate of AdamW, for all other parameters")
    branch_scale: float = _option(0.2, "scale of the last convolution of each residual branch at random initialization")
    average_steps: int = _option(100, "steps that the moving average of the weights spans")
    decay_average: float = _option(0.0, "share of the decay that the average spans from its start on; 0: average_steps")
    save_minutes: float = _option(5.0, "time between saves of the training state")
    validate_minutes: float = _option(30.0, "time between validations")
    export_minutes: float = _option(2.0, "time between exports of the averaged weights")
    compiled: int = _option(0, "1: the network's passes are compiled, which takes a minute at the first step")
    seed: int = _option(0, "of the initial weights and the crops")

    def __post_init__(self) -> None:
        numbers = [getattr(self, option.name) for option in fields(self) if isinstance(option.default, float)]
        if not all(0 <= number < math.inf for number in numbers) or not self.minutes:
            raise TrainingError("Every number must be finite and not negative, and a run must take some time.")
        if not -(2**63) <= self.seed < 2**63:
            raise TrainingError("The seed must be a whole number of at most 64 bits.")
        if self.crop % STRIDE or self.final_crop % STRIDE or min(self.crop, self.batch, self.average_steps) < 1:
            raise TrainingError("Crops must be positive multiples of 16, batch and average steps at least 1.")
        if self.accumulate < 1 or self.decay_accumulate < 0 or self.final_crop < 0:
            raise TrainingError("At least one batch makes a step, and no option of the decay may be negative.")
        if self.warmup_minutes + self.decay_minutes > self.minutes or self.final_minutes > self.decay_minutes:
            raise TrainingError("Warm-up and decay must fit into the run, and the final minutes into the decay.")
        shares = (self.exact_share, self.scaled_share, self.chroma_share, self.decay_average)
        if not all(0 <= share <= 1 for share in shares) or self.max_scale < 1:
            raise TrainingError("Shares must be between 0 and 1, and the largest scale at least 1.")
        if self.optimizer not in OPTIMIZERS:
            raise TrainingError(f"The optimizer must be {' or '.join(OPTIMIZERS)}, not {self.optimizer}.")

    @property
    def stable_until(self) -> float:
        """Minute at which the decay begins."""
        return self.minutes - self.decay_minutes

    def lr_factor(self, minute: float) -> float:
        """Learning rate at `minute` as a share of the full one: it rises to 1, stays, and falls linearly to 0.

        Args:
            minute: Of training, from 0.

        Returns:
            0 to 1.
        """
        down = (self.minutes - minute) / max(self.decay_minutes, 1e-9)
        return max(0.0, min(self._rise(minute), down))

    def rate_factor(self, minute: float) -> float:
        """Weight of the rate term at `minute`: 0 until `rate_minutes`, then rising to 1 as learning rates do.

        Args:
            minute: Of training, from 0.

        Returns:
            0 to 1.
        """
        return self._rise(minute - self.rate_minutes) if minute >= self.rate_minutes else 0.0

    def batches_per_step(self, minute: float) -> int:
        """How many batches are averaged for a step at `minute`.

        Args:
            minute: Of training, from 0.
        """
        return self.decay_accumulate or self.accumulate if minute >= self.stable_until else self.accumulate

    def crops_per_batch(self, minute: float) -> tuple[int, int]:
        """How many crops a batch has at `minute`, and their side in pixels.

        Args:
            minute: Of training, from 0.

        Returns:
            The number of crops, at least 1, and their side.
        """
        if not self.final_crop or minute < self.minutes - self.final_minutes:
            return self.batch, self.crop
        return max(1, self.batch * self.crop**2 // self.final_crop**2), self.final_crop

    def _rise(self, minute: float) -> float:
        return min(1.0, (minute + 0.01) / max(self.warmup_minutes, 0.01))


PRESETS = {
    # Trained weights improved in ten minutes of one GPU of 80 GB, of which reading the pictures, compiling, fitting
    # tables and measuring take a part. residae-16b is a run of it, 13 steps a second on an H100, and residae-16c as
    # well, both with half of the crops enlarged.
    "gpu-10-minutes": Recipe(
        minutes=5.2,
        warmup_minutes=0.52,
        decay_minutes=3.64,
        learn_statistics_minutes=0.0,
        rate_minutes=0.0,
        batch=32,
        max_scale=3.0,
        chroma_share=0.1,
        kernel_lr=0.015,
        other_lr=0.002,
        decay_average=0.1,
        save_minutes=2.0,
        validate_minutes=2.2,
        compiled=1,
    )
}
