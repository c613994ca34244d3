"""From the name of a pattern to the pattern, bound to a model on this rank."""

from __future__ import annotations

import hashlib
import importlib

import torch
import torch.distributed as dist
from torch import nn

from . import catalogue
from .base import Aggregation, trained
from .exchange import Exchange


def create(text: str, model: nn.Module, ranks: int) -> Aggregation:
    """The pattern that `text` names (catalogue.py), ready to train.

    Args:
        model: with the same weights on every rank.

    Raises:
        UsageError: `text` is not valid, or does not fit so many ranks.
        RuntimeError: the ranks do not agree on the pattern or the model.
    """
    choice = catalogue.parse(text, ranks)
    if ranks > 1:
        _check_agreement(f"{choice} {[(p.shape, p.dtype) for p in trained(model)]}", trained(model)[0].device)
    exchange = Exchange(ranks, dist.get_rank() if ranks > 1 else 0)
    module = importlib.import_module(f".{choice.info.module}", __package__)
    pattern: Aggregation = getattr(module, choice.info.class_name)(
        model, exchange, **choice.info.fixed, **choice.options
    )
    return pattern


def _check_agreement(what: str, device: torch.device) -> None:
    """Ranks that exchange different things would hang or, worse, go on."""
    digest = int.from_bytes(hashlib.sha256(what.encode()).digest()[:7], "big")
    mine = torch.tensor([digest, -digest], device=device)
    highest = mine.clone()
    dist.all_reduce(highest, dist.ReduceOp.MAX)
    if highest[0] != -highest[1]:
        raise RuntimeError(f"the ranks differ in aggregation or model; this one has {what[:500]}")
