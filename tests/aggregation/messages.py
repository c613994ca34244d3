"""The gradients that ranks are given in test_messages: known to the ranks and to the test."""

from __future__ import annotations

import torch
from torch import Tensor

SHAPES = ((5, 4), (7,), (3,))


def given(kind: str, step: int, rank: int) -> list[Tensor]:
    """A rank's gradients in a step, of SHAPES. `random`: normal; `zeros`: the same, but for the middle one, which is 0
    everywhere, and the last, 0 on all ranks but the first; a number: 1, 2 and 3 times so much, always, on all."""
    if kind not in ("random", "zeros"):
        return [torch.full(shape, float(kind) * times) for times, shape in enumerate(SHAPES, 1)]
    source = torch.Generator().manual_seed(31 * step + rank)
    tensors = [torch.randn(shape, generator=source) for shape in SHAPES]
    if kind == "zeros":
        tensors[1].zero_()
        tensors[2].mul_(float(rank == 0))
    return tensors


def vector(kind: str, step: int, rank: int) -> Tensor:
    """The same as one, (30,)."""
    return torch.cat([tensor.flatten() for tensor in given(kind, step, rank)])
