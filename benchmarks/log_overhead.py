"""What the stopwatch and the event log cost a training step: python benchmarks/log_overhead.py --help.

RANKS ranks in each pattern: what `mlb bench --measure-overhead` does, on sequences of one length, so that the steps of
a pair differ in nothing but the measuring; and the size of the log they leave. `ddp/torch` is the sceptic's control: of
each pair one step is a hand-written loop around torch's own DDP, without any comm hook, the other is all of mlb. Each
part is a line of a JSON lines file, which the same command goes on with: the pattern with the fewest pairs is next.
"""

import argparse
import gzip
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import append, interval, lines_of, machine
from mlb.aggregation.patterns import create
from mlb.datasets.prepare import prepare
from mlb.results import keys
from mlb.results.overhead import measuring_cost, pair_ratios
from mlb.results.reader import read_rank
from mlb.results.run import RunFolder, RunSpec, write_json
from mlb.results.writer import EventLog
from mlb.runners.alignment import ClockExchange
from mlb.runners.group import ProcessGroup
from mlb.runners.loop import TrainingLoop
from mlb.tasks.base import Batch, Setup
from mlb.tasks.recipe3a import RECIPES_3A
from mlb.tasks.task3a import Task3a
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

SPEC = RunSpec(
    run_id="r", task="task3a", goal="smoke", recipe="smoke", division="open", comparable=False, metric="m", target=0.0,
    target_is_upper_bound=True, max_epochs=1, max_steps=None, seed=1, dataset="synthetic", data_path="", data_origin="",
    best_possible=None, ranks=1, backend="gloo", threads_per_rank=1, fleet="local", created_unix_ns=0, argv=(),
    mlb_version="", git_revision="",
)  # fmt: skip

EQUAL_STEPS = replace(RECIPES_3A["smoke"], bptt_std=0.0, bptt_half_probability=0.0)
CONTROL = "ddp/torch"
WARM_UP = 6


def batches(task: Task3a) -> Iterator[Batch]:
    for epoch in count(1):
        yield from task.batches(epoch)


def rank_main(path: Path, data: Path, pattern: str) -> None:
    """One rank of a run that leaves half of its steps unmeasured."""
    torch.set_num_threads(1)
    folder = RunFolder(path)
    spec, group = folder.read_spec(), ProcessGroup.join("gloo")
    log = EventLog(folder.rank_events(group.rank), rank=group.rank, local_rank=group.rank, world_size=group.world_size,
                   node=0, run_id=spec.run_id, launched_unix_ns=1)  # fmt: skip

    def task() -> Task3a:
        torch.manual_seed(1)
        setup = Setup("smoke", "smoke", data, 1, group.rank, group.world_size, group.device, group.sum)
        return Task3a(setup, EQUAL_STEPS)

    mine = task()
    aggregation = create(spec.aggregation, mine.model, group.world_size)
    loop = TrainingLoop(spec, mine, aggregation, log, group.device, ClockExchange(group))
    if pattern == CONTROL:
        beside_torch(loop, mine, task(), log, spec.max_steps or 0)
    else:
        loop.run()
    aggregation.close()
    log.close()
    group.leave()


class Forward(nn.Module):
    """The task's forward pass as a module's."""

    def __init__(self, task: Task3a) -> None:
        super().__init__()
        self.model, self.task = task.model, task

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.task.forward(batch)


