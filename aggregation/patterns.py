"""From the name of a pattern to the pattern, bound to a model on this rank."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from types import MappingProxyType

import torch
import torch.distributed as dist
from torch import nn

from . import catalogue
from .base import Aggregation, trained
from .exchange import Exchange


def create(
    text: str, model: nn.Module, ranks: int, settings: Mapping[str, object] = MappingProxyType({})
) -> Aggregation:
    """The pattern that `text` names (catalogue.py), ready to train.

    Args:
        model: with the same weights on every rank.
        settings: what else decides the work, by name; the ranks have to agree on it too.

    Raises:
        UsageError: `text` is not valid, or does not fit so many ranks.
        RuntimeError: the ranks do not agree on the pattern, the model or a setting.
    """
    choice = catalogue.parse(text, ranks)
    if ranks > 1:
        parameters = trained(model)
        shapes = [(tuple(p.shape), str(p.dtype)) for p in parameters]
        _check_agreement({"aggregation": str(choice), "model": shapes, **settings}, parameters[0].device)
    exchange = Exchange(ranks, dist.get_rank() if ranks > 1 else 0)
    module = importlib.import_module(f".{choice.info.module}", __package__)
    pattern: Aggregation = getattr(module, choice.info.class_name)(
        model, exchange, **choice.info.fixed, **choice.options
    )
    return pattern


def _check_agreement(settings: Mapping[str, object], device: torch.device) -> None:
    """Ranks that exchange different things would hang or, worse, go on."""
    digests = [int.from_bytes(hashlib.sha256(repr(value).encode()).digest()[:7], "big") for value in settings.values()]
    mine = torch.tensor([digests, [-digest for digest in digests]], device=device)
    highest = mine.clone()
    dist.all_reduce(highest, dist.ReduceOp.MAX)
    alike = (highest[0] == -highest[1]).tolist()
    if differing := [name for name, same in zip(settings, alike, strict=True) if not same]:
        own = "; ".join(f"{name}: {settings[name]!r:.200}" for name in differing)
        raise RuntimeError(
            f"the ranks differ in {', '.join(differing)}; this one, rank {dist.get_rank()}, has {own}. All ranks of a "
            "run need the same: start it anew from one mlb bench, with the same mlb on every node"
        )
