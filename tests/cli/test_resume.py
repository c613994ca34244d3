"""`mlb bench --resume`: a real run that is killed and goes on, and what cannot be resumed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from mlb.results.log import read_log
from mlb.results.run import RunFolder
from support import Mlb, wait_for_steps, wait_until


def events(folder: RunFolder, key: str) -> list[Any]:
    return [event for event in read_log(folder.rank_events(0)).events if event.key == key]


@pytest.mark.system
def test_a_real_run_that_is_killed_goes_on_to_the_same_weights(mlb: Mlb) -> None:
    """Two gloo ranks: one run to its end, one killed mid-epoch and resumed."""
    options = ("--seed", "5", "--checkpoint", "7", "--epochs", "1")
    whole = mlb.detached(*options)
    wait_until(lambda: mlb.json("bench", "status", whole.run_id)["state"] in {"succeeded", "failed"}, "its end", 240)
    killed = mlb.detached(*options)
    wait_for_steps(killed, 30)
    status = killed.read_status(0)
    assert status is not None
    for pid in status.rank_pids.values():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: mlb.json("bench", "status", killed.run_id)["state"] == "failed", "the agent has seen it", 60)
    assert killed.whole_checkpoints(2)
    answer = mlb.json("bench", "--resume", killed.run_id, "--detach")
    rest = RunFolder(Path(answer["path"]))
    wait_until(lambda: mlb.json("bench", "status", rest.run_id)["state"] in {"succeeded", "failed"}, "its end", 240)
    steps = {e.fields["step"]: e.fields["loss"] for e in events(whole, "step")}
    resumed = {e.fields["step"]: e.fields["loss"] for e in events(rest, "step")}
    assert min(resumed) % 7 == 0
    assert min(resumed) > 0
    assert max(resumed) == max(steps)
    assert resumed == {step: loss for step, loss in steps.items() if step >= min(resumed)}
    (digest,), (expected,) = events(rest, "parameter_digest"), events(whole, "parameter_digest")
    assert digest.fields["value"] == expected.fields["value"]
    done = mlb("report", rest.run_id)
    assert f"resumed from {killed.run_id}" in done.stdout


@pytest.mark.system
def test_what_cannot_be_resumed_says_so(mlb: Mlb) -> None:
    run = mlb.detached("--steps", "2")
    wait_until(lambda: mlb.json("bench", "status", run.run_id)["state"] == "succeeded", "its end", 240)
    for arguments, words in (
        ((), ["left no checkpoint to go on from", "--checkpoint STEPS"]),
        (("nosuch",), ["no run 'nosuch'"]),
    ):
        name = arguments[0] if arguments else run.run_id
        done = mlb("bench", "--resume", name)
        assert done.returncode in {2, 3}
        assert all(word in done.stderr for word in words), done.stderr
        assert "Traceback" not in done.stderr
    done = mlb("bench", "task1a", "--resume", run.run_id)
    assert (done.returncode, "is a run of task3a, not of task1a" in done.stderr) == (2, True)
    assert len(list((mlb.home / "runs").iterdir())) == 1
