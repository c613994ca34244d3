"""Communication of real runs: told apart, adding up, measured at a known cost, written for other tools."""

import json
from pathlib import Path

import pytest
from support import Mlb

pytestmark = pytest.mark.system

RUN = ("bench", "task3a", "--goal", "smoke", "--data", "synthetic", "--steps", "12")


@pytest.mark.parametrize("pattern", ["allreduce", "ddp"])
def test_every_step_of_a_real_run_adds_up(mlb: Mlb, tmp_path: Path, pattern: str) -> None:
    done = mlb(*RUN, "--aggregation", pattern)
    assert done.returncode == 0, done.stderr
    assert "Waited for" in done.stdout
    report = mlb.json("report")
    assert report["aggregation"] == pattern
    assert report["consistency"]["parameters_equal"] is True
    found = report["communication"]
    assert found["method"] == "aligned clocks"
    assert (found["joined_steps"], found["measured_steps"]) == (12, 9)
    assert found["worst_residual"] <= 0.01
    for rank in found["ranks"]:
        assert sum(rank["parts_ms"].values()) == pytest.approx(rank["step_ms"], rel=1e-6)
    for rank, wall in zip(found["ranks"], report["time"]["ranks"], strict=True):
        exposed_s = sum(rank["exposed_ns"].values()) / 1e9
        assert 0 < exposed_s <= wall["seconds"]["communication"]
        broadcast_s = wall["collectives_outside_steps_s"]["startup"]
        assert 0 < broadcast_s <= wall["seconds"]["startup"]
    assert report["resources"][0]["samples"] >= 2

    trace, table = tmp_path / "t.json", tmp_path / "t.parquet"
    assert mlb("report", "--trace", str(trace), "--parquet", str(table)).returncode == 0
    events = json.loads(trace.read_text())["traceEvents"]
    assert {event["pid"] for event in events if event["name"] == "step 11"} == {0, 1}
    assert table.stat().st_size > 0


def test_a_run_says_what_measuring_it_costs(mlb: Mlb) -> None:
    done = mlb(*RUN, "--measure-overhead")
    assert done.returncode == 0, done.stderr
    assert "Measuring costs" in done.stdout
    report = mlb.json("report")
    assert report["measuring_cost"]["pairs"] == 4
    for rank in report["time"]["ranks"]:
        assert abs(rank["unaccounted_percent"]) <= 1.0, "steps that are not measured have a name too"


def test_logs_of_another_run_end_with_12(mlb: Mlb) -> None:
    for _ in range(2):
        assert mlb(*RUN[:-1], "2").returncode == 0
    first, second = sorted((mlb.home / "runs").iterdir())
    for rank in range(2):
        name = f"events/rank-0000{rank}.jsonl"
        (second / name).write_bytes((first / name).read_bytes())
    refused = mlb("report", second.name)
    assert refused.returncode == 12
    assert f"The logs in its folder are of {first.name}." in refused.stderr
    assert "Traceback" not in refused.stderr
