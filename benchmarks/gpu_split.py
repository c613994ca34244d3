"""The split of a step on a GPU against the profiler's kernels: python benchmarks/gpu_split.py [STEPS]; needs one GPU.

A ResNet and an LSTM, each large enough to keep the device busy. The profiler's kernels are given to the phase whose
host code launched them, by the launch's own time on the host: nothing of mlb's events is used for it. "idle" is what
lies between a phase's first kernel and the next phase's first without any kernel: mlb's phases have it, kernels do not.
Then the cost of measuring, by pairs of measured and bare steps. Exit code 1 if a bound is missed.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import torch
from common import machine
from log_overhead import SPEC
from mlb.aggregation.base import Aggregation
from mlb.aggregation.exchange import Exchange
from mlb.models.awd_lstm import AWDLSTM, AWDLSTMConfig
from mlb.models.resnet_cifar import ResNetCIFAR, ResNetCIFARConfig
from mlb.results.overhead import measuring_cost
from mlb.results.reader import RankReader, read_rank
from mlb.results.writer import EventLog
from mlb.runners.loop import TrainingLoop
from mlb.tasks.base import Batch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from trained_only import TrainedOnly

PHASES = ("host_to_device", "forward", "backward", "optimiser")
WARM_UP = 10
BOUND_PERCENT, OVERHEAD_PERCENT = 3.0, 0.5
LAUNCHES = ("cudaLaunch", "cuLaunch", "cudaMemcpy", "cudaMemset")


class DeviceTask(TrainedOnly):
    """A model on batches of random numbers that come from pinned memory."""

    def __init__(self, model: nn.Module, batch: tuple[Tensor, ...], loss: Callable[..., Tensor], device: torch.device):
        self.model, self.loss, self.device = model.to(device), loss, device
        self.batch = tuple(tensor.pin_memory() if device.type == "cuda" else tensor for tensor in batch)
        self.optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def batches(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        for _ in count():
            yield Batch(len(self.batch[0]), len(self.batch[0]), self.batch)

    def to_device(self, batch: Batch) -> Batch:
        return replace(batch, tensors=tuple(t.to(self.device, non_blocking=True) for t in batch.tensors))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        objective = self.loss(self.model, *batch.tensors)
        return objective, objective.detach()

    def optimise(self) -> None:
        self.optimiser.step()
        self.optimiser.zero_grad()


def resnet(device: torch.device, small: bool) -> DeviceTask:
    images = 8 if small else 2048
    model = ResNetCIFAR(ResNetCIFARConfig(width=4 if small else 64))
    batch = torch.randn(images, 3, 32, 32), torch.randint(10, (images,))
    return DeviceTask(model, batch, lambda net, x, y: F.cross_entropy(net(x), y), device)


def lstm(device: torch.device, small: bool) -> DeviceTask:
    config = AWDLSTMConfig(vocabulary=100, embedding=8, hidden=12) if small else AWDLSTMConfig()
    columns, length = (2, 3) if small else (160, 70)
    model = AWDLSTM(config)
    words = torch.randint(config.vocabulary, (length + 1, columns))

    def loss(net: AWDLSTM, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(net.logits(net(x, net.initial_state(columns)).hidden_NE), y.flatten())

    return DeviceTask(model, (words[:-1].contiguous(), words[1:].contiguous()), loss, device)


TASKS = {"resnet": resnet, "lstm": lstm}


@dataclass(frozen=True)
class Kernels:
    """What the profiler saw: launches on the host and kernels on the device, joined by their number."""

    launched_ns: np.ndarray
    """Unix time, shape (N,)."""
    span_ns: np.ndarray
    """Begin and end on the device, shape (N, 2)."""


def train(task: DeviceTask, path: Path, steps: int, *, overhead: bool, laps: list[tuple[str, int]] | None) -> None:
    """Train under mlb's loop; with `laps`, write down the host's Unix time at the end of every phase."""
    log = EventLog(path, rank=0, local_rank=0, world_size=1, node=0, run_id="r", launched_unix_ns=1)
    spec = replace(SPEC, max_steps=steps, max_epochs=1, measure_overhead=overhead)
    loop = TrainingLoop(spec, task, Aggregation(task.model, Exchange(1)), log, task.device)
    if laps is not None:
        lap = loop._watch.lap

        def noted(phase: str) -> None:
            laps.append((phase, time.time_ns()))
            lap(phase)

        loop._watch.lap = noted  # type: ignore[method-assign]
    loop.run()
    log.close()


def kernels_of(profiler: profile) -> Kernels:
    """Kernels and copies with the launch that they belong to."""
    assert profiler.profiler is not None
    events = profiler.profiler.kineto_results.events()
    cpu = torch.autograd.DeviceType.CPU
    launches = {e.correlation_id(): e.start_ns() for e in events
                if e.device_type() == cpu and e.name().startswith(LAUNCHES)}  # fmt: skip
    found = [(launches[e.correlation_id()], e.start_ns(), e.end_ns()) for e in events
             if e.device_type() != cpu and e.correlation_id() in launches]  # fmt: skip
    table = np.array(sorted(found), np.int64).reshape(-1, 3)
    return Kernels(table[:, 0], table[:, 1:])


def by_phase(kernels: Kernels, laps: list[tuple[str, int]]) -> dict[str, tuple[float, float]]:
    """Phase -> milliseconds a step in kernels, and idle from its first kernel to the next phase's first.

    Args:
        laps: phase and host time at its end, in order; a kernel belongs to the first lap that ends after its launch.
    """
    ends = np.array([end for _, end in laps], np.int64)
    place = np.searchsorted(ends, kernels.launched_ns)
    first_steps = [n for n, (phase, _) in enumerate(laps) if phase == "input"]
    begin = first_steps[WARM_UP]
    busy, idle = dict.fromkeys(PHASES, 0.0), dict.fromkeys(PHASES, 0.0)
    spans = {n: kernels.span_ns[place == n] for n in range(begin, len(laps))}
    order = [n for n, found in spans.items() if len(found)]
    for n, after in pairwise(order):
        phase, (start, end) = laps[n][0], spans[n].T
        reached = np.maximum.accumulate(end)
        gaps = np.maximum(0, start[1:] - reached[:-1]).sum()
        if phase in busy:
            busy[phase] += (reached[-1] - start[0] - gaps) / 1e6
            idle[phase] += (gaps + max(0, spans[after][0, 0] - reached[-1])) / 1e6
    steps = len(first_steps) - WARM_UP
    return {phase: (busy[phase] / steps, idle[phase] / steps) for phase in PHASES}


def phases_of(path: Path) -> dict[str, float]:
    """Phase -> milliseconds a step by mlb's log."""
    reader = RankReader(path, 0)
    while reader.more():
        pass
    steps = reader.steps()
    assert steps is not None
    steps = steps.take(slice(WARM_UP, None))
    return {phase: float(steps[f"{phase}_ns"].mean()) / 1e6 for phase in PHASES}


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", 0) if on_gpu else torch.device("cpu")
    print(
        machine(), torch.cuda.get_device_name(0) if on_gpu else "NO GPU: a rehearsal, nothing is compared", flush=True
    )
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        for name, make in TASKS.items():
            task, laps = make(device, not on_gpu), list[tuple[str, int]]()
            train(task, Path(folder) / f"{name}-warm", WARM_UP, overhead=False, laps=None)
            with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA][: 1 + on_gpu]) as profiler:
                train(task, Path(folder) / name, steps, overhead=False, laps=laps)
            ours = phases_of(Path(folder) / name)
            theirs = by_phase(kernels_of(profiler), laps) if on_gpu else dict.fromkeys(PHASES, (0.0, 0.0))
            for phase in (*PHASES, "all"):
                mlb = sum(ours.values()) if phase == "all" else ours[phase]
                busy, idle = np.sum(list(theirs.values()), axis=0) if phase == "all" else theirs[phase]
                apart = 100 * (mlb / (busy + idle) - 1) if busy else 0.0
                missed = missed or (phase == "all" and abs(apart) > BOUND_PERCENT)
                times = f"mlb {mlb:9.3f} ms, kernels {busy:9.3f}, idle {idle:8.3f}"
                print(f"{name:<8}{phase:<16} {times}, mlb / both {apart:+6.2f} %")
            train(task, Path(folder) / f"{name}-cost", 10 * steps, overhead=True, laps=None)
            cost = measuring_cost([read_rank(Path(folder) / f"{name}-cost", 0)])
            assert cost is not None
            ratio, low, high = (100 * (value - 1) for value in (cost.ratio, cost.low, cost.high))
            missed = missed or (on_gpu and ratio > OVERHEAD_PERCENT)
            print(
                f"{name:<8}measuring costs {ratio:+.2f} % (95 % {low:+.2f} to {high:+.2f}), n={cost.pairs}", flush=True
            )
    sys.exit(missed)


if __name__ == "__main__":
    main()
