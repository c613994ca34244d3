"""How a run ended and of what: status, cause, and a report that can be made of any run."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from mlb.results.metrics import Metrics, compute
from mlb.results.report import to_markdown, to_text
from mlb.results.run import RankFailure
from mlb.results.text import how_it_ended
from mlb.results.verdict import FailureCause

MS = 1_000_000
S = 1000 * MS


def failure(rank: int, *, collateral: bool = False, seen: int = 5, **fields: Any) -> dict[str, Any]:
    base = {"rank": rank, "pid": 9, "exit_code": 1, "seen_unix_ns": seen, "message": f"rank {rank} died"}
    return asdict(RankFailure(**{**base, "collateral": collateral, "last_lines": ("a", "b"), **fields}))


def told(metrics: Metrics) -> str:
    """Everything a reader sees; the report must be printable whatever the run."""
    assert to_markdown(metrics)
    assert metrics.to_json()["schema_version"] == 1
    return to_text(metrics)


@pytest.mark.parametrize(
    ("run_stops", "state", "value", "status"),
    [
        (["goal", "goal"], "succeeded", 290.0, "goal reached"),
        (["goal", "goal"], "running", 290.0, "goal reached"),
        (["goal", "goal"], None, 290.0, "goal reached"),
        (["goal", None], "succeeded", 290.0, "goal reached"),
        (["goal", "goal"], "failed", 290.0, "failed"),
        (["goal", "goal"], "stopped", 290.0, "goal reached"),
        (["goal", "goal"], "succeeded", 310.0, "goal missed"),
        (["epochs", "epochs"], "succeeded", 310.0, "goal missed"),
        (["steps", "steps"], "succeeded", None, "goal missed"),
        (["stopped", "stopped"], "stopped", 310.0, "stopped"),
        (["stopped", "stopped"], None, None, "stopped"),
        ([None, None], "stopped", None, "stopped"),
        ([None, None], "failed", 310.0, "failed"),
        ([None, None], "running", 310.0, "running"),
        ([None, None], "starting", None, "running"),
        ([None, None], "succeeded", 310.0, "incomplete"),
        ([None, None], None, 310.0, "incomplete"),
    ],
)
def test_status(
    story: Any,
    run_at: Any,
    tmp_path: Path,
    run_stops: list[str | None],
    state: str | None,
    value: float | None,
    status: str,
) -> None:
    run = run_at(tmp_path)
    for rank, reason in enumerate(run_stops):
        tale = story(rank).start().event("run_start").step(1, 1, 1, 1, 1, 1, 1)
        if value is not None:
            tale.evaluate(value, S)
        if reason:
            tale.event("run_stop", status="success" if reason == "goal" else "aborted", reason=reason).stop()
        run.tell(tale)
    if state:
        run.node(state=state)
    metrics = compute(run.folder)
    assert metrics.status == status
    assert told(metrics)


@pytest.mark.parametrize(
    ("state", "written", "status", "words"),
    [
        ("lost", "running", "incomplete", "Incomplete in epoch 1"),
        ("lost", None, "incomplete", "Incomplete in epoch 1"),
        ("stopped", "running", "stopped", "Stopped on request in epoch 1"),
        ("running", "running", "running", "Running in epoch 1"),
        ("starting", None, "running", "Running in epoch 1"),
        (None, "running", "running", "Running in epoch 1"),
        ("lost", "failed", "failed", "Failed in epoch 1"),
    ],
)
def test_how_a_run_stands_is_stronger_than_what_its_agents_last_wrote(
    story: Any, run_at: Any, tmp_path: Path, state: str | None, written: str | None, status: str, words: str
) -> None:
    run = run_at(tmp_path, ranks=1).tell(story(0).start().event("run_start").step(1, 1, 1, 1, 1, 1, 1))
    if written:
        run.node(state=written)
    metrics = compute(run.folder, state=state)
    assert metrics.status == status
    assert words in told(metrics)


def test_a_run_that_has_only_been_asked_for(run_at: Any, tmp_path: Path) -> None:
    metrics = compute(run_at(tmp_path).folder)
    assert metrics.status == "incomplete"
    assert metrics.split.wall_s is None
    assert metrics.consistency.missing_ranks == (0, 1)
    assert "Incomplete before the first step: not evaluated, target <= 300" in told(metrics)


def test_a_running_run_has_no_complaints_about_its_unfinished_logs(story: Any, run_at: Any, tmp_path: Path) -> None:
    tale = story(0).start().event("run_start").stage("epoch", S).step(1, 1, 1, 1, 1, 1, 1)
    run = run_at(tmp_path).node(state="running").write(0, tale.bytes + b'{"key":"st')
    metrics = compute(run.folder)
    assert metrics.status == "running"
    assert [w for w in metrics.warnings if "smoke" not in w] == []
    assert "Running in epoch 1: not evaluated" in told(metrics)


@pytest.mark.parametrize("cut", range(0, 4000, 97))
def test_a_run_cut_off_anywhere(story: Any, small_run: Any, tmp_path: Path, cut: int) -> None:
    run = small_run(tmp_path)
    run.write(1, run.folder.rank_events(1).read_bytes()[:cut])
    metrics = compute(run.folder)
    assert metrics.status == "goal reached"
    assert "The log of rank 1 was cut off: what came after its last line is unknown." in metrics.warnings
    assert told(metrics)
    for split in metrics.split.ranks:
        assert sum(split.parts_ns.values()) == split.wall_ns


def test_steps_that_were_asked_for_are_no_failure(story: Any, run_at: Any, tmp_path: Path) -> None:
    tale = story().start().event("run_start").step(1, 1, 1, 1, 1, 1, 1)
    run = run_at(tmp_path, ranks=1, max_steps=1).tell(tale.event("run_stop", status="aborted", reason="steps").stop())
    assert "Goal not reached in the 1 step asked for: not evaluated, target <= 300" in told(compute(run.folder))


def test_a_missed_goal_shows_its_best_and_on_which_side_it_lies(story: Any, run_at: Any, tmp_path: Path) -> None:
    tale = story().start().event("run_start").evaluate(300.04, S, epoch=1).event("epoch_stop", epoch_num=1)
    run = run_at(tmp_path, ranks=1).tell(tale.event("run_stop", status="aborted", reason="epochs").stop())
    expected = "Goal missed in 1 epoch: validation perplexity 300.04 at best at epoch 1, target <= 300"
    assert expected in told(compute(run.folder))


def test_a_goal_that_no_evaluation_reaches_is_not_believed(story: Any, run_at: Any, tmp_path: Path) -> None:
    tale = story().start().event("run_start").event("run_stop", status="success", reason="goal").stop()
    metrics = compute(run_at(tmp_path, ranks=1).tell(tale).folder)
    assert metrics.status == "goal missed"
    assert any("no evaluation in the logs reaches it" in warning for warning in metrics.warnings)


def test_the_test_split_does_not_decide(story: Any, run_at: Any, tmp_path: Path) -> None:
    tale = story().start().event("run_start").evaluate(310.0, S).evaluate(290.0, S, split="test")
    tale.event("run_stop", status="aborted", reason="epochs").stop()
    metrics = compute(run_at(tmp_path, ranks=1).tell(tale).folder)
    assert (metrics.status, metrics.quality.reached) == ("goal missed", None)
    assert "Final test perplexity" in told(metrics)


def test_the_cause_is_the_first_rank_that_died_of_itself(run_at: Any, tmp_path: Path) -> None:
    run = run_at(tmp_path, ranks=3)
    run.node(0, state="failed", failures=[failure(0, collateral=True, seen=1), failure(1, collateral=True, seen=4)])
    run.node(1, state="failed", failures=[failure(2, exit_code=-9, seen=5, message="")])
    metrics = compute(run.folder)
    assert metrics.failure == FailureCause(1, 2, -9, how_it_ended(-9), "", ("a", "b"))
    text = told(metrics)
    assert "Cause: rank 2 on node 1: killed by SIGKILL, which is also how" in text
    assert "  | a\n  | b\n" in text


def test_a_cause_from_the_log_where_the_agent_saw_only_the_consequence(story: Any, run_at: Any, tmp_path: Path) -> None:
    run = run_at(tmp_path).node(state="failed", failures=[failure(0, collateral=True)])
    run.tell(story(0).start().event("failure", kind="DistError", message="peer", collateral=True).stop())
    run.tell(story(1).start().event("failure", kind="OutOfMemory", message="no room", collateral=False).stop())
    metrics = compute(run.folder)
    assert metrics.status == "failed"
    assert metrics.failure == FailureCause(None, 1, None, "", "OutOfMemory: no room", ())


def test_the_log_explains_what_the_agent_saw(story: Any, run_at: Any, tmp_path: Path) -> None:
    run = run_at(tmp_path, ranks=1).node(state="failed", failures=[failure(0, message="")])
    run.tell(story(0).start().event("failure", kind="ValueError", message="bad", collateral=False).stop())
    cause = compute(run.folder).failure
    assert cause is not None
    assert (cause.message, cause.exit_code) == ("ValueError: bad", 1)


def test_an_agent_that_failed_without_a_rank(run_at: Any, tmp_path: Path) -> None:
    run = run_at(tmp_path, ranks=1).node(state="failed", message="torchrun is not installed")
    text = told(compute(run.folder))
    assert "Cause: the agent of node 0: torchrun is not installed" in text


def test_ranks_stopped_with_the_run_have_not_failed(story: Any, run_at: Any, tmp_path: Path) -> None:
    run = run_at(tmp_path, ranks=1).node(state="stopped")
    run.tell(story(0).start().event("failure", kind="DistError", message="gone", collateral=True).stop())
    metrics = compute(run.folder)
    assert (metrics.status, metrics.failure) == ("stopped", None)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exit code 0"),
        (137, "exit code 137"),
        (-15, "killed by SIGTERM"),
        (-9, "killed by SIGKILL, which is also how the kernel ends a process when memory runs out"),
        (-200, "killed by signal 200"),
    ],
)
def test_how_it_ended(code: int, words: str) -> None:
    assert how_it_ended(code) == words
