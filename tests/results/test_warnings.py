"""What a report warns of: damaged logs, ranks that differ, clocks that jump, time astray, hostile text."""

import re
from pathlib import Path
from typing import Any

import pytest
from mlb.errors import ResultsInvalid
from mlb.results.metrics import compute
from mlb.results.report import to_markdown, to_text
from mlb.results.run import write_json

MS = 1_000_000
S = 1000 * MS


def warnings(run: Any) -> list[str]:
    metrics = compute(run.folder)
    # Whatever is wrong with a run, its report can be made.
    assert to_text(metrics)
    assert to_markdown(metrics)
    return [warning for warning in metrics.warnings if "smoke" not in warning]


def test_damage_is_said(story: Any, run_at: Any, tmp_path: Path) -> None:
    tale = story().start()
    tale.event("step", step=1).event("eval_accuracy", value=None).event("stage", name=3, start_ns=1, duration_ns=1)
    lines = tale.stage("import", S).stage("model", S).stop().lines
    data = b"".join([*lines[:4], b"?\n", lines[4], lines[4], *lines[6:], b"torn"])
    said = warnings(run_at(tmp_path, ranks=1).write(0, data).node())
    for words in (
        "1 corrupt line in the log of rank 0.",
        "1 torn line in the log of rank 0.",
        "1 repeated or misplaced line in the log of rank 0.",
        "3 events without the fields of its kind in the log of rank 0: left out.",
    ):
        assert words in said


def test_lost_lines_are_said(story: Any, run_at: Any, tmp_path: Path) -> None:
    lines = story().start().stage("a", 1).stage("b", 1).stop().lines
    assert "2 lost lines in the log of rank 0." in warnings(run_at(tmp_path, ranks=1).write(0, lines[0] + lines[3]))


def test_missing_ranks_are_said(story: Any, run_at: Any, tmp_path: Path) -> None:
    said = warnings(run_at(tmp_path, ranks=6).tell(story(0).start().stop(), story(4).start().stop()).node())
    assert "No log of ranks 1-3, 5: their time, steps and results are not in this report." in said


def test_ranks_that_differ_are_said(story: Any, run_at: Any, tmp_path: Path) -> None:
    run = run_at(tmp_path)
    for rank in range(2):
        tale = story(rank).start().evaluate(290.0 + rank, S).event("parameter_digest", value=f"d{rank}")
        run.tell(tale.event("run_stop", status="success", reason=("goal", "epochs")[rank]).stop())
    said = warnings(run)
    assert "The ranks ended with different parameters: they did not train one model." in said
    assert "The ranks measured different qualities at the same evaluation." in said
    assert "The ranks do not agree on why the run ended: epochs, goal." in said
    metrics = compute(run.folder)
    assert (metrics.consistency.parameters_equal, metrics.consistency.evaluations_equal) == (False, False)


def test_nan_is_equal_to_nan_and_never_the_best(story: Any, run_at: Any, tmp_path: Path) -> None:
    run = run_at(tmp_path).tell(*(story(rank).start().evaluate(float("nan"), S).stop() for rank in range(2)))
    metrics = compute(run.folder)
    assert metrics.consistency.evaluations_equal is True
    assert metrics.quality.best is None
    assert metrics.to_json()["quality"]["final"]["value"] == "nan"
    assert to_text(metrics)


def test_what_one_rank_has_not_said_yet_is_not_known(story: Any, run_at: Any, tmp_path: Path) -> None:
    run = run_at(tmp_path).tell(
        story(0).start().evaluate(1.0, S).event("parameter_digest", value="d"), story(1).start()
    )
    consistency = compute(run.folder).consistency
    assert (consistency.parameters_equal, consistency.evaluations_equal) == (None, None)


@pytest.mark.parametrize(("step_ms", "said"), [(0, False), (50, False), (51, True), (-3_600_000, True)])
def test_a_wall_clock_that_was_set_is_said_and_moves_nothing(
    story: Any, run_at: Any, tmp_path: Path, step_ms: int, said: bool
) -> None:
    run = run_at(tmp_path, ranks=1).tell(story().start().stage("model", S).stop(clock_step_ns=step_ms * MS)).node()
    assert any("wall clock" in warning for warning in warnings(run)) == said
    assert compute(run.folder).split.wall_s == 1.0


def test_clocks_that_disagree_are_said(story: Any, run_at: Any, tmp_path: Path) -> None:
    run = run_at(tmp_path, ranks=1).tell(story().wait(-3 * S).start().stage("model", 5 * S).stop())
    said = "By its node's wall clock rank 0 began before the launch: the nodes' clocks disagree."
    assert said in warnings(run)
    (split,) = compute(run.folder).split.ranks
    assert (split.seconds("launch"), split.wall_ns, split.seconds("unaccounted")) == (-3.0, 2 * S, 0.0)


def test_time_that_does_not_add_up_is_said(story: Any, run_at: Any, tmp_path: Path) -> None:
    tale = story().start().stage("model", 9 * S).wait(S).event("run_stop", status="aborted", reason="epochs").stop()
    run = run_at(tmp_path, ranks=1).tell(tale)
    words = "The times of rank 0 do not add up to the wall time: 10.0 % of rank 0's is unaccounted, over 1 %."
    assert words in warnings(run)
    assert "over 1 % on rank 0" in to_text(compute(run.folder))


