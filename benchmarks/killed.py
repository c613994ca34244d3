"""Runs that are killed mid-epoch and go on: python benchmarks/killed.py TASK... [--ranks 2] [--seed 42].

For each task its smoke goal twice: once left alone, once with its agent and its ranks killed (`kill -9`) between two of
its checkpoints and gone on with by `mlb bench --resume`. The losses of every step from the checkpoint on, the last
quality and the final weights (their SHA-256) must be the same to the bit. The exit code tells. Wants MLB_HOME.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from common import machine
from mlb.provisioner.runs import find
from mlb.results.log import LogTail, read_log
from mlb.results.run import RunFolder

STEPS = {"task1a": 50, "task1b": 20, "task2a": 50, "task3a": 100, "task4a": 40, "task4b": 40}
"""Between two checkpoints: a few of them in an epoch."""


def mlb(*arguments: str) -> dict[str, Any]:
    """What a command answers."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mlb", *arguments, "--json"], capture_output=True, text=True, check=False
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr + done.stdout
    return answer


def folder_of(answer: dict[str, Any]) -> RunFolder:
    if "path" in answer:  # of a run that goes on
        return RunFolder(Path(answer["path"]))
    return find(Path(os.environ["MLB_HOME"]) / "runs", answer["run_id"])


def steps_in(folder: RunFolder, ranks: int) -> list[dict[int, float]]:
    """Of each rank: step -> loss."""
    found = []
    for rank in range(ranks):
        events = read_log(folder.rank_events(rank)).events
        found.append({e.fields["step"]: e.fields["loss"] for e in events if e.key == "step"})
    return found


def facts_in(folder: RunFolder, ranks: int, key: str) -> list[Any]:
    return [
        (event.fields.get("epoch_num"), event.fields.get("split"), event.fields.get("value"))
        for rank in range(ranks)
        for event in read_log(folder.rank_events(rank)).events
        if event.key == key
    ]


def kill_at(folder: RunFolder, step: int) -> None:
    """End every process of the run as soon as rank 0 has logged that step."""
    tail = LogTail(folder.rank_events(0))
    while not any(event.key == "step" and event.fields["step"] >= step for event in tail.poll()):
        time.sleep(0.02)
    status = folder.read_status(0)
    assert status is not None
    for pid in (status.agent_pid, *status.rank_pids.values()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def one(task: str, ranks: int, seed: int) -> bool:
    every = STEPS[task]
    options = ("bench", task, "--goal", "smoke", "--ranks", str(ranks), "--seed", str(seed), "--checkpoint", str(every))
    whole = folder_of(mlb(*options))
    losses = steps_in(whole, ranks)
    cut = every * max(2, len(losses[0]) // (2 * every)) + every // 2
    killed = folder_of(mlb(*options, "--detach"))
    kill_at(killed, cut)
    rest = folder_of(mlb("bench", "--resume", killed.run_id))
    resumed = steps_in(rest, ranks)
    first = min(resumed[0])
    same = {
        "losses": [{s: x for s, x in rank.items() if s >= first} for rank in losses] == resumed,
        "qualities": facts_in(whole, ranks, "eval_accuracy")[-1] == facts_in(rest, ranks, "eval_accuracy")[-1],
        "weights": facts_in(whole, ranks, "parameter_digest") == facts_in(rest, ranks, "parameter_digest"),
    }
    words = ", ".join(f"{name} {'the same' if good else 'DIFFERENT'}" for name, good in same.items())
    print(f"{task}: {len(losses[0])} steps, killed at {cut}, gone on with at {first}: {words}", flush=True)
    return all(same.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="+", choices=list(STEPS))
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=42)
    given = parser.parse_args()
    print(machine())
    good = [one(task, given.ranks, given.seed) for task in given.tasks]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
