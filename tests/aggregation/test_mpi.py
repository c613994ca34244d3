"""Every pattern trains over MPI as it does over gloo, whose results test_mathematics holds against the formulas."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mlb.aggregation.catalogue import PATTERNS, parse
from mlb.errors import UsageError
from mlb.runners.pmi import MpiMeeting, local_store

pytestmark = pytest.mark.system
pytest.importorskip("mpi4py")

UNUSED = {"ddp", "fp16", "bf16", "powersgd"}
"""Patterns that have to be told of parameters without a part in the loss."""
OPTIONS = {"powersgd": ":start=2:min_rate=1", "topk": ":ratio=0.2", "randomk": ":ratio=0.2", "localsgd": ":period=3"}
COARSE = {"fp16": 2e-3, "bf16": 2e-2}
"""Four numbers of 16 bits have another sum in another order."""
OVER_MPI = [name for name, info in PATTERNS.items() if not info.backends]

Found = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module", params=[2, 4])
def found(request: pytest.FixtureRequest, run_ranks: Callable[..., Path]) -> Callable[[str], Found]:
    """A pattern's outcome on each rank, by backend."""
    world = request.param
    names = [n + OPTIONS.get(n, "") + ":find_unused=yes" * (n in UNUSED) for n in OVER_MPI]
    cases = json.dumps([(name, "plain", 0.25 if name == "zero1" else 0.0) for name in names])
    meeting = MpiMeeting(f"test-{os.getpid()}-{world}", world, 1, local_store)
    script = Path(__file__).with_name("ranks_pattern.py")
    out = run_ranks(script, world, cases, "gloo", "mpi", PMI_PORT=meeting.address)
    meeting.close()

    def of(pattern: str) -> Found:
        number = OVER_MPI.index(pattern)
        return {
            backend: [torch.load(out / f"{backend}-{number}-{rank}.pt", weights_only=True) for rank in range(world)]
            for backend in ("gloo", "mpi")
        }

    return of


@pytest.mark.parametrize("pattern", OVER_MPI)
def test_training_is_that_over_gloo(found: Callable[[str], Found], pattern: str) -> None:
    outcomes = found(pattern)
    near = COARSE.get(pattern, 1e-9)
    for over_gloo, over_mpi in zip(outcomes["gloo"], outcomes["mpi"], strict=True):
        assert "error" not in over_mpi, over_mpi["error"]
        torch.testing.assert_close(over_mpi["final"], outcomes["mpi"][0]["final"], rtol=0, atol=0)
        torch.testing.assert_close(over_mpi["final"], over_gloo["final"], rtol=near, atol=near)


@pytest.mark.parametrize("pattern", OVER_MPI)
def test_the_log_has_the_same_collectives_as_over_gloo(found: Callable[[str], Found], pattern: str) -> None:
    outcomes = found(pattern)
    for over_gloo, over_mpi in zip(outcomes["gloo"], outcomes["mpi"], strict=True):
        for key in ("told", "outside", "handed_over"):
            assert over_mpi[key] == over_gloo[key]
        if pattern != "fsdp":  # gloo's reduce-scatter sends as much as an all-reduce, MPI's does not
            assert over_mpi["sent"] == over_gloo["sent"]


def test_a_pattern_that_needs_gloo_is_refused() -> None:
    with pytest.raises(UsageError, match="it works over gloo, not over mpi"):
        parse("ssp", 2, "mpi")
