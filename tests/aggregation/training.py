"""A small training that ranks do with a pattern, and one process alone without: the same maths, the same numbers."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mlb.tasks import optimisers
from torch import Tensor, nn

STEPS = 5
COLUMNS = 4


def save_each(out: Path, prefix: str, cases: Sequence[Sequence[Any]], train: Callable[..., dict[str, Any]]) -> None:
    """Train every case on this rank, and keep what came of it, or why nothing did: the test shows it."""
    for number, case in enumerate(cases):
        try:
            result = train(*case)
        except Exception:  # noqa: BLE001  # whatever it was
            result = {"error": traceback.format_exc()}
        torch.save(result, out / f"{prefix}{number}-{dist.get_rank()}.pt")


class Net(nn.Module):
    """Matrices, a vector, a convolution's kernel, an odd number of elements, and a parameter that is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 17)
        self.unused = nn.Parameter(torch.ones(7))
        self.scale = nn.Parameter(torch.ones(1))
        self.kernel = nn.Parameter(torch.randn(2, 1, 3) / 3)
        self.last = nn.Linear(30, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x)) * self.scale
        return self.last(nn.functional.conv1d(hidden[:, None], self.kernel).flatten(1))


def net() -> Net:
    torch.manual_seed(0)
    return Net().double()


def data(step: int, rank: int) -> Tensor:
    """A rank's batch of a step, (COLUMNS, 3)."""
    return torch.randn(COLUMNS, 3, generator=torch.Generator().manual_seed(97 * step + rank), dtype=torch.float64)


def loss(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch).sub(1).pow(2).mean()


Maker = Callable[[nn.Module], torch.optim.Optimizer]

BY_NAME = {"muon": 0.01, "lamb": 0.01, "lars": 1.0}
"""Optimisers that scale a step by whole tensors, or multiply matrices, with a rate."""


def by_name(name: str) -> Maker:
    return lambda model: optimisers.make(name, model, lr=BY_NAME[name], momentum=0.9, weight_decay=0.0)


OPTIMISERS: dict[str, Maker] = {
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    "plain": lambda model: torch.optim.SGD(model.parameters(), lr=0.1),
    "adam": lambda model: torch.optim.Adam(model.parameters(), lr=0.01),
    **{name: by_name(name) for name in BY_NAME},
}


class Trainer:
    """What a task does of a step."""

    def __init__(self, model: nn.Module, optimiser: str) -> None:
        self.optimiser = OPTIMISERS[optimiser](model)

    def optimise(self) -> None:
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=False)


AVERAGING = ("asgd", "nt-asgd", "schedulefree-sgd", "schedulefree-adamw")


class Averaging:
    """A task whose optimiser keeps averaged weights; `nt-asgd` begins to between two steps, as task 3a does."""

    STEPS = 7
    EVALUATED = (3, 6)
    """After these steps, from 0."""

    def __init__(self, model: nn.Module, name: str) -> None:
        self.model, self._name, self._step = model, name, 0
        self._optimiser = self._made("sgd" if name == "nt-asgd" else name)

    def _made(self, name: str) -> Any:
        rate = 0.01 if name == "schedulefree-adamw" else 0.1
        return optimisers.make(name, self.model, lr=rate, momentum=0.9, weight_decay=0.0)

    def optimise(self) -> None:
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=False)
        self._step += 1
        if self._name == "nt-asgd" and self._step == 1:
            self._optimiser = self._made("asgd")

    def averages(self) -> AbstractContextManager[bool]:
        return optimisers.averages(self._optimiser)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).clone()


def global_batch(world: int, optimiser: str, clip: float = 0.0) -> Tensor:
    """The weights after training one process on all ranks' batches together; clipped to `clip`, if any."""
    model = net()
    trainer = Trainer(model, optimiser)
    for step in range(STEPS):
        torch.stack([loss(model, data(step, rank)) for rank in range(world)]).mean().backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        trainer.optimise()
    return weights(model)


def local_steps(start: Tensor, rank: int, first: int, last: int) -> Tensor:
    """Weights after one rank's plain SGD steps `first` to `last` - 1 from given weights."""
    model = net()
    nn.utils.vector_to_parameters(start.clone(), model.parameters())
    trainer = Trainer(model, "plain")
    for step in range(first, last):
        loss(model, data(step, rank)).backward()
        trainer.optimise()
    return weights(model)
