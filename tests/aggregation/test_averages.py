"""Optimisers that are judged by averaged weights, with patterns that shard the optimiser or exchange weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training import AVERAGING, Averaging, data, loss, net, weights

pytestmark = pytest.mark.system

WORLD = 3
SHARDED = ("zero1", "fsdp")
AVERAGED = ("weights", "localsgd:period=1", "ssp:staleness=0")
APART = ("localsgd:period=3", "gossip:edges=0-1+1-2", "diloco:period=2", "ssp:staleness=2")
LINEAR = [name for name in AVERAGING if name != "schedulefree-adamw"]
CASES = [(pattern, name) for pattern in (*SHARDED, *AVERAGED, *APART) for name in AVERAGING]

Found = Callable[[str, str], list[dict[str, list[Tensor]]]]


@pytest.fixture(scope="module")
def found(run_ranks: Callable[..., Path]) -> Found:
    """What each rank evaluated, and the weights it trained on from."""
    out = run_ranks(Path(__file__).with_name("ranks_averages.py"), WORLD, json.dumps(CASES))

    def of(pattern: str, name: str) -> list[dict[str, Any]]:
        number = CASES.index((pattern, name))
        ranks = [torch.load(out / f"{number}-{rank}.pt", weights_only=True) for rank in range(WORLD)]
        assert not any("error" in rank for rank in ranks), [rank.get("error") for rank in ranks]
        return ranks

    return of


def one_process(name: str) -> list[Tensor]:
    """What is evaluated after training on all ranks' batches together."""
    model = net()
    trainer = Averaging(model, name)
    evaluated = []
    for step in range(Averaging.STEPS):
        torch.stack([loss(model, data(step, rank)) for rank in range(WORLD)]).mean().backward()
        trainer.optimise()
        if step in Averaging.EVALUATED:
            with trainer.averages():
                evaluated.append(weights(model))
    return evaluated


@pytest.mark.parametrize(("pattern", "name"), CASES)
def test_all_ranks_evaluate_the_same_averages(found: Found, pattern: str, name: str) -> None:
    first, *others = found(pattern, name)
    for rank in others:
        torch.testing.assert_close(rank["evaluated"], first["evaluated"], rtol=0, atol=0)
    for evaluated, trained in zip(first["evaluated"], first["trained"], strict=True):
        assert not torch.allclose(evaluated, trained), "the averages are others than the weights being trained"


@pytest.mark.parametrize(
    ("pattern", "name"),
    [(p, n) for p in SHARDED for n in AVERAGING] + [(p, n) for p in AVERAGED for n in LINEAR],
)
def test_they_are_those_of_one_process(found: Found, pattern: str, name: str) -> None:
    """Averaged weights too, where the optimiser is linear in the gradient; the second evaluation shows that training
    went on from the weights it had before the first."""
    torch.testing.assert_close(found(pattern, name)[0]["evaluated"], one_process(name), rtol=1e-10, atol=1e-12)
