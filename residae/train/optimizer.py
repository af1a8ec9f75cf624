"""Muon for the convolution kernels, AdamW for everything else."""

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


class KernelMuon(Muon):
    """`torch.optim.Muon` over convolution kernels, each seen as the matrix (out, in * k * k).

    Muon (Jordan et al. 2024) orthogonalizes the momentum of matrices, and PyTorch's takes nothing else. The matrices
    here are views that share the kernels' memory, so a step on the one is a step on the other. Where kernels are in
    channels_last their columns come in another order, which does not matter.
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
    """Muon for kernels between feature maps; AdamW for the kernels that touch pixels (one channel in or out, where a
    matrix step makes no sense), for BatchNorm, biases and the rate model. Or AdamW for all, if the recipe says so."""
    muon = recipe.optimizer == "muon"
    kernels: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in module.parameters():
        (kernels if muon and _is_inner_kernel(parameter) else others).append(parameter)
    adamw = AdamW(others, lr=recipe.other_lr, betas=(0.9, 0.99), weight_decay=0.0)
    return ({"muon": KernelMuon(kernels, lr=recipe.kernel_lr)} if muon else {}) | {"adamw": adamw}


def _as_matrix(tensor: Tensor, kernel: Tensor) -> Tensor:
    """A view of `tensor`, shaped and laid out like `kernel`, one row for each of its outputs."""
    return (tensor if kernel.is_contiguous() else tensor.permute(0, 2, 3, 1)).view(len(kernel), -1)


def _is_inner_kernel(parameter: Tensor) -> bool:
    return parameter.ndim == 4 and parameter.shape[0] > 1 and parameter.shape[1] > 1
