"""`mlb report` and `mlb compare` as commands: files written whole or not at all, refusals that say what to do."""

import csv
import io
import json
from pathlib import Path

import pytest
from stories import Run, Story, small_run
from support import Mlb


@pytest.fixture
def mlb(mlb_home: Path, tmp_path: Path) -> Mlb:
    return Mlb(mlb_home, tmp_path)


def group(path: Path, name: str, times_s: tuple[float, ...], **spec: object) -> list[str]:
    """Runs that reach their goal after so many seconds."""
    paths = []
    for i, seconds in enumerate(times_s):
        run_id = f"{name}-{i}"
        story = Story(0, run_id=run_id).start().event("run_start").step(*[int(seconds * 1e9 / 7)] * 7)
        story.evaluate(250.0, 1_000_000).event("run_stop", status="success", reason="goal").stop()
        run = Run(path, **{"run_id": run_id, "ranks": 1, "seed": i, **spec}).tell(story).node()
        paths.append(str(run.folder.path))
    return paths


def test_html_csv_and_pictures(mlb: Mlb, tmp_path: Path) -> None:
    run = str(small_run(tmp_path).folder.path)
    done = mlb("report", run, "--html", "out/report.html", "--csv", "runs.csv", "--svg", "pictures")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "wrote out/report.html" in done.stderr
    assert (tmp_path / "out/report.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "pictures/quality.svg").exists()
    row = next(csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_text())))
    assert row["time_to_target_s"] == "5.22"  # 10 steps of 0.44 s, 2 evaluations of 0.4 s, 2 pauses of 0.01 s
    assert row["comparable"] == "false"
    assert mlb("report", run, "--csv", "-").stdout == (tmp_path / "runs.csv").read_text()


def test_a_run_whose_processes_are_gone_is_not_going_on(mlb: Mlb, tmp_path: Path) -> None:
    story = Story(0).start().event("run_start").step(1, 1, 1, 1, 1, 1, 1)
    run = str(Run(tmp_path, ranks=1).tell(story).node(state="running", agent_pid=2**22 + 1).folder.path)
    assert mlb.json("bench", "status", run)["state"] == "lost"
    assert "Incomplete in epoch 1" in mlb("report", run).stdout
    assert "the run is incomplete" in mlb("report", run).stdout.casefold()
    assert mlb("report", run, "--html", "page.html").returncode == 0
    assert "Incomplete in epoch 1" in (tmp_path / "page.html").read_text()
    faults = json.loads(mlb("verify", run, "--json").stdout)["runs"][0]["faults"]
    assert "The run is not over." not in faults


@pytest.mark.parametrize("other", [{"run_id": "b-run"}, {"rank": 3}])
def test_a_log_of_another_run_or_rank_ends_with_12_behind_the_report(
    mlb: Mlb, tmp_path: Path, other: dict[str, str | int]
) -> None:
    run = small_run(tmp_path)
    assert mlb("report", str(run.folder.path)).returncode == 0
    run.write(1, Story(**{"rank": 1, **other}).start().event("run_start").step(1, 1, 1, 1, 1, 1, 1).stop().bytes)
    done = mlb("report", str(run.folder.path))
    assert done.returncode == 12
    assert "the folder mixes runs" in done.stdout
    answer = mlb("report", str(run.folder.path), "--json")
    assert (answer.returncode, json.loads(answer.stdout)["run_id"]) == (12, "a-run")
    assert mlb("report", str(run.folder.path), "--html", "page.html").returncode == 12
    assert (tmp_path / "page.html").exists()


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_no_cell_is_a_formula(mlb: Mlb, tmp_path: Path, start: str) -> None:
    text = start + "cmd|' /C calc'!A0,\"\n=2"
    run = Run(tmp_path, ranks=1, fleet=text, git_revision=text).tell(Story(0, host=text).start().stop())
    cells = next(csv.DictReader(io.StringIO(mlb("report", str(run.folder.path), "--csv", "-").stdout)))
    for name in ("fleet", "git_revision", "hosts"):
        assert cells[name].startswith("'" + start)
    assert not [cell for cell in cells.values() if cell.startswith((start, "="))]


def test_a_file_that_cannot_be_written(mlb: Mlb, tmp_path: Path) -> None:
    run = str(small_run(tmp_path).folder.path)
    (tmp_path / "file").write_text("kept")
    done = mlb("report", run, "--html", "file/report.html")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert (tmp_path / "file").read_text() == "kept"


