"""The interface of a communication pattern: what happens to the gradients between backward and the optimiser."""

from __future__ import annotations

from typing import Protocol

from torch import nn


class Aggregation(Protocol):
    """One pattern, bound to one model on one rank."""

    name: str

    def __init__(self, model: nn.Module, world_size: int) -> None: ...

    def reduce(self) -> int:
        """Make the gradients of this rank those the optimiser is to use.

        Returns:
            The bytes this rank handed to its collectives; 0 where none was needed.
        """
