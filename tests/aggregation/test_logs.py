"""The logs of real runs of every pattern: each step of each rank adds up, and says whom it waits for."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from mlb.aggregation.catalogue import PATTERNS
from mlb.results.breakdown import STEP_PARTS, Breakdown
from mlb.results.communication import communication_of
from mlb.results.reduction import reduce
from mlb.results.run import RunFolder
from support import example_spec

pytestmark = pytest.mark.system

RANKS, STEPS = 4, 14
OPTIONS = {
    "ddp": ":find_unused=yes", "fp16": ":find_unused=yes", "bf16": ":find_unused=yes",
    "powersgd": ":start=2:find_unused=yes", "hierarchical": ":ranks_per_node=2", "ssp": ":staleness=2",
    "localsgd": ":period=3", "diloco": ":period=3",
}  # fmt: skip
NAMES = [name + OPTIONS.get(name, "") for name in PATTERNS]
RARE = {"localsgd:period=3", "diloco:period=3"}


@pytest.fixture(scope="module")
def runs(run_ranks: Callable[..., Path]) -> dict[str, RunFolder]:
    """All patterns are trained by one set of processes, one after another."""
    spec = asdict(example_spec(ranks=RANKS, max_steps=STEPS, max_epochs=1))
    out = run_ranks(Path(__file__).with_name("ranks_log.py"), RANKS, json.dumps(spec), json.dumps(NAMES))
    return {name: RunFolder(out / f"run-{number}") for number, name in enumerate(NAMES)}


@pytest.mark.parametrize("name", NAMES)
def test_every_step_of_every_rank_adds_up(name: str, runs: dict[str, RunFolder]) -> None:
    folder = runs[name]
    blocks: list[Breakdown] = []
    reduction = reduce(folder, folder.read_spec(), lambda _: blocks.append)
    health = reduction.health
    assert (health.joined, health.alone, health.mismatched, health.unended, health.unknown_groups) == (
        STEPS,
        0,
        0,
        0,
        0,
    )
    assert reduction.alignment.clocks is not None
    for block in blocks:
        assert (abs(block.residual_ns) <= 0.01 * block.joined["step_ns"]).all()
        assert all((block.parts[part] >= 0).all() for part in STEP_PARTS)
        met = (block.joined.operation >= 0).any(axis=1)
        assert met.all() or name in RARE
        assert (block.transfer_ns[:, met] + block.wait_ns[:, met] > 0).all()
        assert (block.transfer_ns[:, ~met] + block.wait_ns[:, ~met] == 0).all()
    for record in reduction.records:
        assert (record.uneven_steps, record.overlap_ns, record.malformed) == (0, 0, 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_log_says_whom_a_collective_waits_for(name: str, runs: dict[str, RunFolder]) -> None:
    folder = runs[name]
    reduction, communication = communication_of(folder, folder.read_spec())
    waits: list[Any] = [
        sorted((group.ranks, group.steps_behind) for group in record.groups.values()) for record in reduction.records
    ]
    levels = [[((0, 1), 0), ((0, 2), 0)], [((0, 1), 0), ((1, 3), 0)]]
    levels += [[((0, 2), 0), ((2, 3), 0)], [((1, 3), 0), ((2, 3), 0)]]
    expected: dict[str, list[Any]] = {
        "gossip": [[(tuple(sorted({(r - 1) % 4, r, (r + 1) % 4})), 0)] for r in range(4)],
        "ssp:staleness=2": [[((), 2)]] * 4,
        "hierarchical:ranks_per_node=2": levels,
    }
    assert waits == expected.get(name, [[]] * 4)
    assert communication is not None
    predicted = name not in RARE and name not in ("gossip", "ssp:staleness=2")
    assert bool(communication.what_ifs) == predicted, "predicted where all ranks meet in every step"
