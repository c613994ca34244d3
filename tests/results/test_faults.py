"""Logs that cannot be right: what is wrong is named, what can still be said is said, and nothing is guessed."""

from pathlib import Path
from typing import Any

import pytest
from mlb.errors import ResultsInvalid
from mlb.results.metrics import Metrics, compute

MS = 1_000_000
PHASES = (5 * MS, 1 * MS, 100 * MS, 200 * MS, 60 * MS, 30 * MS, 4 * MS)


def tale(story: Any, rank: int, steps: int = 6, *, late_ms: int = 0, synced: bool = True, run_id: str = "a-run") -> Any:
    """A rank of a run whose transfers take 60 ms; `late_ms` of its communication is waiting."""
    told = story(rank, clock_ns=(7 + 50 * rank) * 1000 * MS, run_id=run_id).start()
    if synced:
        told.sync()
    told.event("run_start")
    forward = PHASES[2] - late_ms * MS
    for _ in range(steps):
        told.step(*PHASES[:2], forward, PHASES[3], PHASES[4] + late_ms * MS, *PHASES[5:])
    return told


def ends(told: Any) -> Any:
    if any(b'"clock_sync"' in line for line in told.lines):
        told.sync()
    return told.event("run_stop", status="aborted", reason="steps").stop()


def about(metrics: Metrics, word: str) -> list[str]:
    return [warning for warning in metrics.warnings if word in warning]


def means(metrics: Metrics) -> list[tuple[float, float]]:
    """Transfer and waiting of each rank, in milliseconds."""
    assert metrics.communication is not None
    return [(rank.transfer_ms, rank.wait_ms) for rank in metrics.communication.ranks]


@pytest.fixture
def run(run_at: Any, tmp_path: Path) -> Any:
    return run_at(tmp_path, ranks=3, max_steps=6).node()


def test_sound_logs_give_no_warning_of_any_kind(run: Any, story: Any) -> None:
    metrics = compute(run.tell(*(ends(tale(story, rank, late_ms=20 * rank)) for rank in range(3))).folder)
    assert means(metrics) == [(60.0, 0.0), (60.0, 20.0), (60.0, 40.0)]
    assert [w for w in metrics.warnings if "smoke" not in w] == []


def test_logs_of_different_runs(run: Any, story: Any) -> None:
    stranger = tale(story, 1, run_id="another-run")
    metrics = compute(run.tell(ends(tale(story, 0)), ends(stranger), ends(tale(story, 2, late_ms=10))).folder)
    assert about(metrics, "the folder mixes runs")
    assert about(metrics, "The steps of rank 1 are not compared")
    assert means(metrics) == [(60.0, 0.0), (60.0, 10.0)], "rank 1's log takes no part"


def test_a_log_of_another_rank(run: Any, story: Any) -> None:
    run.tell(*(ends(tale(story, rank)) for rank in range(3)))
    run.folder.rank_events(1).write_bytes(run.folder.rank_events(2).read_bytes())
    metrics = compute(run.folder)
    assert about(metrics, "says that it is of rank 2")
    assert [rank.rank for rank in metrics.communication.ranks] == [0, 2]


def test_a_missing_rank(run: Any, story: Any) -> None:
    metrics = compute(run.tell(ends(tale(story, 0)), ends(tale(story, 2, late_ms=10))).folder)
    assert about(metrics, "No log of rank 1")
    assert about(metrics, "transfer is at most, and waiting at least, what is shown")
    assert means(metrics) == [(60.0, 0.0), (60.0, 10.0)]


def test_a_log_that_was_cut(run: Any, story: Any) -> None:
    run.tell(*(ends(tale(story, rank)) for rank in range(3)))
    path = run.folder.rank_events(2)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:6]) + b'{"key":"st')
    metrics = compute(run.folder)
    assert about(metrics, "The log of rank 2 was cut off")
    assert about(metrics, "rank 0 6, rank 1 6, rank 2 3); the 3 that all have are compared")
    assert metrics.communication is not None
    assert metrics.communication.reduction.health.joined == 3


def test_corrupt_lines_cost_their_steps_only(run: Any, story: Any) -> None:
    run.tell(*(ends(tale(story, rank)) for rank in range(3)))
    path = run.folder.rank_events(1)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[4] = b"\x00" * (len(lines[4]) - 1) + b"\n"
    lines[5] = lines[5].replace(b'"collective_end_ns":[', b'"collective_end_ns":["x",')
    path.write_bytes(b"".join(lines))
    metrics = compute(run.folder)
    assert about(metrics, "1 corrupt line in the log of rank 1")
    assert metrics.communication is not None
    assert metrics.communication.reduction.health.joined == 4
    assert metrics.communication.reduction.health.alone == 2
    assert means(metrics) == [(60.0, 0.0)] * 3


