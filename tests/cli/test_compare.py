"""`mlb compare --vary`: refused before the first run, resumed after a kill in the middle, failures kept."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlb.cli.estimate import estimate
from mlb.cli.request import Request, request_options
from mlb.cli.vary import axes_of, configurations_of
from mlb.errors import UsageError
from mlb.results.metrics import compute
from mlb.results.run import RunFolder, write_json
from stories import Run, Story
from support import Mlb, wait_for_steps, wait_until

NOTHING: dict[str, Any] = dict.fromkeys(request_options())
SMOKE = ("task3a", "--goal", "smoke", "--data", "synthetic")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--vary", "agregation=ddp"), ["no 'agregation' to vary", "Did you mean 'aggregation'", "set.NAME"]),
        (("--vary", "aggregation=allreduce,dpp"), ["aggregation=dpp", "Did you mean 'ddp'"]),
        (("--vary", "aggregation=ddp,ddp"), ["has 'ddp' twice"]),
        (("--vary", "aggregation=ddp,"), ["empty value"]),
        (("--vary", "aggregation"), ["not KEY=VALUE"]),
        (("--vary", "backend=gloo,carrier-pigeon"), ["carrier-pigeon", "gloo"]),
        (("--vary", "backend=gloo,nccl"), ["backend=nccl", "NVIDIA"]),
        (("--vary", "ranks=1,two"), ["ranks cannot be 'two'"]),
        (("--vary", "aggregation=allreduce,gossip:graph=torus"), ["torus", "2 ranks"]),
        (("--vary", "set.rate=1,2"), ["set.rate=1", "no hyperparameter 'rate'"]),
        (("--vary", "goal=smoke,full"), ["goal cannot be varied"]),
        (("--vary", "seed=1,2"), ["--repeat"]),
        (("--vary", "steps=2,3", "--steps", "4"), ["varied and set"]),
        (("--vary", "ranks=1,2", "--ranks", "2"), ["ranks is varied and set"]),
        (("--vary", "set.clip_norm=1,2", "--set", "clip_norm=3"), ["varied and set"]),
        (
            ("--vary", "backend=gloo,nccl", "--gpus", "2"),
            ["backend=gloo: --gpus 2 and --backend gloo exclude each other"],
        ),
        (("--vary", "ranks=1,4", "--gpus", "2"), ["ranks=1: --gpus 2 and --ranks 1 exclude each other", "--ranks 2"]),
        (("--vary", "set.clip_norm=1,1.0"), ["set.clip_norm=1 and set.clip_norm=1.0 are the same run"]),
        (("--vary", "backend=gloo,mpi", "--vary", "ranks=1,01"), ["01"]),
        (("--vary", "epochs=" + ",".join(map(str, range(1, 30)))), ["29 configurations are too many"]),
        (("--vary", "ranks=1,2", "--by", "ranks"), ["neither --by"]),
        (("--ranks", "2"), ["--ranks", "--vary KEY=VALUE"]),
    ],
)
def test_refused_before_anything_is_written(mlb: Mlb, arguments: tuple[str, ...], words: list[str]) -> None:
    done = mlb("compare", *(SMOKE if "--vary" in arguments else ("a-run",)), *arguments)
    assert done.returncode in {2, 3}, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr
    assert not (mlb.home / "runs").exists()
    assert not (mlb.home / "matrices").exists()


def test_a_dry_run_says_what_would_be_run_and_writes_nothing(mlb: Mlb) -> None:
    answer = mlb.json(
        "compare", *SMOKE, "--vary", "ranks=1,2", "--vary", "set.clip_norm=1,2", "--repeat", "2", "--dry-run"
    )
    assert answer["left"] == len(answer["runs"]) == 8
    clips = [(run["changes"]["ranks"], run["changes"]["set.clip_norm"], run["seed"]) for run in answer["runs"]]
    first, second = clips[:4], clips[4:]
    seed = clips[0][2]
    assert first == [(1, "1", seed), (1, "2", seed), (2, "1", seed), (2, "2", seed)]
    assert second == [(ranks, clip, seed + 1) for ranks, clip, _ in reversed(first)]
    assert answer["estimate"]["seconds"] is None
    assert not (mlb.home / "matrices").exists()


def test_every_combination_once() -> None:
    axes = axes_of(["ranks=1,2", "aggregation=ddp,powersgd:rank=4", "measure-overhead=yes"], NOTHING)
    assert axes == {"ranks": [1, 2], "aggregation": ["ddp", "powersgd:rank=4"], "measure_overhead": [True]}
    assert len(configurations_of(axes)) == 4
    with pytest.raises(UsageError, match="whole number"):
        axes_of(["nodes=0"], NOTHING)


def test_the_time_of_runs_is_that_of_those_most_like_them(mlb_home: Path) -> None:
    request = Request("task3a", goal="smoke", fleet="local", max_steps=5)
    assert estimate([request]).seconds is None
    for name, step_ms, more in (
        ("20250101-a", 100, {"aggregation": "ddp"}),
        ("20250102-b", 300, {"aggregation": "ddp"}),
        ("20250103-c", 900, {"aggregation": "sign"}),
        ("20250104-d", 9_000, {"aggregation": "ddp", "max_steps": 50}),
        ("20250105-e", 9_000, {"aggregation": "ddp", "fleet": "other"}),
        ("20250106-f", 20, {"aggregation": "ddp", "resumed_run": "20250102-b"}),
    ):
        story = Story(0, run_id=name).start().step(*[step_ms * 1_000_000 // 7] * 7)
        story.event("run_stop", status="aborted", reason="steps").stop()
        spec = {"run_id": name, "ranks": 1, "fleet": "local", "max_steps": 5, "dataset": "wikitext-2", **more}
        folder = Run(mlb_home / "runs", **spec).tell(story).node().folder
        write_json(folder.metrics, compute(folder).to_json())
    walls = {
        path.parent.name[-1]: json.loads(path.read_text())["time"]["wall_s"] for path in mlb_home.rglob("metrics*")
    }
    found = estimate([replace(request, aggregation="ddp"), replace(request, aggregation="sign")])
    assert found.seconds == pytest.approx((walls["a"] + walls["b"]) / 2 + walls["c"])
    assert (found.known, found.usd) == (2, 0.0)


def matrix_of(mlb: Mlb) -> dict[str, Any]:
    (path,) = mlb.home.glob("matrices/*/matrix.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def running(mlb: Mlb, place: int) -> RunFolder:
    """The run of a cell that was begun."""

    def begun() -> bool:
        found = list(mlb.home.glob("matrices/*/matrix.json"))
        return bool(found) and matrix_of(mlb)["cells"][place]["run_id"] != ""

    wait_until(begun, f"run {place} has begun", 240)
    return RunFolder(mlb.home / "runs" / matrix_of(mlb)["cells"][place]["run_id"])


@pytest.mark.system
def test_killed_in_the_middle_the_same_command_goes_on(mlb: Mlb, tmp_path: Path) -> None:
    """The command is killed in the second of four runs, then that run's agent and ranks: it is not counted."""
    command = ("compare", *SMOKE, "--vary", "aggregation=allreduce,ddp", "--repeat", "2", "--steps", "12")
    first = mlb.start(*command)
    half = running(mlb, 1)
    wait_for_steps(half, 3)
    first.kill()
    first.communicate()
    status = half.read_status(0)
    assert status is not None
    for pid in (status.agent_pid, *status.rank_pids.values()):
        os.kill(pid, signal.SIGKILL)
    assert [cell["state"] for cell in matrix_of(mlb)["cells"]] == ["succeeded", "", "", ""]
    kept = matrix_of(mlb)["cells"][0]["run_id"]

    done = mlb(*command, "--html", str(tmp_path / "page.html"), "--json")
    assert done.returncode == 0, done.stderr
    assert "1 of 4 runs are done" in done.stderr
    assert "3 runs of 4 to make" in done.stderr
    assert "is not counted, and made again" in done.stderr
    answer = json.loads(done.stdout)
    runs = [run["run"] for group in answer["groups"] for run in group["runs"]]
    assert len(runs) == len(set(runs)) == 4
    assert kept in runs
    assert half.run_id not in runs
    assert {group["label"] for group in answer["groups"]} == {"aggregation=allreduce", "aggregation=ddp"}
    assert all(len(group["measures"]["wire_mb"]["values"]) == 2 for group in answer["groups"])
    (effect,) = answer["effects"]
    assert (effect["key"], effect["first"], effect["second"], effect["pairs"]) == ("aggregation", "allreduce", "ddp", 2)
    assert "<!doctype html>" in (tmp_path / "page.html").read_text()

    again = mlb("compare", answer["matrix"])
    assert again.returncode == 0, again.stderr
    assert "What each change did" in again.stdout
    assert matrix_of(mlb)["shown"]
    plan = mlb.json(*command, "--dry-run")
    assert plan["left"] == 4  # one that was shown is over: the same command begins anew


@pytest.mark.system
def test_a_run_that_fails_is_kept_and_said(mlb: Mlb) -> None:
    command = ("compare", *SMOKE, "--vary", "aggregation=allreduce,ddp", "--repeat", "1", "--steps", "40")
    process = mlb.start(*command)
    doomed = running(mlb, 0)
    wait_for_steps(doomed, 3)
    status = doomed.read_status(0)
    assert status is not None
    os.kill(status.rank_pids[1], signal.SIGKILL)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 7, err
    assert "the run with seed" in out
    assert "failed" in out
    assert [cell["state"] for cell in matrix_of(mlb)["cells"]] == ["failed", "succeeded"]