def test_a_clear_difference_has_a_winner(mlb: Mlb, tmp_path: Path) -> None:
    runs = [*group(tmp_path, "slow", (10, 11, 12, 13)), *group(tmp_path, "fast", (5, 5.5, 6, 6.5), backend="nccl")]
    done = mlb("compare", *runs)
    assert done.returncode == 0, done.stderr
    assert "B is faster than A to the target" in done.stdout
    assert done.stdout.index("Differences of configuration") < done.stdout.index("Groups")
    answer = mlb.json("compare", *runs)
    assert answer["differences"] == {"backend": ["gloo", "nccl"]}
    assert answer["pairs"][0]["time_to_target"]["decided"] is True
    assert answer["pairs"][0]["time_to_target"]["ratio"] == pytest.approx(0.5, rel=0.01)


def test_inside_noise_nobody_wins(mlb: Mlb, tmp_path: Path) -> None:
    runs = [*group(tmp_path, "a", (10, 12, 14, 16)), *group(tmp_path, "b", (10.5, 12.5, 13.5, 16), backend="nccl")]
    out = mlb("compare", *runs).stdout
    assert "No winner" in out
    assert "faster" not in out
    assert "runs of each would show" in out
    three = mlb("compare", *runs[:2], *runs[4:6]).stdout
    assert "fewer than 3 runs" in three


def test_kinds_are_not_mixed_unless_asked(mlb: Mlb, tmp_path: Path) -> None:
    smoke = group(tmp_path, "smoke", (10, 11, 12, 13))
    closed = group(tmp_path, "closed", (5, 5, 5, 5.1), recipe="reference", division="closed", comparable=True)
    done = mlb("compare", *smoke, *closed)
    assert done.returncode == 2
    assert "divisions differ" in done.stderr
    assert "--mixed" in done.stderr
    asked = mlb("compare", *smoke, *closed, "--mixed")
    assert asked.returncode == 0
    assert asked.stdout.startswith("MIXED, not a valid comparison")
    assert "faster" not in asked.stdout
    html = mlb("report", *smoke, *closed, "--mixed", "--html", "mixed.html")
    assert html.returncode == 0
    assert "MIXED" in (tmp_path / "mixed.html").read_text()
    assert mlb("report", *smoke, *closed, "--html", "not.html").returncode == 2
    assert not (tmp_path / "not.html").exists()


def test_other_tasks_are_never_compared(mlb: Mlb, tmp_path: Path) -> None:
    runs = [*group(tmp_path, "a", (10,)), *group(tmp_path, "b", (10,), task="task1a")]
    done = mlb("compare", *runs, "--mixed")
    assert done.returncode == 2
    assert "task1a, task3a" in done.stderr


def test_failures_are_shown_and_not_averaged(mlb: Mlb, tmp_path: Path) -> None:
    runs = group(tmp_path, "a", (10, 11, 12))
    broken = Run(tmp_path, run_id="broken", ranks=1, seed=9).tell(Story(0, run_id="broken").start().stop())
    broken.node(state="failed", message="gone")
    answer = mlb.json("compare", *runs, str(broken.folder.path))
    (only,) = answer["groups"]
    assert len(only["runs"]) == 4
    assert len(only["time_to_target_s"]["values"]) == 3
    assert any("broke off" in warning for warning in answer["warnings"])


def test_a_seed_used_twice_is_said(mlb: Mlb, tmp_path: Path) -> None:
    runs = [*group(tmp_path, "a", (10,)), *group(tmp_path, "b", (11,))]
    assert any("seed 0" in warning for warning in mlb.json("compare", *runs)["warnings"])


def test_grouping_by_a_word(mlb: Mlb, tmp_path: Path) -> None:
    runs = [
        *group(tmp_path, "a", (10, 11, 12)),
        *group(tmp_path, "b", (11,), git_revision="fff"),
        *group(tmp_path, "c", (5, 5.5, 6), backend="nccl"),
    ]
    answer = mlb.json("compare", *runs, "--by", "backend")
    assert [len(one["runs"]) for one in answer["groups"]] == [4, 3]
    assert answer["differences"]["git_revision"] == ["0123abc | fff", "0123abc"]
    wrong = mlb("compare", *runs, "--by", "backed")
    assert wrong.returncode == 2
    assert "Did you mean 'backend'?" in wrong.stderr


def test_one_run_named_twice_is_one_run(mlb: Mlb, tmp_path: Path) -> None:
    (run,) = group(tmp_path, "a", (10,))
    assert len(mlb.json("compare", run, run)["groups"][0]["runs"]) == 1
    assert json.loads(mlb("report", run, run, "--json").stdout)["run_id"] == "a-0"
