"""Series of runs by their id: a scaling, repeats of one configuration; every form that a report has."""

import json
from pathlib import Path
from typing import Any

import pytest
from mlb.results.matrix import Cell, Matrix, write_matrix
from stories import paced_run, small_run
from support import Mlb


@pytest.fixture
def mlb(mlb_home: Path, tmp_path: Path) -> Mlb:
    return Mlb(mlb_home, tmp_path)


def series(mlb: Mlb, kind: str, sizes: tuple[int, ...], *, states: tuple[str, ...] = ("succeeded",) * 3) -> str:
    """Three repeats of each size; the state says how each repeat ended."""
    cells = []
    for ranks in sizes:
        for seed, state in enumerate(states):
            run_id = f"r{ranks}-{seed}"
            paced_run(mlb.home / "runs", run_id, ranks, 100 + seed, 10, steps=8, seed=seed, quality=(400, 200))
            changes: dict[str, Any] = {"nodes": ranks, "gpus": None} if kind == "scale" else {}
            cells.append(Cell(changes, seed, seed, run_id, state, "" if state == "succeeded" else "rank 0 died"))
    matrix = Matrix(f"20260101T000000Z_{kind}_task3a_x_abc", kind, {"mode": "weak"}, tuple(cells), True)
    write_matrix(mlb.home / "matrices" / matrix.matrix_id, matrix)
    return matrix.matrix_id


def test_a_scaling_series_in_every_form(mlb: Mlb, tmp_path: Path) -> None:
    name = series(mlb, "scale", (1, 2))
    done = mlb("report", name)
    assert done.returncode == 0, done.stderr
    assert "2 nodes against 1: 2 x the throughput (100 % hardware efficiency)" in done.stdout
    assert mlb("report", "abc", "--md").stdout.startswith("# task3a, goal smoke: weak scaling over 1, 2 nodes")
    answer = mlb.json("report", name)
    assert [point["nodes"] for point in answer["points"]] == [1, 2]
    assert answer["fit"]["law"]["contention"] >= 0
    done = mlb("report", name, "--html", "scale.html", "--svg", "svg", "--png", "png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "scale.html").read_text().startswith("<!doctype html>")
    assert {path.name for path in (tmp_path / "svg").iterdir()} >= {"speed-up.svg", "efficiency.svg"}
    assert (tmp_path / "png/speed-up.png").read_bytes().startswith(b"\x89PNG")


def test_repeats_show_every_run_and_what_a_claim_would_need(mlb: Mlb) -> None:
    name = series(mlb, "repeat", (1,), states=("succeeded", "succeeded", "succeeded", "failed"))
    text = mlb("report", name).stdout
    assert "A: the run with seed 3 failed: rank 0 died" in text
    assert "One configuration, 4 repeats: median time to target" in text
    assert "olympic mean" in text
    assert "interpolated s" in text
    assert "Time to target, a difference of" in text
    assert "5 %: 4 runs" in text


def test_a_series_of_which_no_run_has_all_of_its_logs_says_why(mlb: Mlb) -> None:
    name = series(mlb, "scale", (2,), states=("succeeded",))
    (mlb.home / "runs/r2-0/events/rank-00001.jsonl").unlink()
    done = mlb("report", name)
    assert done.returncode == 2
    assert f"No run of {name} may stand for its size." in done.stderr
    assert "r2-0: no whole log of rank 1" in done.stderr


def test_a_series_without_a_run_says_so(mlb: Mlb) -> None:
    name = "20260101T000000Z_scale_task3a_x_def"
    write_matrix(mlb.home / "matrices" / name, Matrix(name, "scale", {"mode": "weak"}, (Cell({"nodes": 1}, 0, 1),)))
    done = mlb("report", name, "--json")
    assert done.returncode == 2
    assert f"No run of {name} is over yet" in json.loads(done.stdout)["error"]["what"]


@pytest.mark.system
def test_a_scaling_is_run_and_shown(mlb: Mlb, tmp_path: Path) -> None:
    """One size is all that this machine has nodes for; several are in the tests of fleets."""
    options = ("--data", "synthetic", "--nodes", "1", "--ranks", "1", "--steps", "4")
    done = mlb("scale", "task3a", "--goal", "smoke", *options, "--html", "s.html")
    assert done.returncode == 0, done.stderr
    assert "1 node only: nothing to hold it against yet" in (tmp_path / "s.html").read_text()
    assert "again, and in other forms: mlb report" in done.stderr


def test_the_list_of_runs_is_safe_to_print(mlb: Mlb) -> None:
    small_run(mlb.home / "runs", task="\x1b[31mred\nline")
    listed = mlb("runs").stdout
    assert "\x1b" not in listed
    assert len(listed.splitlines()) == 4, "a title, the head, a rule, one run"
