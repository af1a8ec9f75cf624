"""BatchNorm's statistics as what they stand for, without another function."""

from collections import defaultdict
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn


@torch.no_grad()
def renew(network: nn.Module, crops: Iterable[Tensor]) -> None:
    """Give each BatchNorm the mean and variance of what it gets from `crops`, each (B, 1, H, W) in [0, 1] on the
    network's device, and change its weight and bias so that the network computes what it did, in eval mode.

    Statistics that are frozen while weights are trained no longer tell what passes there. The engine takes from them
    how large activations become, and training that learns them again would start with a jump.
    """
    moments: dict[nn.BatchNorm2d, list[Tensor]] = defaultdict(list)

    def look(norm: nn.BatchNorm2d, given: tuple[Tensor, ...]) -> None:
        x = given[0].float()
        moments[norm].append(torch.stack((x.mean((0, 2, 3)), x.square().mean((0, 2, 3)))).double())

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    network.eval()
    for crop in crops:
        network(crop)
    for hook in hooks:
        hook.remove()
    for norm, seen in moments.items():
        mean, square = torch.stack(seen).mean(0)
        variance = (square - mean**2).clamp(min=0)
        old_mean, old_variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        slope = norm.weight / (old_variance.double() + norm.eps).sqrt()
        norm.bias.add_(slope * (mean - old_mean))
        norm.weight.copy_(slope * (variance + norm.eps).sqrt())
        old_mean.copy_(mean)
        old_variance.copy_(variance)
