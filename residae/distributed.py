"""Share work between the processes of `accelerate launch`, each with a GPU of its own where there are GPUs."""

import atexit
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from accelerate import PartialState

T = TypeVar("T")

# Longer than any work of one process while the others wait for it in a collective, which ends the run when it takes
# longer. A process that dies is noticed by the launcher, not by this.
TIMEOUT = timedelta(days=7)
SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")  # variables of the launchers


def join_processes(cpu: bool = False) -> "PartialState":
    """Join the processes that were launched with this one, if there are any, and choose its device.

    Args:
        cpu: True to stay on the CPU where there is a GPU as well.

    Returns:
        Accelerate's state, which knows the index of this process, their number, and the device.
    """
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    # PartialState has to be told that there is no GPU, or each process would take itself to be alone. The engine knows
    # no GPU but those with CUDA.
    on_cpu = cpu or parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    state = PartialState(cpu=on_cpu, timeout=TIMEOUT)
    if on_cpu:  # a thread of Gloo that frees a tensor while Python ends would abort the process
        atexit.register(state.destroy_process_group)
    return state


@dataclass(frozen=True)
class Processes:
    """This process and those that were launched with it. All must call the methods in the same order.

    Attributes:
        index: Of this process, from 0.
        count: Of all processes.
        device: Of this process, such as `cuda:1`; None to leave the choice to the engine.
    """

    index: int = 0
    count: int = 1
    device: str | None = None

    @classmethod
    def join(cls, device: str | None = None) -> Self:
        """Join the other processes, if there are any. A process that is alone needs no Accelerate.

        Args:
            device: The device that was asked for, such as `cpu` or `cuda`; None for the default.

        Returns:
            This process among the others, on a GPU of its own unless `device` is `cpu` or there is none. Where `device`
            is `cuda` and there is none, it stays `cuda`, which an engine refuses.
        """
        if max(int(os.environ.get(name) or 1) for name in SIZES) == 1:
            return cls(device=device)
        state = join_processes(cpu=device == "cpu")
        chosen = str(state.device) if device in (None, state.device.type) else device
        return cls(state.process_index, state.num_processes, chosen)

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes what concerns all."""
        return self.index == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """The items of this process. They alternate, because neighbors often take equally long.

        Args:
            items: The same in every process, in the same order.

        Returns:
            Every `count`-th of them, from the one at `index` on.
        """
        return items[self.index :: self.count]

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, in every process. Where it raises an exception, the other processes exit.

        Args:
            make: Is called in the first process only; what it returns must be picklable.

        Returns:
            What `make` returned there.
        """
        if self.count == 1:
            return make()
        from accelerate.utils import broadcast_object_list

        made: list[tuple[T] | None] = [None]
        try:
            if self.is_first:
                made = [(make(),)]
        finally:
            broadcast_object_list(made)
        if made[0] is None:
            sys.exit(0)  # the first process says why, with the exit code
        return made[0][0]

    def first_alone(self, make: Callable[[], T]) -> T:
        """Call a function in each process, but in the first before the others: it may download, or fail for all.

        Args:
            make: Is called once in each process. An exception of the first call ends the other processes.

        Returns:
            What `make` returned in this process.
        """
        made: list[T] = []

        def make_first() -> bool:
            made.append(make())
            return True

        self.from_first(make_first)
        return made[0] if made else make()

    def gather(self, value: T) -> list[T]:
        """The value of each process, by index, in every process.

        Args:
            value: Of this process; it must be picklable.
        """
        if self.count == 1:
            return [value]
        from accelerate.utils import gather_object

        gathered: list[T] = gather_object([value])
        return gathered
