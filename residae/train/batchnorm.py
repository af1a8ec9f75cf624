"""BatchNorm's running statistics: counted once per batch, and re-estimated after training."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of every BatchNorm in `module` as they are, in train mode as well.

    Recomputing a block for its gradients sees the same batch a second time, which must not count twice. The layers
    otherwise compute, and save for the backward pass, exactly what they do without this.

    Args:
        module: In any mode; its layers get back their own settings when the block ends.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches


@torch.no_grad()
def recalibrate_batchnorm(network: nn.Module, crops: Iterable[Tensor]) -> None:
    """Re-estimate BatchNorm running statistics without changing the function that the network computes.

    Each BatchNorm gets the mean and variance of its input over `crops`, and a weight and bias with which its output in
    eval mode stays what it was. Statistics that are frozen while weights are trained no longer describe the
    activations; the int8 engine chooses its ranges by them, and training that updates them again would start with a
    jump.

    Args:
        network: Set to eval mode, and changed in place.
        crops: Each (B, 1, H, W) in [0, 1] on the network's device.
    """
    moments: dict[nn.BatchNorm2d, list[Tensor]] = defaultdict(list)

    def record(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].float()
        moments[norm].append(torch.stack((x.mean((0, 2, 3)), x.square().mean((0, 2, 3)))).double())

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(record) for norm in norms]
    network.eval()
    for crop in crops:
        network(crop)
    for hook in hooks:
        hook.remove()
    for norm, recorded in moments.items():
        mean, square = torch.stack(recorded).mean(0)
        variance = (square - mean**2).clamp(min=0)
        old_mean, old_variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        slope = norm.weight / (old_variance.double() + norm.eps).sqrt()
        norm.bias.add_(slope * (mean - old_mean))
        norm.weight.copy_(slope * (variance + norm.eps).sqrt())
        old_mean.copy_(mean)
        old_variance.copy_(variance)