def test_time_that_is_claimed_twice_is_said(story: Any, run_at: Any, tmp_path: Path) -> None:
    tale = story().start().stage("model", 10 * S)
    tale.event("stage", name="inner", start_ns=tale.clock_ns - 2 * S, duration_ns=S)
    run = run_at(tmp_path, ranks=1).tell(tale.event("run_stop", status="aborted", reason="epochs").stop())
    assert "1.000 s of rank 0's time is claimed by two events." in warnings(run)
    assert compute(run.folder).split.ranks[0].adds_up is False


def test_phases_that_do_not_add_up_to_their_step_are_said(story: Any, run_at: Any, tmp_path: Path) -> None:
    tale = story().start().step(0, 0, S, 0, 0, 0, 0)
    tale.lines[1] = tale.lines[1].replace(b'"step_ns":1000000000', b'"step_ns":1500000000')
    run = run_at(tmp_path, ranks=1).tell(tale.stop())
    assert "1 step whose phases do not add up to it in the log of rank 0." in warnings(run)


def test_logs_of_another_run_are_said(story: Any, run_at: Any, tmp_path: Path) -> None:
    said = warnings(run_at(tmp_path, ranks=1).write(0, story(3, run_id="b-run").start().stop().bytes))
    assert "The log of rank 0 says that it is of rank 3 of run b-run: the folder mixes runs." in said


def test_a_log_without_its_start_is_left_out_of_the_split(story: Any, run_at: Any, tmp_path: Path) -> None:
    second = b"".join(story(1).start().evaluate(5.0, S).stop().lines[1:])
    run = run_at(tmp_path).tell(story(0).start().stage("model", S).stop()).write(1, second)
    assert "No log_start in the log of rank 1: it cannot be placed in time and is left out of the split." in warnings(
        run
    )
    assert [split.rank for split in compute(run.folder).split.ranks] == [0]


HOSTILE_STATUS = {
    "no JSON": "{",
    "an array": "[]",
    "missing fields": "{}",
    "unknown fields": '{"x":1}',
    "a state of a wrong type": '{"node":0,"state":1,"agent_pid":1,"agent_start_ticks":1,"started_unix_ns":1}',
    "pids of a wrong type": '{"node":0,"state":"failed","agent_pid":1,"agent_start_ticks":1,"started_unix_ns":1,'
    '"rank_pids":[]}',
    "a number beyond all": '{"node":0,"state":"failed","agent_pid":1,"agent_start_ticks":1,"started_unix_ns":1,'
    '"lost":[1e999]}',
    "an agent's pid that is a path": '{"node":0,"state":"running","agent_pid":"../tmp","agent_start_ticks":1,'
    '"started_unix_ns":1}',
    "failures of a wrong type": '{"node":0,"state":"failed","agent_pid":1,"agent_start_ticks":1,"started_unix_ns":1,'
    '"failures":5}',
    "an exit code of a wrong type": '{"node":0,"state":"failed","agent_pid":1,"agent_start_ticks":1,'
    '"started_unix_ns":1,"failures":[{"rank":0,"pid":1,"exit_code":"1","seen_unix_ns":1,"collateral":false,'
    '"message":"","last_lines":[]}]}',
}


@pytest.mark.parametrize("text", HOSTILE_STATUS.values(), ids=HOSTILE_STATUS.keys())
def test_a_broken_status_is_said(story: Any, run_at: Any, tmp_path: Path, text: str) -> None:
    run = run_at(tmp_path, ranks=1).tell(story().start().stop())
    run.folder.node_status(0).write_text(text)
    assert any(warning.startswith("The status of node 0") for warning in warnings(run))


def test_an_unknown_format_is_refused(story: Any, run_at: Any, tmp_path: Path) -> None:
    run = run_at(tmp_path, ranks=1).write(0, story().start(schema_version=2).bytes)
    with pytest.raises(ResultsInvalid, match="format 2"):
        compute(run.folder)


def test_remote_text_cannot_steer_the_terminal(story: Any, run_at: Any, tmp_path: Path) -> None:
    evil = "\x1b[2J\x9b31m\u202e\r\n| x | `<script>` [a](b)"
    run = run_at(tmp_path, ranks=1, data_origin=evil, metric=f"perplexity{evil}")
    tale = story(host=evil, run_id=evil).start().stage(evil, S).event("hyperparameter", name=evil, value=evil)
    tale.event("run_start").evaluate(5.0, S, split=evil).event("failure", kind=evil, message=evil, collateral=False)
    failure = {"rank": 0, "pid": 9, "exit_code": 1, "seen_unix_ns": 5, "collateral": False, "message": evil}
    failure["last_lines"] = [evil, "```", "# x"]
    run.tell(tale.stop()).node(state="failed", failures=[failure])
    metrics = compute(run.folder)
    for text in (to_text(metrics), to_markdown(metrics), str(metrics.to_json()["failure"])):
        assert not set(text) & {"\x1b", "\x9b", "\u202e", "\r"}
    # Indented lines are code, where nothing has a meaning; elsewhere every mark is escaped.
    spoken = [line for line in to_markdown(metrics).splitlines() if not line.startswith("    ")]
    assert not re.search(r"(?<!\\)[<`]", "\n".join(spoken))
    write_json(run.folder.metrics, metrics.to_json())
