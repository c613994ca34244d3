"""Lossy patterns on real gloo ranks with gradients that are given: what comes out is worked out by one process."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from messages import vector
from torch import Tensor

pytestmark = pytest.mark.system

MANY = 400
TINY = ("1e-7", "3e-7")
HALF = ("fp16", "bf16")
CASES = {3: [(pattern, tiny, MANY) for pattern in HALF for tiny in TINY]}

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
