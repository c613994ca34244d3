"""Lossy patterns on real gloo ranks with gradients that are given: what comes out is worked out by one process."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from messages import SHAPES, vector
from mlb.aggregation.catalogue import parse
from torch import Tensor

pytestmark = pytest.mark.system

MANY = 400
TINY = ("1e-7", "3e-7")
HALF = ("fp16", "bf16")
FEW = 6
WORLDS = (2, 3)
LOSSY = (
    "topk:ratio=0.2", "topk:ratio=0.2:error_feedback=no", "randomk:ratio=0.2", "sign", "sign:error_feedback=no",
    "qsgd:bits=4:block=8", "qsgd:bits=8:block=16:error_feedback=yes", "int8:block=8",
)  # fmt: skip
STILL = "sign:error_feedback=no"
CASES: dict[int, list[tuple[str, str, int]]] = {
    world: [*((pattern, "random", FEW) for pattern in LOSSY), (STILL, "zeros", FEW)] for world in WORLDS
}
CASES[3] += [(pattern, tiny, MANY) for pattern in HALF for tiny in TINY]

Reduce = Callable[[int, str, str, int], list[Tensor]]


@pytest.fixture(scope="module")
def reduced(run_ranks: Callable[..., Path]) -> Reduce:
    """What each rank's gradients became in each step, (steps, 30); one set of processes does all cases of a world."""
    folders: dict[int, Path] = {}

    def found(world: int, pattern: str, kind: str, steps: int) -> list[Tensor]:
        cases = CASES[world]
        if world not in folders:
            folders[world] = run_ranks(Path(__file__).with_name("ranks_messages.py"), world, json.dumps(cases))
        number = cases.index((pattern, kind, steps))
        ranks = [torch.load(folders[world] / f"{number}-{rank}.pt", weights_only=True) for rank in range(world)]
        for other in ranks[1:]:
            torch.testing.assert_close(other, ranks[0], rtol=0, atol=0)
        return ranks

    return found


@pytest.mark.parametrize("tiny", TINY)
@pytest.mark.parametrize("pattern", HALF)
def test_what_sixteen_bits_cannot_hold_is_sent_in_later_steps(reduced: Reduce, pattern: str, tiny: str) -> None:
    """A third of 1e-7 rounds to 0 or to twice as much in float16; all steps together are off by one message at most,
    and by what bfloat16's sums round off, which nobody remembers."""
    total = reduced(3, pattern, tiny, MANY)[0].double().sum(dim=0)
    wanted = MANY * vector(tiny, 0, 0).double()
    torch.testing.assert_close(total, wanted, rtol=1e-5 if pattern == "fp16" else 4e-3, atol=3 * 2.0**-24)


def topk(vectors: list[Tensor], _step: int, options: Any) -> tuple[Tensor, list[Tensor]]:
    k = math.ceil(options["ratio"] * vectors[0].numel())
    said = [v * (v.abs() >= v.abs().sort(descending=True).values[k - 1]) for v in vectors]
    return torch.stack(said).mean(dim=0), said


def randomk(vectors: list[Tensor], step: int, options: Any) -> tuple[Tensor, list[Tensor]]:
    """The places are those of one stream of random numbers, which all ranks draw from."""
    chance = torch.Generator().manual_seed(1_000_003)
    drawn = [torch.randperm(vectors[0].numel(), generator=chance) for _ in range(step + 1)]
    kept = torch.zeros_like(vectors[0])
    kept[drawn[step][: math.ceil(options["ratio"] * len(kept))]] = 1
    return torch.stack(vectors).mean(dim=0) * kept, [v * kept for v in vectors]


def sign(vectors: list[Tensor], _step: int, _options: Any) -> tuple[Tensor, list[Tensor]]:
    sizes = [v.abs().mean() for v in vectors]
    votes = torch.stack([v.sign() for v in vectors]).sum(dim=0).sign()
    return votes * torch.stack(sizes).mean(), [v.sign() * size for v, size in zip(vectors, sizes, strict=True)]


def int8(vectors: list[Tensor], _step: int, options: Any) -> tuple[Tensor, list[Tensor]]:
    """Multiples of the largest modulus of a block over 127."""

    def rounded(v: Tensor) -> Tensor:
        return torch.cat(
            [(part / part.abs().max() * 127).round() * part.abs().max() / 127 for part in v.split(options["block"])]
        )

    said = [rounded(v) for v in vectors]
    return torch.stack(said).mean(dim=0), said


REFERENCES = {"topk": topk, "randomk": randomk, "sign": sign, "int8": int8}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("pattern", [text for text in LOSSY if not text.startswith("qsgd")])
def test_ranks_get_what_one_process_works_out(reduced: Reduce, pattern: str, world: int) -> None:
    choice = parse(pattern)
    found = reduced(world, pattern, "random", FEW)[0]
    memories = [torch.zeros(found.shape[1])] * world
    for step in range(FEW):
        vectors = [vector("random", step, rank) + memory for rank, memory in enumerate(memories)]
        mean, said = REFERENCES[choice.info.name](vectors, step, choice.options)
        torch.testing.assert_close(found[step], mean, rtol=1e-5, atol=1e-6)
        if choice.options["error_feedback"]:
            memories = [v - own for v, own in zip(vectors, said, strict=True)]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("pattern", [text for text in LOSSY if text.startswith("qsgd")])
def test_random_rounding_is_by_less_than_a_level(reduced: Reduce, pattern: str, world: int) -> None:
    """The draws are each rank's own: in the first step each entry is one of its two neighbours of each rank's levels,
    and not all ranks round alike."""
    options: Any = parse(pattern).options
    found, wanted, level = reduced(world, pattern, "random", FEW)[0][0], [], []
    for v in (vector("random", 0, rank) for rank in range(world)):
        norms = torch.cat([part.norm().expand(len(part)) for part in v.split(options["block"])])
        wanted.append(v)
        level.append(norms / (2 ** (options["bits"] - 1) - 1))
    off = (found - torch.stack(wanted).mean(dim=0)).abs()
    assert (off < torch.stack(level).mean(dim=0) * (1 + 1e-5)).all()
    assert off.max() > 0


@pytest.mark.parametrize("world", WORLDS)
def test_what_has_no_gradient_goes_nowhere(reduced: Reduce, world: int) -> None:
    """It was once moved by a size in every step. What one of three ranks has a gradient of goes where it says."""
    found = reduced(world, STILL, "zeros", FEW)[0]
    _, still, one = found.split([math.prod(shape) for shape in SHAPES], dim=1)
    if world == 2:
        assert not still.any()
    assert still[0].eq(still[0, 0]).all()
    # Up and down in turn, by sizes that differ a little from step to step.
    turns = still.sign()
    assert torch.equal(turns[0::2], -turns[1::2])
    assert still.sum(dim=0).abs().max() <= found.abs().max()
    if world == 3:
        own = torch.stack([vector("zeros", step, 0)[-3:] for step in range(FEW)])
        assert torch.equal(one.sign(), own.sign())
