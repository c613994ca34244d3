"""A pattern's hold on whatever optimiser a task uses: torch's hooks around every optimiser's step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook


class AroundSteps:
    """Calls `before` and `after` around each step of every optimiser of this process, until it is closed.

    The task owns its optimiser and may switch to another in the middle of a run, so there is no one to wrap.
    """

    def __init__(
        self, before: Callable[[Optimizer], None], after: Callable[[Optimizer], None] = lambda _: None
    ) -> None:
        def first(optimiser: Optimizer, *_: Any) -> None:
            before(optimiser)

        def last(optimiser: Optimizer, *_: Any) -> None:
            after(optimiser)

        self._handles = [register_optimizer_step_pre_hook(first), register_optimizer_step_post_hook(last)]

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
