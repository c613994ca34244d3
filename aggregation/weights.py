"""Patterns that exchange weights after the optimiser's step instead of gradients before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .base import NO_AVERAGES, Aggregation, Averages, trained
from .exchange import Exchange


class WeightExchange(Aggregation):
    """Trains each rank on its own gradients; the ranks' weights differ between exchanges.

    An evaluation sees the mean of all ranks' weights and floating-point buffers, and the training goes on from
    each rank's own.
    """

    acts_after_step = True

    def __init__(self, model: nn.Module, exchange: Exchange) -> None:
        super().__init__(model, exchange)
        self._parameters = trained(model)
        self._step = 0

    @torch.no_grad()
    def after_step(self) -> int:
        self._step += 1
        if self.world_size == 1:
            return 0
        self._exchange_weights()
        return self.exchange.take()

    @contextmanager
    def evaluating(self, averages: Averages = NO_AVERAGES) -> Iterator[None]:
        with averages:
            own = [tensor.detach().clone() for tensor in self._state()]
            self._put_mean()
            yield
            with torch.no_grad():
                for tensor, value in zip(self._state(), own, strict=True):
                    tensor.copy_(value)

    def finish(self) -> None:
        self._put_mean()

    @torch.no_grad()
    def _put_mean(self) -> None:
        """Outside of steps: leave the mean over the ranks in the model."""
        if self.world_size == 1:
            return
        mean = flat(self._state())
        with self.exchange.outside_steps():
            self.exchange.all_reduce(mean)
        put(mean.div_(self.world_size), self._state())

    def _exchange_weights(self) -> None:
        """After step number `self._step`, from 1; there are at least two ranks."""
        raise NotImplementedError

    def _average(self, tensors: list[Tensor]) -> None:
        """Replace the tensors by their mean over the ranks."""
        mean = flat(tensors)
        self.exchange.all_reduce(mean)
        put(mean.div_(self.world_size), tensors)

    def _state(self) -> list[Tensor]:
        buffers = [b for b in self.model.buffers() if b.is_floating_point()]
        return [*(p.data for p in self._parameters), *buffers]


class LocalSGD(WeightExchange):
    """Averages the weights after every `period` steps (Stich 2019, "Local SGD converges fast and communicates
    little"); after each of the first `start` steps all the same (post-local SGD, Lin et al. 2020).

    With a period of 1 and an optimiser that is linear in the gradient, averaged weights are the weights that
    averaged gradients would give.
    """

    def __init__(self, model: nn.Module, exchange: Exchange, period: int = 8, start: int = 0) -> None:
        super().__init__(model, exchange)
        self._period = period
        self._start = start

    def _exchange_weights(self) -> None:
        if self._step <= self._start or (self._step - self._start) % self._period == 0:
            self._average([p.data for p in self._parameters])


class DiLoCo(WeightExchange):
    """Local training, then one outer step of Nesterov's SGD on the mean change of the weights
    (Douillard et al. 2023, "DiLoCo: distributed low-communication training of language models").

    Args:
        period: inner steps to an outer one (H).
        outer_lr, outer_momentum: of the outer optimiser; 1 and 0 make it local SGD.
    """

    def __init__(
        self,
        model: nn.Module,
        exchange: Exchange,
        period: int = 20,
        outer_lr: float = 0.7,
        outer_momentum: float = 0.9,
    ) -> None:
        super().__init__(model, exchange)
        self._period = period
        self._shared = flat([p.data for p in self._parameters]).requires_grad_()
        self._outer = torch.optim.SGD([self._shared], lr=outer_lr, momentum=outer_momentum, nesterov=outer_momentum > 0)

    def _exchange_weights(self) -> None:
        if self._step % self._period:
            return
        weights = [p.data for p in self._parameters]
        change = self._shared.detach() - flat(weights)
        self.exchange.all_reduce(change)
        self._shared.grad = change.div_(self.world_size)
        self._outer.step()
        put(self._shared, weights)


def flat(tensors: list[Tensor]) -> Tensor:
    """A copy of the tensors as one vector."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def put(vector: Tensor, tensors: list[Tensor]) -> None:
    """Copy a vector's values into the tensors, in order."""
    sizes = [tensor.numel() for tensor in tensors]
    for tensor, values in zip(tensors, torch.split(vector, sizes), strict=True):
        tensor.copy_(values.view_as(tensor))
