"""Muon for the convolution kernels, AdamW for everything else."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from residae.errors import TrainingError
from residae.train.recipe import Recipe

try:
    from torch.optim import Muon
except ImportError as error:
    raise TrainingError("Training needs PyTorch 2.9 or newer, which brings Muon.") from error

MOMENTS = {  # of each optimizer: names in a training state, and PyTorch's
    "muon": {"momentum": "momentum_buffer"},
    "adamw": {"mean": "exp_avg", "square": "exp_avg_sq", "step": "step"},
}


class KernelMuon(Muon):
    """`torch.optim.Muon` over convolution kernels, each seen as the matrix (out, in * k * k).

    Muon (Jordan et al. 2024) orthogonalizes the momentum of matrices, and PyTorch's takes nothing else. The matrices
    here are views that share the kernels' memory, so a step on the one is a step on the other. The columns of a kernel
    in channels_last come in another order, which does not matter to the step.
    """

    def __init__(self, kernels: list[nn.Parameter], lr: float) -> None:
        self.kernels = kernels
        self.matrices = [_as_matrix(kernel.detach(), kernel) for kernel in kernels]
        super().__init__(self.matrices, lr=lr, momentum=0.9, weight_decay=0.0)

    def step(self, closure: Any = None) -> Any:
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            matrix.grad = None if kernel.grad is None else _as_matrix(kernel.grad, kernel)
        return super().step(closure)  # type: ignore[no-untyped-call]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in (*self.kernels, *self.matrices):
            parameter.grad = None


def build_optimizers(module: nn.Module, recipe: Recipe) -> dict[str, torch.optim.Optimizer]:
    """The optimizers of a recipe, by name.

    Muon takes the kernels between feature maps. AdamW takes the kernels that touch pixels, whose one channel makes a
    matrix step meaningless, BatchNorm, biases and the rate model; or everything if the recipe says so.
    """
    muon = recipe.optimizer == "muon"
    kernels: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in module.parameters():
        (kernels if muon and _is_inner_kernel(parameter) else others).append(parameter)
    adamw = AdamW(others, lr=recipe.other_lr, betas=(0.9, 0.99), weight_decay=0.0)
    return ({"muon": KernelMuon(kernels, lr=recipe.kernel_lr)} if muon else {}) | {"adamw": adamw}


def read_moments(optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str]) -> dict[str, Tensor]:
    """What an optimizer remembers, by parameter and moment.

    Args:
        optimizer: One of `build_optimizers`.
        names: Of the module's parameters.

    Returns:
        Tensors by `PARAMETER.MOMENT`, as `residae.train.state` describes them: in the shape of the parameter, whatever
        memory format that has, so that a run can go on in another.
    """
    found = {}
    for parameter, key in _keys(optimizer):
        for moment, name in _moments(optimizer).items():
            if name in optimizer.state.get(key, {}):
                value = optimizer.state[key][name]
                value = _as_kernel(value, parameter) if key is not parameter else value
                found[f"{names[parameter]}.{moment}"] = value
    return found


def load_moments(
    optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str], moments: Mapping[str, Tensor]
) -> None:
    """Give an optimizer what `read_moments` gave, in the memory format of each parameter.

    Raises:
        ValueError: A tensor belongs to a parameter that the optimizer does not have, or is of another shape.
    """
    rest = dict(moments)
    optimizer.state.clear()
    for parameter, key in _keys(optimizer):
        for moment, name in _moments(optimizer).items():
            value = rest.pop(f"{names[parameter]}.{moment}", None)
            if value is None:
                continue
            if value.ndim:  # a count of steps has no dimension, and stays on the CPU
                if value.shape != parameter.shape:
                    raise ValueError(f"{names[parameter]} has a {moment} of another shape")
                value = torch.empty_like(parameter.detach()).copy_(value)
                value = _as_matrix(value, parameter) if key is not parameter else value
            optimizer.state[key][name] = value
    if rest:
        raise ValueError(f"there is no parameter for {', '.join(rest)}")


def _keys(optimizer: torch.optim.Optimizer) -> list[tuple[nn.Parameter, Tensor]]:
    """Each parameter of the module, and the tensor by which the optimizer keeps its state."""
    if isinstance(optimizer, KernelMuon):
        return list(zip(optimizer.kernels, optimizer.matrices, strict=True))
    return [(parameter, parameter) for group in optimizer.param_groups for parameter in group["params"]]


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, str]:
    return MOMENTS["muon" if isinstance(optimizer, KernelMuon) else "adamw"]


def _as_matrix(tensor: Tensor, kernel: Tensor) -> Tensor:
    """A view of `tensor`, shaped and laid out like `kernel`, with one row for each of its outputs."""
    return (tensor if kernel.is_contiguous() else tensor.permute(0, 2, 3, 1)).view(len(kernel), -1)


def _as_kernel(matrix: Tensor, kernel: Tensor) -> Tensor:
    """A view of a matrix that `_as_matrix` gave, in the shape of `kernel`."""
    if kernel.is_contiguous():
        return matrix.view(kernel.shape)
    outputs, inputs, height, width = kernel.shape
    return matrix.view(outputs, height, width, inputs).permute(0, 3, 1, 2)


def _is_inner_kernel(parameter: Tensor) -> bool:
    return parameter.ndim == 4 and parameter.shape[0] > 1 and parameter.shape[1] > 1
