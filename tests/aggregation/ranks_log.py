"""One rank that trains a small model with many patterns under mlb's own loop: `ranks_log.py OUT SPEC PATTERNS`."""

import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path

import torch
from mlb.aggregation.patterns import create
from mlb.results.run import RunFolder, RunSpec, write_json
from mlb.results.writer import EventLog
from mlb.runners.alignment import ClockExchange
from mlb.runners.group import ProcessGroup
from mlb.runners.loop import TrainingLoop
from mlb.tasks.base import Batch, Evaluation
from torch import Tensor
from training import Trainer, data, loss, net

warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
SPEC = RunSpec(**json.loads(sys.argv[2]))


class SmallTask:
    """The small training as a task."""

    metric = "nothing"
    clip_norm: float | None = 0.25

    def __init__(self, rank: int) -> None:
        self.model, self.rank = net(), rank
        self.trainer = Trainer(self.model, "plain")

    def hyperparameters(self) -> Mapping[str, object]:
        return {}

    def batches(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        for step in count(skip):
            yield Batch(4, 4, (data(step, self.rank),))

    def to_device(self, batch: Batch) -> Batch:
        return batch

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        objective = loss(self.model, batch.tensors[0])
        return objective, objective.detach()

    def optimise(self) -> None:
        self.trainer.optimise()

    def averages(self) -> AbstractContextManager[bool]:
        return nullcontext(False)

    def evaluate(self, split: str) -> Evaluation:
        raise AssertionError("nothing is evaluated here")

    def end_epoch(self, quality: float) -> str | None:
        return None

    def state(self) -> dict[str, object]:
        return {}

    def load_state(self, state: Mapping[str, object]) -> None:
        raise AssertionError("nothing is resumed here")


def train(folder: RunFolder, pattern: str, group: ProcessGroup, clocks: ClockExchange) -> None:
    spec = replace(SPEC, aggregation=pattern, run_id=folder.run_id)
    if group.rank == 0:
        folder.create()
        write_json(folder.spec, spec)
    group.tell_all(None)  # the folder is there
    task = SmallTask(group.rank)
    log = EventLog(folder.rank_events(group.rank), rank=group.rank, local_rank=group.rank, world_size=group.world_size,
                   node=0, run_id=spec.run_id, launched_unix_ns=spec.launched_unix_ns)  # fmt: skip
    aggregation = create(pattern, task.model, group.world_size)
    TrainingLoop(spec, task, aggregation, log, group.device, clocks).run()
    aggregation.close()
    log.close()


torch.set_num_threads(1)
group = ProcessGroup.join("gloo")
clocks = ClockExchange(group)
for number, name in enumerate(json.loads(sys.argv[3])):
    train(RunFolder(Path(sys.argv[1]) / f"run-{number}"), name, group, clocks)
clocks.close()
group.leave()
