"""What bringing the logs here while a run goes on costs its ranks: python benchmarks/pull_cost.py [PAIRS] [RANKS].

A run on one node (a network namespace with an SSH server; needs root), in turns of eight seconds followed by
`mlb bench attach` and left alone, in an order drawn anew for each pair; the ratio of the mean steps is taken pair by
pair. The command itself runs on the same machine here, and needs a core of its own: RANKS (1) leaves it one of two.
Beside it, the processor time that the node's SSH server and all that it started took for a second of being followed:
where no core is free, it is the ranks' loss.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from common import interval, machine
from mlb.results.log import read_log
from mlb.results.run import RunFolder

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from ssh_fleet import SshFleet, running_fleet

TURN_S, SETTLE_S = 8.0, 2.0
SMOKE = ("task3a", "--goal", "smoke", "--data", "synthetic", "--epochs", "9999", "--fleet", "t", "--detach")
ENDLESS = ("--set", "learning_rate=0")
"""Or it would meet its goal, and end."""


def main() -> None:
    """Print the ratio of a step that is pulled to one that is not, and the node's own processor time for it."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    ranks = sys.argv[2] if len(sys.argv) > 2 else "1"
    print(machine())
    with tempfile.TemporaryDirectory() as path, running_fleet(Path(path), 1) as fleet:
        home = Path(path)
        _mlb(home, "bench", *SMOKE, *ENDLESS, "--ranks", ranks).wait()
        folder = RunFolder(next((home / "runs").iterdir()))
        there = fleet.home(fleet.fleet.nodes[0].name) / ".mlb" / "runs" / folder.run_id
        try:
            while len(_steps(RunFolder(there))) < 10:
                time.sleep(0.5)
            turns = [_pair(home, fleet) for _ in range(pairs)]
        finally:
            _mlb(home, "bench", "stop").wait()
        steps = _steps(RunFolder(there))
    ratios = [_mean(steps, followed[:2]) / _mean(steps, alone) for followed, alone in turns]
    bare = statistics.median(_mean(steps, alone) for _, alone in turns)
    median, low, high = interval(ratios)
    print(f"a step left alone: {bare:.1f} ms; followed / alone: {median:.4f} (95 % {low:.4f}-{high:.4f}), n={pairs}")
    median, low, high = interval([100 * followed[2] / TURN_S for followed, _ in turns])
    print(f"the node's work for it: {median:.2f} % of one core (95 % {low:.2f}-{high:.2f}), at a lower priority")


def _pair(home: Path, fleet: SshFleet) -> tuple[tuple[int, int, float], tuple[int, int]]:
    """Two turns: when the followed one began and ended and what it cost the node; when the other did."""
    followed, alone = (0, 0, 0.0), (0, 0)
    for follow in random.sample((True, False), 2):
        if not follow:
            alone = _turn()
            continue
        before, command = _server_s(fleet), _mlb(home, "bench", "attach")
        try:
            begun, ended = _turn()
        finally:
            command.kill()
            command.wait()
        time.sleep(SETTLE_S)  # what a server's child took shows once that has ended
        followed = (begun, ended, (_server_s(fleet) - before) * TURN_S / (TURN_S + SETTLE_S))
    return followed, alone


def _turn() -> tuple[int, int]:
    time.sleep(SETTLE_S)
    begun = time.time_ns()
    time.sleep(TURN_S)
    return begun, time.time_ns()


def _server_s(fleet: SshFleet) -> float:
    """Processor seconds of the node's SSH server with all that it has waited for, and of those that go on.

    The run itself was started over SSH too, and is none of it.
    """
    outer = psutil.Process(fleet.hosts.processes[fleet.fleet.nodes[0].name].pid)
    server = next(one for one in outer.children(recursive=True) if "/usr/sbin/sshd" in " ".join(one.cmdline()))
    trees = [one for one in (server, *server.children(recursive=True)) if not _is_of_run(one)]
    return sum(sum(one.cpu_times()[:4]) for one in trees)


def _is_of_run(process: psutil.Process) -> bool:
    try:
        return any(process.cmdline().count(name) for name in ("mlb.runners.agent", "mlb.runners.worker"))
    except psutil.NoSuchProcess:
        return True


def _steps(folder: RunFolder) -> list[tuple[int, int]]:
    """Start by the wall clock and length of every step of rank 0, in nanoseconds."""
    if not folder.rank_events(0).exists():
        return []
    first, *events = read_log(folder.rank_events(0)).events
    offset = first.fields["unix_time_ns"] - first.time_ns
    return [(e.fields["start_ns"] + offset, e.fields["step_ns"]) for e in events if e.key == "step"]


def _mean(steps: list[tuple[int, int]], turn: tuple[int, int]) -> float:
    """Milliseconds of the mean step that began in a turn."""
    return statistics.mean(length for start, length in steps if turn[0] <= start < turn[1]) / 1e6


def _mlb(home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "mlb", *arguments]
    return subprocess.Popen(command, env=os.environ | {"MLB_HOME": str(home)}, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
