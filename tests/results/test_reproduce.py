"""The command that repeats a run: the same run, alone, whatever began it."""

from typing import Any

import pytest
from mlb.results.reproduce import command
from support import example_spec

FLEET = {"nodes": 2, "node_names": ("a", "b"), "ranks": 4, "fleet": "demo"}
ALWAYS = "--goal smoke --seed 7 --data synthetic --backend gloo"


@pytest.mark.parametrize(
    ("argv", "spec", "expected"),
    [
        ("bench task3a", {}, f"bench task3a {ALWAYS} --ranks 2"),
        ("bench task3a --json --data-dir /x --detach", {}, f"bench task3a {ALWAYS} --ranks 2"),
        ("bench task3a --seed 5 --repeat 3", {}, f"bench task3a {ALWAYS} --ranks 2"),
        ("bench task3a --seed=5 --repeat=3", {}, f"bench task3a {ALWAYS} --ranks 2"),
        ("bench task3a", FLEET, f"bench task3a {ALWAYS} --nodes 2 --ranks 2"),
        ("bench task3a --nodes 2 --gpus 2", FLEET, f"bench task3a --nodes 2 --gpus 2 {ALWAYS}"),
        ("scale task3a --nodes 1,2 --repeat 3", FLEET, f"bench task3a {ALWAYS} --nodes 2 --ranks 2"),
        (
            "compare task3a --vary aggregation=ddp,ps --vary set.lr=1,2",
            {"aggregation": "ps", "changes": {"lr": "2"}, "recipe": "custom"},
            f"bench task3a --aggregation ps --set lr=2 {ALWAYS} --ranks 2",
        ),
        (
            "bench task0a --quick",
            {"task": "task0a", "goal": "quick", "dataset": "", "backends": ("gloo", "mpi")},
            "bench task0a --quick --goal quick --ranks 2",
        ),
        (
            "bench task0a",
            {"task": "task0a", "goal": "full", "dataset": "", "backends": ("gloo",)},
            "bench task0a --goal full --backend gloo --ranks 2",
        ),
        ("compare task3a --vary recipe=fast", {"recipe": "fast"}, f"bench task3a --recipe fast {ALWAYS} --ranks 2"),
    ],
)
def test_the_same_run_alone(argv: str, spec: dict[str, Any], expected: str) -> None:
    made = example_spec(argv=("mlb", *argv.split()), seed=7, **spec)
    assert " ".join(command(made)) == f"mlb {expected}"
