"""ZeRO-1: each rank steps on a share of the parameters, keeps the optimiser's state of it, and sends the new values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .base import NO_AVERAGES, Averages, trained
from .exchange import Exchange
from .flat import FlatGradients
from .optimiser import AroundSteps
from .weights import flat, put


class ShardedOptimiser(FlatGradients):
    """Gradients reduce-scattered to the owners of their parameters, a sharded optimiser step, new weights all-gathered
    (Rajbhandari et al. 2020, "ZeRO", stage 1). Whole parameters are shared out by size, as in torch's
    ZeroRedundancyOptimizer: some optimisers need them whole.

    Gradients of other ranks' parameters are never averaged here. They are set aside during an optimiser's step, which
    every optimiser of torch takes as "leave it, and keep no state". torch's class would have to be the task's
    optimiser (docs/decisions/0016). Averaged weights are the owners' too, and sent for an evaluation.
    """

    acts_after_step = True

    def __init__(self, model: nn.Module, exchange: Exchange) -> None:
        owned_by = shares(trained(model), exchange.ranks)
        self._ordered = [p for owned in owned_by for p in owned]
        super().__init__(model, exchange, order=self._ordered)
        rank, self._sizes = exchange.rank, [sum(p.numel() for p in owned) for owned in owned_by]
        self._shares = torch.split(self.buffer, self._sizes)
        self._own = owned_by[rank]
        self._others = [p for owner, owned in enumerate(owned_by) if owner != rank for p in owned]
        self._norm = torch.zeros((), dtype=torch.float64, device=self.buffer.device)
        self._set_aside: list[tuple[nn.Parameter, Tensor | None]] = []
        self._hooks = AroundSteps(self._hide, self._show)

    def _average(self) -> None:
        own = self._shares[self.exchange.rank]
        self.exchange.reduce_scatter_shares(self._shares)
        own.div_(self.world_size)
        if self.clip_norm is not None:
            self._norm = torch.linalg.vector_norm(own).double().square()
            self.exchange.all_reduce(self._norm)
            self._norm.sqrt_()

    def clip(self) -> None:
        """As torch's `clip_grad_norm_`, with the norm of all ranks' shares."""
        if self.world_size == 1:
            super().clip()
        elif self.clip_norm is not None:
            factor = (self.clip_norm / (self._norm + 1e-6)).clamp(max=1.0)
            self._shares[self.exchange.rank].mul_(factor.to(self.buffer.dtype))

    def _hide(self, _optimiser: Optimizer) -> None:
        self._set_aside = [(p, p.grad) for p in self._others]
        for p in self._others:
            p.grad = None

    def _show(self, _optimiser: Optimizer) -> None:
        for p, gradient in self._set_aside:
            p.grad = gradient
        self._set_aside = []

    def after_step(self) -> int:
        self._gather()
        return self.exchange.take()

    @contextmanager
    def evaluating(self, averages: Averages = NO_AVERAGES) -> Iterator[None]:
        with averages as kept:
            if kept:
                with self.exchange.outside_steps():
                    self._gather()
            yield

    @torch.no_grad()
    def _gather(self) -> None:
        """Replace each parameter by its owner's."""
        if self.world_size == 1:
            return
        weights = torch.empty_like(self.buffer)
        parts = torch.split(weights, self._sizes)
        if self._own:
            parts[self.exchange.rank].copy_(flat([p.data for p in self._own]))
        self.exchange.all_gather_shares(parts)
        put(weights, [p.data for p in self._ordered])

    def close(self) -> None:
        self._hooks.close()


def shares(parameters: list[nn.Parameter], ranks: int) -> list[list[nn.Parameter]]:
    """The parameters shared out: the largest first, each to the rank that has least."""
    owned: list[list[nn.Parameter]] = [[] for _ in range(ranks)]
    sizes = [0] * ranks
    for p in sorted(parameters, key=lambda p: -p.numel()):
        least = sizes.index(min(sizes))
        owned[least].append(p)
        sizes[least] += p.numel()
    return owned
