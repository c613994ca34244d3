"""Runs on nodes whose wall clocks are off: times from the launch are those of one clock, or it is said that not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlb.results.cost import Rent, cost_of
from mlb.results.metrics import compute
from mlb.results.verify import verify

MS, S = 1_000_000, 1_000_000_000
RIGHT = "put right in times from the launch"


def told(run_at: Any, story: Any, path: Path, *, ahead_s: tuple[float, float], synced: bool = True, **spec: Any) -> Any:
    """Two nodes with a rank each: 5 s of launch, 3 s of start-up, 40 s of training; 48 s by a true clock."""
    run = run_at(path, nodes=2, node_names=("a", "b"), target=300.0, **spec)
    for rank, ahead in enumerate(ahead_s):
        tale = story(rank, clock_ns=(7 + 1000 * rank) * S).wait(5 * S)
        tale.start(node=rank, unix_time_ns=tale.unix_ns() + round(ahead * S)).stage("import", 3 * S)
        tale = tale.sync() if synced else tale
        tale.event("run_start").step(0, 0, 10 * S, 20 * S, 8 * S, 0, 0).evaluate(280.0, 2 * S)
        tale = tale.sync() if synced else tale
        run.tell(tale.stop(clock_step_ns=round(ahead * S)))
    return run


def check_health(run: Any, **offsets_s: tuple[float, float]) -> None:
    nodes = {name: {"clock_offset_s": off, "clock_error_s": error} for name, (off, error) in offsets_s.items()}
    run.folder.health.write_text(json.dumps({"schema_version": 1, "nodes": nodes}))


def assert_true_times(metrics: Any) -> None:
    assert metrics.split.wall_s == pytest.approx(48, abs=0.001)
    assert [rank.seconds("launch") for rank in metrics.split.ranks] == pytest.approx([5, 5], abs=0.001)
    assert [rank.seconds("ending") for rank in metrics.split.ranks] == pytest.approx([0, 0], abs=0.001)
    assert all(rank.adds_up for rank in metrics.split.ranks)
    assert metrics.time_to_target_from_launch_s == pytest.approx(48, abs=0.001)


@pytest.mark.parametrize("ahead_s", [45.0, -45.0, 0.3])
@pytest.mark.parametrize("by", ["comparisons", "the agent", "the checks"])
def test_a_node_whose_clock_is_off(story: Any, run_at: Any, tmp_path: Path, ahead_s: float, by: str) -> None:
    rent = Rent(100.0, "a list", nodes=2)
    run = told(run_at, story, tmp_path, ahead_s=(0, ahead_s), synced=by == "comparisons", rent=rent).node(0)
    measured = {"clock_offset_ns": -round(ahead_s * S), "clock_error_ns": 100_000} if by == "the agent" else {}
    run.node(1, **measured)
    if by == "the checks":
        check_health(run, a=(0.001, 0.02), b=(ahead_s, 0.02))
    metrics = compute(run.folder, buckets=48)
    assert_true_times(metrics)
    cost = cost_of(metrics)
    assert cost is not None
    assert cost.clock_usd == pytest.approx(100 * 48 / 3600, rel=1e-4)
    (said,) = (warning for warning in metrics.warnings if RIGHT in warning)
    assert f"node 1 (b) {ahead_s:+.3f} s" in said
    assert "node 0" not in said
    assert metrics.series is not None


def test_over_time_the_ranks_lie_on_one_clock(story: Any, run_at: Any, tmp_path: Path) -> None:
    straight, crooked = (
        compute(told(run_at, story, tmp_path / str(ahead), ahead_s=(0, ahead)).folder, buckets=48).series
        for ahead in (0, 45)
    )
    assert straight is not None
    assert crooked is not None
    assert straight.parts_s.keys() == crooked.parts_s.keys()
    for part, seconds in straight.parts_s.items():
        np.testing.assert_array_equal(seconds, crooked.parts_s[part], part)


def test_all_nodes_off_the_launching_machine_are_put_right_by_the_checks(
    story: Any, run_at: Any, tmp_path: Path
) -> None:
    run = told(run_at, story, tmp_path, ahead_s=(-20, 45)).node(0).node(1)
    check_health(run, a=(-20.0, 0.03))
    metrics = compute(run.folder)
    assert_true_times(metrics)
    (said,) = (warning for warning in metrics.warnings if RIGHT in warning)
    assert "node 0 (a) -20.000 s, node 1 (b) +45.000 s" in said


@pytest.mark.parametrize("health", ["", "{", "[]", '{"nodes":null}', '{"nodes":{"a":3,"b":{"clock_offset_s":"x"}}}',
                                    '{"nodes":{"a":{"clock_offset_s":1e999,"clock_error_s":0}}}'])  # fmt: skip
def test_checks_that_cannot_be_read_put_nothing_right(story: Any, run_at: Any, tmp_path: Path, health: str) -> None:
    run = told(run_at, story, tmp_path, ahead_s=(0, 0))
    run.folder.health.write_text(health)
    metrics = compute(run.folder)
    assert_true_times(metrics)
    assert not any("wall clock" in warning.lower() for warning in metrics.warnings)


def test_what_lies_within_the_error_of_the_checks_is_left_alone(story: Any, run_at: Any, tmp_path: Path) -> None:
    run = told(run_at, story, tmp_path, ahead_s=(0, 0))
    check_health(run, a=(0.4, 0.5), b=(0.4, 0.5))
    assert_true_times(compute(run.folder))


def test_clocks_that_nobody_measured_and_that_disagree_are_said(story: Any, run_at: Any, tmp_path: Path) -> None:
    run = told(run_at, story, tmp_path, ahead_s=(0, 45), synced=False).node(0).node(1)
    (said,) = (warning for warning in compute(run.folder).warnings if "nobody measured these clocks" in warning)
    assert "node 1 (b) +45 s from node 0" in said
    quiet = told(run_at, story, tmp_path / "quiet", ahead_s=(0, 2), synced=False)
    assert not any("nobody measured" in warning for warning in compute(quiet.folder).warnings)


def test_a_log_is_held_against_its_own_agent_by_their_own_clock(story: Any, run_at: Any, tmp_path: Path) -> None:
    from stories import LAUNCHED

    run = told(run_at, story, tmp_path, ahead_s=(0, 45))
    for node, off in enumerate((0, 45 * S)):
        times = {"started_unix_ns": LAUNCHED + off + S, "stopped_unix_ns": LAUNCHED + off + 50 * S}
        run.node(node, rank_pids={str(node): 100 + node}, **times)
    assert not any("outside the time in which its node's agent ran" in fault for fault in verify(run.folder).faults)