def test_collectives_that_do_not_match(run: Any, story: Any) -> None:
    run.tell(*(ends(tale(story, rank)) for rank in range(3)))
    path = run.folder.rank_events(1)
    path.write_bytes(path.read_bytes().replace(b'"collective_bytes":[4096]', b'"collective_bytes":[4092]', 2))
    metrics = compute(run.folder)
    assert about(metrics, "In 2 steps, the first of them step 0, the ranks logged different collectives")
    assert metrics.communication is not None
    assert metrics.communication.reduction.health.joined == 4


def test_a_collective_that_never_ended(run: Any, story: Any) -> None:
    run.tell(*(ends(tale(story, rank)) for rank in range(3)))
    path = run.folder.rank_events(0)
    path.write_bytes(path.read_bytes().replace(b'"collective_end_ns":[366000000]', b'"collective_end_ns":[null]', 1))
    metrics = compute(run.folder)
    assert about(metrics, "In 1 step a collective never ended")
    assert about(metrics, "different collectives") == []


def test_ranks_that_disagree_about_the_number_of_steps(run: Any, story: Any) -> None:
    metrics = compute(run.tell(*(ends(tale(story, rank, steps=6 - rank)) for rank in range(3))).folder)
    assert about(metrics, "do not agree on the number of steps (rank 0 6, rank 1 5, rank 2 4); the 4")


def test_steps_that_come_twice(run: Any, story: Any) -> None:
    told = tale(story, 1, steps=3)
    told.steps = 1
    told.step(*PHASES).step(*PHASES)
    metrics = compute(run.tell(ends(tale(story, 0, 3)), ends(told), ends(tale(story, 2, 3))).folder)
    assert about(metrics, "2 steps not in the order of their numbers")
    assert metrics.communication is not None
    assert metrics.communication.reduction.health.joined == 3


def test_a_clock_that_runs_backwards(run: Any, story: Any) -> None:
    told = tale(story, 1, steps=3)
    told.clock_ns -= 4000 * MS
    for _ in range(3):
        told.step(*PHASES)
    told.clock_ns += 4000 * MS
    metrics = compute(run.tell(ends(tale(story, 0)), ends(told), ends(tale(story, 2, late_ms=10))).folder)
    assert about(metrics, "The reason: the clock of rank 1 ran backwards at step 3.")
    assert means(metrics) == [(60.0, 0.0), (60.0, 0.0), (60.0, 10.0)], "the shortest duration is right here"


def test_a_clock_that_jumped_between_two_comparisons(run: Any, story: Any) -> None:
    told = ends(tale(story, 1))
    told.sync(offset_ns=-told.zero_ns + 900 * MS)
    metrics = compute(run.tell(ends(tale(story, 0)), told, ends(tale(story, 2, late_ms=10))).folder)
    assert about(metrics, "rank 1's clock cannot be trusted: it moved by")
    assert means(metrics) == [(60.0, 0.0), (60.0, 0.0), (60.0, 10.0)]


def test_no_comparison_of_clocks_says_why(run: Any, story: Any) -> None:
    told = tale(story, 1, synced=False).event("clock_sync", trouble="no connection\x1b[31m to compare clocks")
    metrics = compute(run.tell(ends(tale(story, 0)), told.stop(), ends(tale(story, 2, late_ms=10))).folder)
    assert about(metrics, "no comparison of clocks in the log of rank 1: no connection to compare clocks")
    assert means(metrics) == [(60.0, 0.0), (60.0, 0.0), (60.0, 10.0)]


def test_where_nothing_can_be_said_nothing_is_said(run: Any, story: Any) -> None:
    run.tell(*(ends(tale(story, rank, run_id="another-run")) for rank in range(3)))
    with pytest.raises(ResultsInvalid, match="none of its 3 ranks has a log of it") as caught:
        compute(run.folder).refuse_if_nothing_is_known()
    assert caught.value.exit_code == 12
    assert "another-run" in caught.value.why
    run.tell(ends(tale(story, 0)))
    compute(run.folder).refuse_if_nothing_is_known()