def plain_ddp(task: Task3a) -> Callable[[Batch], None]:
    """A step as one writes it with torch alone; like mlb it reads the loss."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        ddp = DistributedDataParallel(Forward(task), broadcast_buffers=False, gradient_as_bucket_view=True)

    def step(batch: Batch) -> None:
        objective, loss = ddp(task.to_device(batch))
        objective.backward()
        assert task.clip_norm is not None
        nn.utils.clip_grad_norm_(task.model.parameters(), task.clip_norm)
        task.optimise()
        float(loss)

    return step


def beside_torch(loop: TrainingLoop, mine: Task3a, other: Task3a, log: EventLog, steps: int) -> None:
    """Pairs of a step by mlb, its logging included, and one by torch alone, on equal batches, in a random order."""

    def measured(batch: Batch) -> None:
        loop.step(1, iter([batch]))
        loop._write_steps(loop._watch.finished())

    chance, found, times = random.Random(1), [], {}
    kinds = [("step", measured, batches(mine)), ("bare", plain_ddp(other), batches(other))]
    thread_ns = log.thread_ns()
    for number in range(steps // 2):
        for kind, run, given in kinds if chance.random() < 0.5 else kinds[::-1]:
            batch = next(given)
            start, cpu = time.perf_counter_ns(), time.process_time_ns()
            run(batch)
            times[f"{kind}_ns"], times[f"{kind}_cpu_ns"] = time.perf_counter_ns() - start, time.process_time_ns() - cpu
        if number >= WARM_UP:
            found.append({"step": 2 * number, **times, "bare_tokens": batch.tokens, "step_tokens": batch.tokens})
    for pair in found:
        log.event(keys.OVERHEAD_PAIR, **pair)
    log.event(keys.LOG_THREAD, cpu_ns=log.thread_ns() - thread_ns)


def measure(pattern: str, ranks: int, pairs: int, data: Path) -> dict[str, Any]:
    """A part: ratios of pairs, by time and by processor time, the log's thread added, and the log's megabytes."""
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path))
        folder.create()
        spec = replace(SPEC, ranks=ranks, max_steps=2 * pairs + 2 * WARM_UP, max_epochs=99)
        control = pattern == CONTROL
        write_json(folder.spec, replace(spec, aggregation=pattern.split("/")[0], measure_overhead=not control))
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
        environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        command = [*launch, f"--nproc-per-node={ranks}", __file__, "--rank", path, str(data), pattern]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            sys.exit(f"{pattern}: the ranks failed:\n{done.stdout.decode()[-6000:]}")
        records = [read_rank(folder.rank_events(rank), rank) for rank in range(ranks)]
        cost = measuring_cost(records)
        assert cost is not None
        lines = folder.rank_events(1 % ranks).read_bytes().splitlines(keepends=True)
        steps = [line for line in lines if b'"key":"step"' in line]
        times, cpu = (pair_ratios(of) for of in ([r.overhead_pairs for r in records],
                                                 [r.overhead_cpu_pairs for r in records]))  # fmt: skip
        tokens = [pair for record in records for pair in record.overhead_pairs.values()]
        return {
            "bare_ms": float(np.median([bare for bare, _ in tokens])) * records[0].all_steps.tokens
            / max(1, records[0].all_steps.steps) / 1e6,
            "log_thread": cost.log_thread_share,
            "log_mb": len(gzip.compress(b"".join(steps))) / len(steps) / 1e3,
            "time": [round(float(r) + cost.log_thread_share, 5) for r in times],
            "cpu": [round(float(r) + cost.log_thread_share, 5) for r in cpu],
        }  # fmt: skip


def row(pattern: str, found: list[dict[str, Any]]) -> str:
    """All parts of a pattern as one."""

    def percent(kind: str) -> str:
        middle, low, high = (100 * (value - 1) for value in interval([r for part in found for r in part[kind]]))
        return f"{middle:+7.2f} ({low:+.2f} to {high:+.2f})".ljust(26)

    def median(name: str) -> float:
        return float(np.median([part[name] for part in found]))

    pairs = sum(len(part["time"]) for part in found)
    return (
        f"{pattern:<16}{pairs:>6}{median('bare_ms'):>12.1f}  {percent('time')}{percent('cpu')}"
        f"{100 * median('log_thread'):>8.3f}{median('log_mb'):>10.3f}"
    )


def main() -> None:
    if sys.argv[1:2] == ["--rank"]:
        rank_main(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    patterns = ["allreduce", "ddp", CONTROL, "powersgd", "topk", "zero1", "fsdp"]
    parser.add_argument("--patterns", nargs="+", default=patterns, help=f"of mlb, or {CONTROL}")
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=300, help="in a part")
    parser.add_argument("--parts", type=int, default=7, help="how many more to measure")
    parser.add_argument("--file", type=Path, default=Path("log_overhead.jsonl"))
    given = parser.parse_args()

    def parts(pattern: str) -> list[dict[str, Any]]:
        return [line for line in lines_of(given.file) if (line["pattern"], line["ranks"]) == (pattern, given.ranks)]

    with tempfile.TemporaryDirectory() as cache:
        data = prepare("synthetic", vocabulary=8_000, data_dir=None, cache_dir=Path(cache)).path
        for _ in range(given.parts):
            pattern = min(given.patterns, key=lambda name: sum(len(part["time"]) for part in parts(name)))
            found = measure(pattern, given.ranks, given.pairs, data)
            append(given.file, {"pattern": pattern, "ranks": given.ranks, "machine": machine(), **found})
    print(machine())
    print(f"{'pattern':<16}{'pairs':>6}{'bare, ms':>12}  {'measured, % (95 %)':<26}{'processor, % (95 %)':<26}"
          f"{'log thr.':>8}{'log, MB':>10}")  # fmt: skip
    for pattern in given.patterns:
        if found := parts(pattern):
            print(row(pattern, found))


if __name__ == "__main__":
    main()
