"""Muon for the convolution kernels, AdamW for everything else."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from residae.engine import preferred_float
from residae.train.recipe import Recipe

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the iterated polynomial
MOMENTS = {  # of each optimizer: names in a training state, and in its own state
    "muon": {"momentum": "momentum"},
    "adamw": {"mean": "exp_avg", "square": "exp_avg_sq", "step": "step"},
}


class KernelMuon(torch.optim.Optimizer):
    """Muon over convolution kernels, each seen as the matrix (out, in * k * k).

    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) steps by the momentum, orthogonalized by
    Newton-Schulz iterations. `torch.optim.Muon` computes the same, but takes matrices only, and always iterates in
    bfloat16, which is 20 times as slow as float32 on a CPU that has to emulate it.

    Args:
        kernels: Of shape (out, in, k, k).
        lr: Learning rate; times sqrt(max(1, out / (in * k * k))) it is about the spectral norm of a step.
        momentum: Share of the moving average that is kept at each step, 0 to 1.
    """

    def __init__(self, kernels: list[nn.Parameter], lr: float, momentum: float = 0.9) -> None:
        super().__init__(kernels, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Step by the kernels' gradients; a kernel without one stays as it is.

        Args:
            closure: Not used: gradients are computed before.
        """
        for group in self.param_groups:
            momentum = group["momentum"]
            for kernel in group["params"]:
                if kernel.grad is None:
                    continue
                state = self.state[kernel]
                if not state:
                    state["momentum"] = torch.zeros_like(kernel)
                average = state["momentum"].lerp_(kernel.grad, 1 - momentum)
                update = kernel.grad.lerp(average, momentum).flatten(1)  # Nesterov's
                orthogonal = orthogonalize(update, preferred_float(kernel.device))
                scale = math.sqrt(max(1, update.shape[0] / update.shape[1]))
                kernel.add_(orthogonal.view(kernel.shape), alpha=-scale * group["lr"])


def orthogonalize(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The matrix with all singular values near 1, by five Newton-Schulz iterations.

    Args:
        matrix: (m, n), not 0.
        dtype: Precision of the iterations.

    Returns:
        (m, n) of the type of `matrix`; singular values are between 0.5 and 1.5, which is near enough for Muon.
    """
    x = matrix.to(dtype)
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x
    x = x / x.norm().clamp(min=1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if is_tall else x).to(matrix.dtype)


def build_optimizers(module: nn.Module, recipe: Recipe) -> dict[str, torch.optim.Optimizer]:
    """The optimizers of a recipe, by name.

    Muon takes the kernels between feature maps. AdamW takes the kernels that touch pixels, whose one channel makes a
    matrix step meaningless, BatchNorm, biases and the rate model; or everything if the recipe says so.

    Args:
        module: Its parameters, each of which gets one optimizer.
        recipe: Gives the kind of optimizer for kernels, and the learning rates.

    Returns:
        `muon`, unless the recipe says otherwise, and `adamw`.
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
        Tensors in the shape of their parameter, by `PARAMETER.MOMENT`, as `residae.train.state` describes them.
    """
    return {
        f"{names[parameter]}.{moment}": optimizer.state[parameter][key]
        for parameter in _parameters(optimizer)
        for moment, key in _moments(optimizer).items()
        if key in optimizer.state.get(parameter, {})
    }


def load_moments(
    optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str], moments: Mapping[str, Tensor]
) -> None:
    """Give an optimizer what `read_moments` gave, in the memory format of each parameter.

    Args:
        optimizer: One of `build_optimizers`; what it remembered is lost.
        names: Of the module's parameters.
        moments: From `read_moments` of the same optimizer.

    Raises:
        ValueError: A tensor belongs to a parameter that the optimizer does not have, or is of another shape.
    """
    rest = dict(moments)
    optimizer.state.clear()
    for parameter in _parameters(optimizer):
        for moment, key in _moments(optimizer).items():
            value = rest.pop(f"{names[parameter]}.{moment}", None)
            if value is None:
                continue
            if value.ndim:  # a count of steps has no dimension, and stays on the CPU
                if value.shape != parameter.shape:
                    raise ValueError(f"{names[parameter]} has a {moment} of another shape")
                value = torch.empty_like(parameter.detach()).copy_(value)
            optimizer.state[parameter][key] = value
    if rest:
        raise ValueError(f"there is no parameter for {', '.join(rest)}")


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, str]:
    return MOMENTS["muon" if isinstance(optimizer, KernelMuon) else "adamw"]


def _is_inner_kernel(parameter: Tensor) -> bool:
    return parameter.ndim == 4 and parameter.shape[0] > 1 and parameter.shape[1] > 1
