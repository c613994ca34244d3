"""mlb and torch.profiler on the same steps: python benchmarks/profiler.py [STEPS]. Task 3a, smoke, two gloo ranks.

Both look at the same training loop at the same time. The profiler's compute is the union of what it saw operators do in
a step; mlb's is forward, backward and optimiser, so mlb has the Python between two operators too: it is shown by name.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine
from log_overhead import SPEC
from mlb.aggregation.patterns import PATTERNS
from mlb.datasets.prepare import prepare
from mlb.results.breakdown import COMPUTE
from mlb.results.communication import communication_of
from mlb.results.intervals import union_ns
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


def rank_main(path: Path, data: Path) -> None:
    """One rank: train under the profiler, and print what it saw in each of mlb's steps."""
    torch.set_num_threads(1)
    folder = RunFolder(path)
    spec, group = folder.read_spec(), ProcessGroup.join("gloo")
    setup = Setup("smoke", "smoke", data, 1, group.rank, group.world_size, group.device, group.sum)
    torch.manual_seed(1)
    task = Task3a(setup)
    log = EventLog(folder.rank_events(group.rank), rank=group.rank, local_rank=group.rank, world_size=group.world_size,
                   node=0, run_id=spec.run_id, launched_unix_ns=1)  # fmt: skip
    pattern = PATTERNS[spec.aggregation](task.model, group.world_size)
    loop = TrainingLoop(spec, task, pattern, log, group.device, ClockExchange(group))
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        loop.run()
    log.close()
    steps = len(loop_steps(profiler))
    compute, communication = (sum_of(profiler, kind) / 1e6 for kind in (False, True))
    (path / f"profiler-{group.rank}").write_text(f"{compute} {communication} {steps}")
    group.leave()


def loop_steps(profiler: Any) -> list[Any]:
    """Steps as the profiler saw them: an optimiser's step each."""
    return [event for event in profiler.events() if event.name.startswith("Optimizer.step")]


def sum_of(profiler: Any, collectives: bool) -> float:
    """Nanoseconds in which an operator, or else a collective, was at work after the warm-up."""
    begin = loop_steps(profiler)[WARM_UP - 1].time_range.end
    spans = np.array([(e.time_range.start * 1e3, e.time_range.end * 1e3) for e in profiler.events()
                      if e.name.startswith(COLLECTIVES) == collectives and e.time_range.start >= begin
                      and not e.name.startswith("c10d::")], np.float64).astype(np.int64)  # fmt: skip
    return float(union_ns(spans[:, 0], spans[:, 1]))


def run(pattern: str, steps: int, data: Path) -> Iterator[str]:
    """Rows of the table for one pattern."""
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path))
        folder.create()
        spec = replace(SPEC, ranks=2, max_steps=steps, aggregation=pattern)
        write_json(folder.spec, spec)
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
        command = [*launch, "--nproc-per-node=2", __file__, path, str(data)]
        environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        _, found = communication_of(folder, spec)
        assert found is not None
        for rank in found.ranks:
            words = (folder.path / f"profiler-{rank.rank}").read_text().split()
            compute, communication = (float(word) / (int(words[2]) - WARM_UP) for word in words[:2])
            ours = sum(rank.parts_ms[part] for part in COMPUTE), rank.transfer_ms + rank.wait_ms
            for name, mlb, torchs in zip(("compute", "communication"), ours, (compute, communication), strict=True):
                more = 100 * (mlb / torchs - 1)
                yield f"{pattern:<10} {rank.rank:>4}  {name:<14} {mlb:>9.3f} {torchs:>9.3f} {more:>+7.2f}"


def main() -> None:
    if "RANK" in os.environ:
        rank_main(Path(sys.argv[1]), Path(sys.argv[2]))
        return
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    print(machine())
    print("pattern    rank  ms a step            mlb  profiler  mlb, %")
    with tempfile.TemporaryDirectory() as cache:
        data = prepare("synthetic", vocabulary=8_000, data_dir=None, cache_dir=Path(cache)).path
        for pattern in PATTERNS:
            for row in run(pattern, steps, data):
                print(row, flush=True)


if __name__ == "__main__":
    main()
