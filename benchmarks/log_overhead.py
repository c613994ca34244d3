"""What the stopwatch and the event log cost a training step: python benchmarks/log_overhead.py [PAIRS] [RANKS].

One rank: each batch of the smoke model is trained on twice, once by the loop as it is and once by the same loop with a
stopwatch and a log that do nothing, in an order drawn anew; the ratio is taken pair by pair.
RANKS ranks (4 if left out), each pattern: what `mlb bench --measure-overhead` does, on sequences of one length, so that
the steps of a pair differ in nothing but the measuring; and the size of the log they leave.
"""

import gzip
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import torch
from common import interval, machine
from mlb.aggregation.patterns import create
from mlb.datasets.prepare import prepare
from mlb.results.overhead import measuring_cost
from mlb.results.reader import read_rank
from mlb.results.run import RunFolder, RunSpec, write_json
from mlb.results.writer import EventLog
from mlb.runners.alignment import ClockExchange
from mlb.runners.group import ProcessGroup
from mlb.runners.loop import TrainingLoop
from mlb.runners.stopwatch import Step
from mlb.tasks.base import Batch, Setup
from mlb.tasks.recipe3a import RECIPES_3A
from mlb.tasks.task3a import Task3a

SPEC = RunSpec(
    run_id="r", task="task3a", goal="smoke", recipe="smoke", division="open", comparable=False, metric="m", target=0.0,
    target_is_upper_bound=True, max_epochs=1, max_steps=None, seed=1, dataset="synthetic", data_path="", data_origin="",
    best_possible=None, ranks=1, backend="gloo", threads_per_rank=1, fleet="local", created_unix_ns=0, argv=(),
    mlb_version="", git_revision="",
)  # fmt: skip


class NoStopwatch:
    """Takes no marks."""

    def begin(self, epoch_num: int, step: int, *, start: object = None) -> Step:
        return Step(epoch_num, step)

    def lap(self, phase: str) -> None: ...

    def end(self) -> int:
        return 0

    def finished(self, *, wait: bool = False) -> list[Step]:
        return []


def one_step(loop: TrainingLoop, batch: Batch) -> float:
    start = time.perf_counter()
    loop.step(1, iter([batch]))
    loop._write_steps(loop._watch.finished())
    return time.perf_counter() - start


def batches(task: Task3a) -> Iterator[Batch]:
    for epoch in count(1):
        yield from task.batches(epoch)


EQUAL_STEPS = replace(RECIPES_3A["smoke"], bptt_std=0.0, bptt_half_probability=0.0)


def rank_main(path: Path, data: Path) -> None:
    """One rank of a run that leaves half of its steps unmeasured."""
    torch.set_num_threads(1)
    folder = RunFolder(path)
    spec, group = folder.read_spec(), ProcessGroup.join("gloo")
    setup = Setup("smoke", "smoke", data, 1, group.rank, group.world_size, group.device, group.sum)
    torch.manual_seed(1)
    task = Task3a(setup, EQUAL_STEPS)
    log = EventLog(folder.rank_events(group.rank), rank=group.rank, local_rank=group.rank, world_size=group.world_size,
                   node=0, run_id=spec.run_id, launched_unix_ns=1)  # fmt: skip
    pattern = create(spec.aggregation, task.model, group.world_size)
    TrainingLoop(spec, task, pattern, log, group.device, ClockExchange(group)).run()
    log.close()
    group.leave()


def many_ranks(pattern: str, ranks: int, pairs: int, data: Path) -> Iterator[str]:
    """What measuring costs with this pattern, and how large the log is, in words."""
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path))
        folder.create()
        spec = replace(SPEC, ranks=ranks, max_steps=2 * pairs + 4, max_epochs=99, aggregation=pattern)
        write_json(folder.spec, replace(spec, measure_overhead=True))
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
        environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        command = [*launch, f"--nproc-per-node={ranks}", __file__, path, str(data)]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        cost = measuring_cost([read_rank(folder.rank_events(rank), rank) for rank in range(ranks)])
        assert cost is not None
        steps = [line for line in folder.rank_events(1).read_bytes().splitlines() if b'"key":"step"' in line]
        size = len(gzip.compress(b"\n".join(steps))) / len(steps)
        ratio = f"measured / bare: median {cost.ratio:.4f} (95 % {cost.low:.4f}-{cost.high:.4f}), n={cost.pairs} pairs"
        assert cost.cpu_ratio
        cpu = f"in processor time {cost.cpu_ratio:.4f} (95 % {cost.cpu_low:.4f}-{cost.cpu_high:.4f})"
        share = f"the log's thread is {100 * cost.log_thread_share:.3f} % of it"
        yield f"{ranks} ranks, {pattern}: {ratio}; {cpu}; {share}"
        yield f"{ranks} ranks, {pattern}: log {size / 1e3:.3f} MB for 1,000 steps and rank, gzip"


def main() -> None:
    if "RANK" in os.environ:
        rank_main(Path(sys.argv[1]), Path(sys.argv[2]))
        return
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    ranks = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = prepare("synthetic", vocabulary=8_000, data_dir=None, cache_dir=Path(folder))
        setup = Setup("smoke", "smoke", data.path, 1, 0, 1, torch.device("cpu"), lambda total: total)
        task = Task3a(setup)
        log = EventLog(Path(folder) / "log", rank=0, local_rank=0, world_size=1, node=0, run_id="r", launched_unix_ns=0)
        aggregation = create("allreduce", task.model, 1)
        measured, bare = (TrainingLoop(SPEC, task, aggregation, log, torch.device("cpu")) for _ in range(2))
        bare._watch = NoStopwatch()  # type: ignore[assignment]
        chance, ratios, steps = random.Random(1), [], []
        for batch in islice(batches(task), pairs):
            order = [measured, bare] if chance.random() < 0.5 else [bare, measured]
            seconds = {id(loop): one_step(loop, batch) for loop in order}
            ratios.append(seconds[id(measured)] / seconds[id(bare)])
            steps.append(seconds[id(bare)])
        log.close()
        median, low, high = interval(ratios)
        print(machine())
        print(f"a bare step: median {1e3 * statistics.median(steps):.1f} ms")
        print(
            f"one rank: measured / bare: median {median:.4f} (95 % {low:.4f}-{high:.4f}), n={pairs} pairs", flush=True
        )
        for pattern in ("allreduce", "ddp"):
            for line in many_ranks(pattern, ranks, pairs, data.path):
                print(line, flush=True)


if __name__ == "__main__":
    main()
