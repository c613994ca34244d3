"""What the stopwatch and the event log cost a training step: python benchmarks/log_overhead.py [PAIRS].

Each batch of the smoke model is trained on twice, once by the loop as it is and once by the same loop with a
stopwatch and a log that do nothing, in an order drawn anew; the ratio is taken pair by pair. One rank, one thread.
"""

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import torch
from common import interval, machine
from mlb.aggregation.patterns import create
from mlb.datasets.prepare import prepare
from mlb.results.run import RunSpec
from mlb.results.writer import EventLog
from mlb.runners.loop import TrainingLoop
from mlb.runners.stopwatch import Step
from mlb.tasks.base import Batch, Setup
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


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 600
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
    print(f"measured / bare: median {median:.4f} (95 % {low:.4f}-{high:.4f}), n={pairs} pairs")


if __name__ == "__main__":
    main()
