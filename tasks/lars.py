"""LARS: SGD with momentum whose rate is scaled, tensor by tensor, by the norms of weights and gradient.

You, Gitman and Ginsburg 2017, arXiv:1708.03888, in the form of MLPerf's ResNet reference: the rate is inside of the
momentum, and what is left out of the scaling (normalisation and biases) is left out of the weight decay too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class LARS(torch.optim.Optimizer):
    """For each weight w with gradient g, where both norms are above 0:

    trust = eta |w| / (|g| + weight_decay |w| + epsilon);  v = momentum v + lr trust (g + weight_decay w);  w = w - v
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        eta: float,
        epsilon: float,
    ) -> None:
        """
        Args:
            groups: of parameters; one with `scaled` False has plain momentum without decay.
        """
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eta": eta, "epsilon": epsilon}
        super().__init__(groups, defaults | {"scaled": True})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; no closure is called."""
        assert closure is None
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:  # torch's operations on lists take no empty ones
                continue
            gradients = [p.grad for p in weights]
            momenta = [self._momentum(p) for p in weights]
            if group["scaled"]:
                trusts = self._trusts(group, weights, gradients)
                updates = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
                torch._foreach_mul_(updates, [group["lr"] * trust for trust in trusts])
            else:
                updates = torch._foreach_mul(gradients, group["lr"])
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_add_(momenta, updates)
            torch._foreach_sub_(weights, momenta)

    def _trusts(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """One factor a tensor, as scalars on its device."""
        w, g = (torch.stack(torch._foreach_norm(tensors)) for tensors in (weights, gradients))
        trust = group["eta"] * w / (g + group["weight_decay"] * w + group["epsilon"])
        return list(torch.where((w > 0) & (g > 0), trust, torch.ones_like(trust)).unbind())

    def _momentum(self, p: Tensor) -> Tensor:
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
        found: Tensor = state["momentum"]
        return found


def scaled_and_plain(model: nn.Module) -> list[dict[str, Any]]:
    """The parameters as two groups: weights of convolutions and linear layers, and all vectors, which are not scaled
    and do not decay."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "scaled": True},
        {"params": [p for p in parameters if p.ndim <= 1], "scaled": False, "weight_decay": 0.0},
    ]
