"""Running `mlb` as users do: a process of its own, its streams apart."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlb.results.log import LogTail
from mlb.results.run import RunFolder, RunSpec

DEADLINE_S = 90.0


class Mlb:
    """The command, in a home of its own."""

    def __init__(self, home: Path, cwd: Path) -> None:
        self.home, self.cwd = home, cwd
        drop = ("MLB_", "NO_COLOR", "CI")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(drop)} | {"MLB_HOME": str(home)}

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start it and go on."""
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "mlb", *arguments],
            cwd=self.cwd,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        process = self.start(*arguments, **env)
        out, err = process.communicate(timeout=DEADLINE_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def json(self, *arguments: str) -> dict[str, Any]:
        """Run it with --json; it must succeed, and print one object with a schema version."""
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        value: dict[str, Any] = json.loads(done.stdout)
        assert value["schema_version"] == 1
        return value

    def detached(self, *arguments: str) -> RunFolder:
        """Start a synthetic smoke run and let go of it."""
        answer = self.json("bench", "task3a", "--goal", "smoke", "--data", "synthetic", "--detach", *arguments)
        return RunFolder(Path(answer["path"]))


def need_module(module: str, extra: str) -> None:
    """Skip the tests of this file where an extra of mlb is not installed; fail where MLB_REQUIRE names the extra."""
    if find_spec(module) is None:
        reason = f"{module} is not installed: pip install 'mlb[{extra}]'"
        if {extra, "all"} & set(os.environ.get("MLB_REQUIRE", "").split(",")):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason, allow_module_level=True)


def processes_of(home: Path) -> list[psutil.Process]:
    """The processes that name something under `home` in their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = " ".join(process.info["cmdline"] or [])
        if f"{home}/" in command and process.info["status"] != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
            found.append(process)
    return found


def wait_until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Look until `condition` holds; fails with `what` when it does not within the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.02)


def wait_for_steps(folder: RunFolder, steps: int, rank: int = 0) -> None:
    """Wait until a rank has logged so many training steps."""
    tail, seen = LogTail(folder.rank_events(rank)), [0]

    def enough() -> bool:
        seen[0] += sum(event.key == "step" for event in tail.poll())
        return seen[0] >= steps

    wait_until(enough, f"{steps} steps of rank {rank} in {folder.path}")


def example_spec(**changes: Any) -> RunSpec:
    """A spec of no particular run, with some fields changed."""
    return replace(
        RunSpec(
            run_id="20260101T000000Z_task3a_local_abc123", task="task3a", goal="smoke", recipe="smoke", division="open",
            comparable=False, metric="validation perplexity", target=10.0, target_is_upper_bound=True, max_epochs=4,
            max_steps=None, seed=1, dataset="synthetic", data_path="/nowhere", data_origin="generated",
            best_possible=None, ranks=2, backend="gloo", threads_per_rank=1, fleet="local", created_unix_ns=1,
            argv=("mlb",), mlb_version="0", git_revision="",
        ),
        **changes,
    )  # fmt: skip
