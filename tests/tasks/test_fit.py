"""Every task with every optimiser by the patterns that shard: what is not refused trains, and makes no difference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mlb.aggregation.catalogue import PATTERNS
from mlb.tasks.optimisers import NAMES, library_of

pytestmark = pytest.mark.system

TASKS = ("1a", "1b", "2a", "3a", "4a", "4b")
OPTIMISERS = [name for name in NAMES if not name.startswith("schedulefree")]
SHARDING = ("zero1", "fsdp")
DATA = ("small_images", "few_images", "small_rows", "small_text", "small_pairs")


def refused(task: str, optimiser: str, pattern: str) -> bool:
    return optimiser in PATTERNS[pattern].not_with and not (task == "1b" and optimiser == "lars")


@pytest.fixture(scope="module")
def weights(run_ranks: Callable[..., Path], request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """What each rank has after two steps of each case; of "" alone, without a pattern."""
    for library in filter(None, map(library_of, OPTIMISERS)):
        pytest.importorskip(library)
    paths = {name: str(request.getfixturevalue(name)) for name in DATA}
    cases = [(task, optimiser, "") for task in TASKS for optimiser in OPTIMISERS]
    cases += [(*case[:2], name) for case in cases for name in SHARDING if not refused(case[0], case[1], name)]
    out = run_ranks(Path(__file__).with_name("ranks_optimisers.py"), 2, json.dumps(paths), json.dumps(cases))
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("pattern", SHARDING)
def test_two_steps_are_those_of_one_process(weights: list[dict[str, Any]], task: str, pattern: str) -> None:
    """The ranks have the same batches, whose mean is each rank's own."""
    tried = [optimiser for optimiser in OPTIMISERS if not refused(task, optimiser, pattern)]
    assert len(tried) >= 4
    for optimiser in tried:
        for of_rank in weights:
            found, expected = of_rank[f"{task} {optimiser} {pattern}"], of_rank[f"{task} {optimiser} "]
            assert not isinstance(found, str), found
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, msg=f"{task} {optimiser} {pattern}")
