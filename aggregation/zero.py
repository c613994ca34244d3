"""ZeRO-1: each rank keeps the optimiser's state of a share of the parameters only, and sends their new values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from .base import NO_AVERAGES, Averages, trained
from .exchange import Exchange
from .flat import FlatGradients
from .optimiser import AroundSteps
from .weights import flat, put


class ShardedOptimiser(FlatGradients):
    """All-reduced gradients, a sharded optimiser step, new weights from their owners (Rajbhandari et al. 2020, "ZeRO",
    stage 1). Whole parameters are shared out by size, as in torch's ZeroRedundancyOptimizer.

    During an optimiser's step the parameters of other ranks have no gradient, which every optimiser of torch takes as
    "leave it, and keep no state". Clipping before the step sees all gradients. torch's class would have to be the
    task's optimiser (docs/decisions/0016). Averaged weights are the owners' too, and sent for an evaluation.
    """

    acts_after_step = True

    def __init__(self, model: nn.Module, exchange: Exchange) -> None:
        super().__init__(model, exchange)
        rank = exchange.rank
        self._owned_by = shares(trained(model), exchange.ranks)
        self._others = [p for owner, owned in enumerate(self._owned_by) if owner != rank for p in owned]
        self._set_aside: list[tuple[nn.Parameter, Tensor | None]] = []
        self._hooks = AroundSteps(self._hide, self._show)

    def _average(self) -> None:
        self.exchange.all_reduce(self.buffer)
        self.buffer.div_(self.world_size)

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
        weights = sum(p.nbytes for owned in self._owned_by for p in owned)
        sent = (self.world_size - 1) / self.world_size * weights
        with self.exchange.told("all_gather", weights, sent):
            vectors = [flat([p.data for p in owned]) for owned in self._owned_by if owned]
            owners = [owner for owner, owned in enumerate(self._owned_by) if owned]
            works = [dist.broadcast(v, src=o, async_op=True) for o, v in zip(owners, vectors, strict=True)]
            for work in works:
                work.wait()
        for owner, vector in zip(owners, vectors, strict=True):
            put(vector, [p.data for p in self._owned_by[owner]])

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
