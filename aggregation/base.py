"""The interface of a communication pattern: what happens to the gradients between backward and the optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from torch import Tensor, nn

B = TypeVar("B")
Forward = Callable[[B], tuple[Tensor, Tensor]]
"""A task's forward pass: a batch to the objective and the loss to report."""


class Observer(Protocol):
    """Told by a pattern what it does, at the moment it does it; it never makes the pattern wait."""

    def collective(self, operation: str, payload_bytes: int) -> Callable[[], None]:
        """This rank is ready for a collective and hands it over now.

        Args:
            operation: as torch.distributed calls it: `all_reduce`.
            payload_bytes: of the buffer this rank hands over.

        Returns:
            To be called once when the collective has ended on this rank, on any thread.
        """

    def backward_done(self) -> None:
        """Backward has nothing left to compute; until it returns it waits for collectives."""


class Unobserved:
    """Takes no notice."""

    def collective(self, operation: str, payload_bytes: int) -> Callable[[], None]:  # noqa: ARG002  # the protocol's
        return _nothing

    def backward_done(self) -> None:
        return None


def _nothing() -> None:
    return None


class Aggregation(Protocol):
    """One pattern, bound to one model on one rank."""

    name: str
    observer: Observer
    """Set by whoever measures; `Unobserved` before that."""
    backward_ends_in: str
    """The phase that the end of backward belongs to: `communication` where the pattern waits for its collectives
    inside backward, once it has called `observer.backward_done`; else `backward`."""

    def __init__(self, model: nn.Module, world_size: int) -> None: ...

    def wrap(self, forward: Forward[B]) -> Forward[B]:
        """The forward pass as the pattern needs it to be called; called once, before the first step."""

    def reduce(self) -> int:
        """Make the gradients of this rank those the optimiser is to use.

        Returns:
            The bytes this rank handed to its collectives in this step; 0 where none was needed.
        """
