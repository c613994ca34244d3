"""Ranks that were told to do different things end before the first step, each saying what it was told."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from mlb.results.run import RunSpec
from mlb.runners.rank import _SHARED

SAME = ("topk:ratio=0.1", 3, {"seed": 1, "changes": {"learning_rate": "0.1"}})
CASES: dict[str, tuple[Any, Any]] = {
    "": (SAME, SAME),
    "aggregation": (SAME, ("topk:ratio=0.2", *SAME[1:])),
    "model": (SAME, (SAME[0], 4, SAME[2])),
    "seed": (SAME, (*SAME[:2], {**SAME[2], "seed": 2})),
    "seed, changes": (SAME, (*SAME[:2], {"seed": 2, "changes": {"learning_rate": "0.2"}})),
}


@pytest.fixture(scope="module")
def told(run_ranks: Callable[..., Path]) -> list[list[str]]:
    out = run_ranks(Path(__file__).with_name("ranks_agreement.py"), 2, json.dumps(list(CASES.values())))
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.system
@pytest.mark.parametrize("differing", CASES)
def test_ranks_that_differ_are_told_in_what(told: list[list[str]], differing: str) -> None:
    for rank in range(2):
        words = told[rank][list(CASES).index(differing)]
        if not differing:
            assert words == ""
            continue
        assert words.startswith(f"the ranks differ in {differing}; this one, rank {rank}, has ")
        assert "start it anew from one mlb bench" in words
    if differing == "seed, changes":
        assert "seed: 1; changes: {'learning_rate': '0.1'}" in told[0][-1]
        assert "seed: 2; changes: {'learning_rate': '0.2'}" in told[1][-1]


def test_what_decides_the_work_is_agreed_on() -> None:
    """By the spec's names; where a node has its data, how many threads it takes or when it began are its own."""
    assert set(_SHARED) <= {field.name for field in fields(RunSpec)}
    assert {"seed", "changes", "batch_per_rank", "recipe", "max_steps"} <= set(_SHARED)
