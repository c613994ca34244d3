"""mlb and torch.profiler on the same steps: python benchmarks/profiler.py [STEPS] [GOAL]. Task 3a, two gloo ranks.

Both look at the same training loop at the same time, and their times are brought onto one timeline. The profiler's
compute is the union of what it saw operators do, its communication that of gloo's own spans. Where the two differ, the
table says where the difference lies: moments that only one of the two counts.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from common import machine
from log_overhead import SPEC
from mlb.aggregation.patterns import create
from mlb.datasets.prepare import prepare
from mlb.results.columns import StepColumns
from mlb.results.reader import RankReader
from mlb.results.run import RunFolder, write_json
from mlb.results.writer import EventLog
from mlb.runners.alignment import ClockExchange
from mlb.runners.group import ProcessGroup
from mlb.runners.loop import TrainingLoop
from mlb.tasks.base import Setup
from mlb.tasks.task3a import Task3a
from torch.profiler import ProfilerActivity, profile

COLLECTIVES = ("gloo:", "nccl:")
WARM_UP = 3


def rank_main(path: Path, data: Path, goal: str) -> None:
    """One rank: train under the profiler, and leave what it saw."""
    torch.set_num_threads(1)
    folder = RunFolder(path)
    spec, group = folder.read_spec(), ProcessGroup.join("gloo")
    setup = Setup(goal, RECIPES[goal], data, 1, group.rank, group.world_size, group.device, group.sum)
    torch.manual_seed(1)
    task = Task3a(setup)
    log = EventLog(folder.rank_events(group.rank), rank=group.rank, local_rank=group.rank, world_size=group.world_size,
                   node=0, run_id=spec.run_id, launched_unix_ns=1)  # fmt: skip
    pattern = create(spec.aggregation, task.model, group.world_size)
    loop = TrainingLoop(spec, task, pattern, log, group.device, ClockExchange(group))
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        loop.run()
    log.close()
    kineto = profiler.profiler
    assert kineto is not None
    # The profiler speaks in Unix time, mlb's log in the monotonic clock.
    to_monotonic = time.monotonic_ns() - time.time_ns()
    for kind in (False, True):
        spans = [(e.start_ns(), e.end_ns()) for e in kineto.kineto_results.events()
                 if e.name().startswith(COLLECTIVES) == kind and not e.name().startswith("c10d::")]  # fmt: skip
        np.save(path / f"profiler-{group.rank}-{kind:d}.npy", np.array(spans, np.int64).reshape(-1, 2) + to_monotonic)
    group.leave()


@dataclass(frozen=True)
class Spans:
    """Moments on one timeline, as intervals that do not touch; shape (N, 2), nanoseconds."""

    edges: np.ndarray

    @classmethod
    def of(cls, start: np.ndarray, end: np.ndarray) -> "Spans":
        """The union of intervals."""
        order = np.argsort(start, kind="stable")
        start, reached = start[order], np.maximum.accumulate(end[order])
        first = np.concatenate([[True], start[1:] > reached[:-1]])[: len(start)]
        last = np.concatenate([first[1:], [True]])[: len(start)]
        return cls(np.stack([start[first], reached[last]], axis=1))

    @property
    def ns(self) -> float:
        return float((self.edges[:, 1] - self.edges[:, 0]).sum())

    def within(self, other: "Spans") -> "Spans":
        """What lies in both."""
        found = []
        for low, high in other.edges:
            a, b = np.searchsorted(self.edges[:, 1], low, "right"), np.searchsorted(self.edges[:, 0], high, "left")
            found.append(np.clip(self.edges[a:b], low, high))
        return Spans(np.concatenate(found) if found else np.zeros((0, 2), np.int64))


def phases_of(steps: StepColumns) -> dict[str, Spans]:
    """Where mlb's log has each part of its steps."""
    begin, whole = steps["start_ns"], steps["step_ns"]
    computing = begin + steps["input_ns"] + steps["host_to_device_ns"]
    blocked = begin[:, None] + np.stack([steps.blocked_start_ns[:, 0], steps.blocked_end_ns[:, -1]], axis=1)
    start, end = begin[:, None] + steps.arrival_ns, begin[:, None] + steps.end_ns
    there = (steps.arrival_ns >= 0) & (steps.end_ns >= 0)
    return {
        "compute": Spans.of(
            np.concatenate([computing, blocked[:, 1]]),
            np.concatenate([blocked[:, 0], blocked[:, 1] + steps["optimiser_ns"]]),
        ),
        "communication": Spans.of(start[there], end[there]),
        "steps": Spans.of(begin, begin + whole),
    }


def run(pattern: str, steps: int, data: Path, goal: str) -> Iterator[str]:
    """Rows of the table for one pattern."""
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path))
        folder.create()
        spec = replace(SPEC, ranks=2, max_steps=steps, aggregation=pattern)
        write_json(folder.spec, spec)
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
        command = [*launch, "--nproc-per-node=2", __file__, path, str(data), goal]
        environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        for rank in range(2):
            yield from rows(folder, rank, pattern)


def rows(folder: RunFolder, rank: int, pattern: str) -> Iterator[str]:
    """What the two say of one rank, per step."""
    reader = RankReader(folder.rank_events(rank), rank)
    while reader.more():
        pass
    steps = reader.steps()
    assert steps is not None
    steps = steps.take(slice(WARM_UP, None))
    ours = phases_of(steps)
    for kind, name in enumerate(("compute", "communication")):
        seen = np.load(folder.path / f"profiler-{rank}-{kind}.npy")
        theirs = Spans.of(seen[:, 0], seen[:, 1]).within(ours["steps"])
        both = theirs.within(ours[name]).ns
        mlb, torchs = ours[name].ns, theirs.ns
        per_step = [ns / len(steps) / 1e6 for ns in (mlb, torchs, mlb - both, torchs - both)]
        times = " ".join(f"{value:>9.3f}" for value in per_step)
        yield f"{pattern:<10} {rank:>4}  {name:<14} {times} {100 * (mlb / torchs - 1):>+7.2f}"
    yield f"{pattern:<10} {rank:>4}  {ends_of(steps, seen)}"


def ends_of(steps: StepColumns, spans: np.ndarray) -> str:
    """How far apart the two see the beginning and the end of the same collectives."""
    there = (steps.arrival_ns >= 0) & (steps.end_ns >= 0)
    begin, end = ((steps["start_ns"][:, None] + found)[there] for found in (steps.arrival_ns, steps.end_ns))
    spans = spans[np.argsort(spans[:, 0])]
    # mlb hands a collective over before gloo begins it: its span is the first that starts behind the arrival.
    place = np.minimum(np.searchsorted(spans[:, 0], begin), len(spans) - 1)
    before, after = (np.median(found) / 1e6 for found in (spans[place, 0] - begin, end - spans[place, 1]))
    return f"of one collective, median: handed over {before:.3f} ms before gloo's span, told {after:+.3f} ms after it"


RECIPES = {"smoke": "smoke", "light": "reference"}


def main() -> None:
    if "RANK" in os.environ:
        rank_main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
        return
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    goal = sys.argv[2] if len(sys.argv) > 2 else "smoke"
    print(machine())
    print("pattern    rank  ms a step            mlb  profiler  only mlb only prof  mlb, %")
    with tempfile.TemporaryDirectory() as cache:
        data = prepare("synthetic", vocabulary=8_000, data_dir=None, cache_dir=Path(cache)).path
        for pattern in ("allreduce", "ddp"):
            for row in run(pattern, steps, data, goal):
                print(row, flush=True)


if __name__ == "__main__":
    main()
