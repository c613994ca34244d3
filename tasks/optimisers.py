"""The optimisers that a recipe's `optimiser` may name: torch's own, and those of two kept libraries.

No module of torch or of a library is loaded before an optimiser is made: the command line checks names by this file.
The hyperparameters that all have (rate, momentum, weight decay) are the recipe's; all others are the library's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ..errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

RECIPES_OWN: Final = "recipe"
"""The optimiser that the recipe was published with."""


def _torchs(name: str, **fixed: Any) -> Callable[..., Any]:
    def make(model: nn.Module, *, lr: float, momentum: float, weight_decay: float) -> Any:
        import torch

        own = {"momentum": momentum} if name == "SGD" else {}
        return getattr(torch.optim, name)(model.parameters(), lr=lr, weight_decay=weight_decay, **own, **fixed)

    return make


def _librarys(module: str, name: str, *, has_momentum: bool) -> Callable[..., Any]:
    def make(model: nn.Module, *, lr: float, momentum: float, weight_decay: float) -> Any:
        from importlib import import_module

        own = {"momentum": momentum} if has_momentum else {}
        made = getattr(import_module(module), name)
        return made(model.parameters(), lr=lr, weight_decay=weight_decay, **own)

    return make


def _muon(model: nn.Module, *, lr: float, momentum: float, weight_decay: float) -> Together:
    import torch

    matrices = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    return Together(
        torch.optim.Muon(matrices, lr=lr, momentum=momentum, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
        *([torch.optim.AdamW(others, lr=lr, weight_decay=weight_decay)] if others else []),
    )


class Together:
    """Optimisers of different parameters of one model, stepped as one."""

    def __init__(self, *optimisers: Any) -> None:
        self.optimisers = optimisers

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for optimiser in self.optimisers for group in optimiser.param_groups]

    def step(self) -> None:
        for optimiser in self.optimisers:
            optimiser.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {str(i): optimiser.state_dict() for i, optimiser in enumerate(self.optimisers)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for i, optimiser in enumerate(self.optimisers):
            optimiser.load_state_dict(state[str(i)])


_MAKERS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {
        "sgd": _torchs("SGD"),
        "adam": _torchs("Adam"),
        "adamw": _torchs("AdamW"),
        # As task 3a's: the average is of every step from the first on.
        "asgd": _torchs("ASGD", lambd=0.0, t0=0.0),
        "muon": _muon,
        "lars": _librarys("pytorch_optimizer.optimizer.lars", "LARS", has_momentum=True),
        "lamb": _librarys("pytorch_optimizer.optimizer.lamb", "Lamb", has_momentum=False),
        "schedulefree-sgd": _librarys("schedulefree", "SGDScheduleFree", has_momentum=True),
        "schedulefree-adamw": _librarys("schedulefree", "AdamWScheduleFree", has_momentum=False),
    }
)
NAMES: Final = (RECIPES_OWN, *_MAKERS)
_LIBRARY_OF: Final = {
    "lars": "pytorch_optimizer", "lamb": "pytorch_optimizer",
    "schedulefree-sgd": "schedulefree", "schedulefree-adamw": "schedulefree",
}  # fmt: skip


def check(name: str) -> None:
    """Raises UsageError: there is no such optimiser, or its library is not installed; says what is valid."""
    if name not in NAMES:
        raise UsageError(
            f"There is no optimiser {name!r}.{did_you_mean(name, NAMES)}", fix=f"Optimisers: {', '.join(NAMES)}."
        )
    library = library_of(name)
    if library is not None and find_spec(library) is None:
        raise UsageError(
            f"The optimiser {name} is of {library}, which is not installed.",
            fix="Get it with: pip install 'mlb[optimisers]'",
        )


def library_of(name: str) -> str | None:
    """The optional library that the optimiser is of; None for torch's own and a recipe's."""
    return _LIBRARY_OF.get(name)


def make(name: str, model: nn.Module, *, lr: float, momentum: float, weight_decay: float) -> Any:
    """The optimiser called `name`, of all of the model's parameters."""
    optimiser = _MAKERS[name](model, lr=lr, momentum=momentum, weight_decay=weight_decay)
    if name.startswith("schedulefree"):
        optimiser.train()
    return optimiser


@contextmanager
def averages(optimiser: Any) -> Iterator[bool]:
    """Inside, the optimiser's parameters are the averages it is to be judged by, where it keeps any; yields whether.

    Afterwards they are what they were, bit for bit, whatever was written over them inside.
    """
    schedule_free = type(optimiser).__module__.startswith("schedulefree")
    if not schedule_free and type(optimiser).__name__ != "ASGD":
        yield False
        return
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    trained = [p.detach().clone() for p in parameters]
    if schedule_free:
        optimiser.eval()
    else:
        _put(parameters, [optimiser.state[p].get("ax", p) for p in parameters])
    try:
        yield True
    finally:
        if schedule_free:
            optimiser.train()
        _put(parameters, trained)


def _put(parameters: list[Any], values: list[Any]) -> None:
    for p, value in zip(parameters, values, strict=True):
        p.data.copy_(value)
