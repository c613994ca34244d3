"""The interface of a communication pattern: where in a training step it acts, and whom it tells what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol, TypeVar

from torch import Tensor, nn

if TYPE_CHECKING:
    from .exchange import Exchange

B = TypeVar("B")
Forward = Callable[[B], tuple[Tensor, Tensor]]
"""A task's forward pass: a batch to the objective and the loss to report."""

Averages = AbstractContextManager[bool]
"""Inside, the model has on each rank the averaged weights that its optimiser keeps; gives whether it keeps any.
Afterwards the model has those it had before, whatever was written over them inside."""
NO_AVERAGES: Averages = nullcontext(False)


class Observer(Protocol):
    """Told by a pattern what it does, at the moment it does it; it never makes the pattern wait."""

    def collective(
        self, operation: str, payload_bytes: int, among: tuple[int, ...] = (), steps_behind: int = 0
    ) -> Callable[[], None]:
        """This rank is ready for a collective and hands it over now.

        Args:
            operation: as torch.distributed calls it: `all_reduce`.
            payload_bytes: of the buffer this rank hands over.
            among: the ranks that it waits for, this one included; empty for all.
            steps_behind: it waits for the others' collective of so many steps before.

        Returns:
            To be called once when the collective has ended on this rank, on any thread.
        """

    def backward_done(self) -> None:
        """Backward has nothing left to compute; until it returns it waits for collectives."""

    def blocking(self, phase: str) -> AbstractContextManager[None]:
        """Inside, this rank does nothing but wait for a collective, in the middle of a phase: `optimiser`."""


class Unobserved:
    """Takes no notice."""

    def collective(self, *_: object, **__: object) -> Callable[[], None]:
        return _nothing

    def backward_done(self) -> None:
        return None

    def blocking(self, *_: object) -> AbstractContextManager[None]:
        return nullcontext()


def _nothing() -> None:
    return None


class Aggregation:
    """One pattern, bound to one model on one rank; this one does nothing, and each pattern overrides what it needs.

    The training loop calls, for each step: the wrapped forward and backward, of each pass but the last `accumulating`,
    then `reduce`, `clip`, the task's optimiser, `after_step`.

    Args:
        model: has the same weights on every rank.
    """

    backward_ends_in = "backward"
    """The phase that the end of backward belongs to: `communication` where the pattern waits for its collectives
    inside backward, once it has called `observer.backward_done`; else `backward`."""
    acts_after_step = False
    """Whether `after_step` does anything."""
    clip_norm: float | None = None
    """The norm that `clip` clips the gradients to, set before the first step; None: it does nothing."""

    def __init__(self, model: nn.Module, exchange: Exchange) -> None:
        self.model = model
        self.exchange = exchange
        self.world_size = exchange.ranks

    @property
    def observer(self) -> Observer:
        """Set by whoever measures; `Unobserved` before that."""
        return self.exchange.observer

    @observer.setter
    def observer(self, observer: Observer) -> None:
        self.exchange.observer = observer

    def wrap(self, forward: Forward[B]) -> Forward[B]:
        """The forward pass as the pattern needs it to be called; called once, before the first step."""
        return forward

    @contextmanager
    def accumulating(self) -> Iterator[None]:
        """Inside, forward and backward of a pass that is not the last of its step: its gradients are only added up.

        The observer is not told that backward is done, which then ends in the phase `backward`.
        """
        yield

    def reduce(self) -> int:
        """Make the gradients of this rank those the optimiser is to use.

        Returns:
            The bytes this rank handed to its collectives since the last call; 0 where none was needed.
        """
        return 0

    def clip(self) -> None:
        """Scale what `reduce` left down to a norm of `clip_norm`; it talks to nobody."""
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)

    def after_step(self) -> int:
        """Make the weights of this rank those of the next step; returns as `reduce` does."""
        return 0

    @contextmanager
    def evaluating(self, averages: Averages = NO_AVERAGES) -> Iterator[None]:
        """Inside, the model has the weights an evaluation is to use: the same on every rank.

        Args:
            averages: of the task's optimiser; what the pattern does for an evaluation, it does with them.
        """
        with averages:
            yield

    def finish(self) -> None:
        """After the last step: leave the weights that `evaluating` shows without averages in the model for good."""

    def close(self) -> None:
        """After `finish`, before the process group goes: end what still runs."""


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that have gradients."""
    return [p for p in model.parameters() if p.requires_grad]
