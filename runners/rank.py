"""A rank's work from birth to end: process group, task, aggregation, training loop; start-up is logged by stages."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ..aggregation import patterns
from ..results import keys
from ..results.run import RunFolder, RunSpec
from ..results.writer import EventLog
from ..tasks import catalogue
from ..tasks.base import Setup, Task
from . import raw
from .alignment import ClockExchange
from .checkpoint import Checkpoints, resume
from .group import ProcessGroup
from .loop import TrainingLoop, log_stage
from .outside import OutsideSteps

_SHARED = (
    "run_id", "task", "goal", "recipe", "changes", "seed", "dataset", "batch_per_rank", "max_epochs", "max_steps",
    "target", "checkpoint_steps", "measure_overhead", "measure_every", "backend",
)  # fmt: skip
"""Of the spec: what decides a rank's work, so that ranks that differ in it would wait for each other in vain, or
average what does not belong together. The rate, the batch and the schedule are the recipe's, and its changes'."""


def run_rank(folder: RunFolder, spec: RunSpec, log: EventLog, born_ns: int) -> None:
    """Do everything this rank has to do.

    Args:
        born_ns: when the rank's process began, by its monotonic clock: the import of torch is billed from there.
    """
    log_stage(log, "import", born_ns)
    torch.set_num_threads(spec.threads_per_rank)
    start = time.monotonic_ns()
    group = ProcessGroup.join(spec.backend)
    clocks = ClockExchange(group)
    log_stage(log, "process_group", start)
    if spec.task == raw.TASK:
        raw.measure(spec, group, log)
    else:
        _train(folder, spec, group, clocks, log)
    clocks.close()
    # Only after success: with a peer gone, closing the group can block.
    group.leave()


def _train(folder: RunFolder, spec: RunSpec, group: ProcessGroup, clocks: ClockExchange, log: EventLog) -> None:
    start = time.monotonic_ns()
    group.outside = OutsideSteps(log, group.device)
    task = _create_task(spec, group)
    group.broadcast_from_first(task.model)
    draw_apart(spec.seed, group.rank)
    checkpoints = Checkpoints(folder, group.rank, group.world_size, spec.checkpoint_steps)
    position = None
    if spec.resume_from:
        position = resume(Path(spec.resume_from), task, group.rank, group.world_size)
    shared = {name: getattr(spec, name) for name in _SHARED}
    aggregation = patterns.create(spec.aggregation, task.model, group.world_size, shared)
    aggregation.exchange.outside = group.outside
    if group.rank == 0:
        _log_facts(log, spec, task)
    log_stage(log, "model", start)
    loop = TrainingLoop(spec, task, aggregation, log, group.device, clocks, checkpoints=checkpoints, start=position)
    loop.run()
    aggregation.close()


def draw_apart(seed: int, rank: int) -> None:
    """From here on every rank draws its own random numbers: dropout and augmentation must differ between ranks."""
    torch.manual_seed(seed * 1_000_003 + 1 + rank)


def _create_task(spec: RunSpec, group: ProcessGroup) -> Task:
    torch.manual_seed(spec.seed)
    module = importlib.import_module(catalogue.task(spec.task).module)
    create: Callable[[Setup], Task] = module.create
    return create(
        Setup(
            goal=spec.goal,
            recipe=spec.recipe,
            changes=spec.changes,
            data_path=Path(spec.data_path),
            seed=spec.seed,
            rank=group.rank,
            world_size=group.world_size,
            device=group.device,
            sum_over_ranks=group.sum,
            batch_per_rank=spec.batch_per_rank,
        )
    )


def _log_facts(log: EventLog, spec: RunSpec, task: Task) -> None:
    """What is run, in MLPerf's words where it has them."""
    log.event(keys.SEED, value=spec.seed)
    log.event(keys.PARAMETER_COUNT, value=sum(p.numel() for p in task.model.parameters()))
    if spec.best_possible is not None:
        log.event(keys.BEST_POSSIBLE, value=spec.best_possible, metric=spec.metric)
    for name, value in task.hyperparameters().items():
        if name in keys.MLPERF_HYPERPARAMETERS:
            log.event(name, value=value)
        else:
            log.event(keys.HYPERPARAMETER, name=name, value=value)
