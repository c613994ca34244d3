"""One rank of truth.py: `python truth_rank.py FOLDER`, with the case in FOLDER/case.json.

The training loop, the stopwatch, the patterns and the log are mlb's own; only the task is made to order: its compute
is sleep, of which the truth is known, and its faults come at known steps.
"""

# ruff: noqa: E402  # the clock is bent before torch and mlb are imported
from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
case = json.loads((folder / "case.json").read_text())
true_ns = time.monotonic_ns
"""The one clock of this machine, which all ranks share and none of mlb's measuring uses."""

if str(rank) in case["clocks"]:
    # Before anything of mlb or torch is there to keep a reference to the true clock.
    shift_ns, ppm = case["clocks"][str(rank)]
    _zero = true_ns()
    time.monotonic_ns = lambda: (now := true_ns()) + shift_ns + int((now - _zero) * ppm / 1e6)

import torch
from mlb.aggregation.base import Aggregation
from mlb.aggregation.patterns import create
from mlb.results.run import RunFolder
from mlb.results.writer import EventLog
from mlb.runners.alignment import ClockExchange
from mlb.runners.group import ProcessGroup
from mlb.runners.loop import TrainingLoop
from mlb.tasks.base import Batch
from torch import Tensor, nn
from trained_only import TrainedOnly


class Layer(torch.autograd.Function):
    """A layer that computes for a while in backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, seconds: float) -> Tensor:
        ctx.seconds, ctx.gradient = seconds, torch.ones_like(weight)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        time.sleep(ctx.seconds)
        return gradient, ctx.gradient, None


class Arrival(torch.autograd.Function):
    """Notes when backward has come to its end."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ends_ns: list[int]) -> Tensor:
        ctx.ends_ns = ends_ns
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.ends_ns.append(true_ns())
        return gradient, None


class OrderedTask(TrainedOnly):
    """Sleeps for its compute, and longer where the case says so."""

    def __init__(self) -> None:
        layers, numbers = case["layers"], case["payload_bytes"] // 4
        self.model: nn.Module = nn.ParameterList(torch.zeros(max(1, numbers // layers)) for _ in range(layers))
        self.step = 0
        self.arrived_ns: list[int] = []
        """The end of each step's own work before its collective."""

    def fault(self, phase: str) -> None:
        """Sleep as long as the case has it for this rank, phase and step."""
        time.sleep(case["faults_ms"].get(f"{rank} {phase} {self.step % case['period']}", 0.0) / 1e3)

    def batches(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        while True:
            time.sleep(0.002)
            self.fault("input")
            yield Batch(1, 1, (torch.zeros(1),))

    def to_device(self, batch: Batch) -> Batch:
        return batch

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        time.sleep(case["forward_ms"] / 1e3)
        self.fault("forward")
        x = Arrival.apply(batch.tensors[0].requires_grad_(), self.arrived_ns)
        for weight in self.model.parameters():
            x = Layer.apply(x, weight, case["backward_ms"] / 1e3 / case["layers"])
        faulty = case["faults_ms"].get(f"{rank} backward {self.step % case['period']}", 0.0)
        # The last layer's backward is the first to run.
        return Layer.apply(x, torch.zeros(1), faulty / 1e3).sum(), torch.zeros(())

    def optimise(self) -> None:
        time.sleep(0.002)
        self.fault("optimiser")
        self.step += 1


class Silent(Aggregation):
    """The control: every rank for itself, no communication at all in odd steps where `off_in_odd_steps` is set."""

    def __init__(self, pattern: Any, task: OrderedTask) -> None:
        super().__init__(task.model, pattern.exchange)
        self.pattern, self.task = pattern, task
        self.overlaps = pattern.backward_ends_in == "communication"
        self.backward_ends_in = pattern.backward_ends_in

    def wrap(self, forward: Any) -> Any:
        inner = self.pattern.wrap(forward)

        def call(batch: Any) -> Any:
            if hasattr(inner, "require_backward_grad_sync"):
                inner.require_backward_grad_sync = self.task.step % 2 == 0
            return inner(batch)

        return call

    def reduce(self) -> int:
        return self.pattern.reduce() if self.task.step % 2 == 0 or self.overlaps else 0


def main() -> None:
    torch.set_num_threads(1)
    run = RunFolder(folder)
    spec = run.read_spec()
    group = ProcessGroup.join("gloo")
    log = EventLog(run.rank_events(rank), rank=rank, local_rank=0, world_size=group.world_size, node=rank,
                   run_id=spec.run_id, launched_unix_ns=spec.launched_unix_ns)  # fmt: skip
    task = OrderedTask()
    buckets = f":bucket_mb={case['bucket_mb']}" if case["bucket_mb"] else ""
    pattern: Any = create(spec.aggregation + buckets, task.model, group.world_size)
    if case["off_in_odd_steps"]:
        pattern = Silent(pattern, task)
    clocks = ClockExchange(group)
    TrainingLoop(spec, task, pattern, log, group.device, clocks).run()
    log.close()
    pattern.close()
    clocks.close()
    group.leave()
    (folder / f"arrived-{rank}.json").write_text(json.dumps(task.arrived_ns))


if __name__ == "__main__":
    main()
