"""One rank of test_fit: two steps of a task with an optimiser, by a pattern: `… OUT PATHS CASES`."""

import json
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from mlb.aggregation.base import Aggregation
from mlb.aggregation.exchange import Exchange
from mlb.aggregation.patterns import create
from mlb.tasks.recipe1b import Recipe1b
from mlb.tasks.task1b import Task1b
from small_tasks import TASKS
from task_support import setup_of
from torch.distributed.tensor import DTensor

warnings.filterwarnings("ignore", category=FutureWarning, module="torch")


class Request:
    """Stands for pytest's: the folders that the test made."""

    def __init__(self, paths: dict[str, str]) -> None:
        self.getfixturevalue = lambda name: Path(paths[name])


def task_1b(request: Any, **changes: Any) -> Task1b:
    recipe = Recipe1b(
        blocks="1-1", width=4, classes=3, images_per_step=12, images_per_pass=6, side=16, first_side=16,
        eval_resized=20, eval_side=16, warmup_epochs=0.0, **changes,
    )  # fmt: skip
    return Task1b(setup_of(request.getfixturevalue("few_images")), recipe, workers=0)


def train(name: str, optimiser: str, pattern: str) -> torch.Tensor:
    """The weights after two steps; every rank has the same batches, so that no pattern makes a difference."""
    torch.manual_seed(7)
    task = {**TASKS, "1b": task_1b}[name](Request(json.loads(sys.argv[2])), optimiser=optimiser, learning_rate=1e-2)
    aggregation = create(pattern, task.model, world) if pattern else Aggregation(task.model, Exchange(1))
    try:
        steps(task, aggregation)
        return torch.cat([p.detach().flatten() for p in whole(task.model)])
    finally:
        aggregation.close()


def steps(task: Any, aggregation: Aggregation) -> None:
    forward = aggregation.wrap(task.forward)
    torch.manual_seed(8)
    batches = task.batches(1)
    for _ in range(2):
        batch = next(batches)
        *earlier, last = batch.parts or (batch,)
        for part in earlier:
            with aggregation.accumulating():
                forward(part)[0].backward()
        forward(last)[0].backward()
        aggregation.reduce()
        task.optimise()
        aggregation.after_step()
    aggregation.finish()


def whole(model: torch.nn.Module) -> list[torch.Tensor]:
    return [p.full_tensor() if isinstance(p, DTensor) else p for p in model.parameters()]


torch.set_num_threads(1)
dist.init_process_group("gloo")
world = dist.get_world_size()
found = {}
for case in json.loads(sys.argv[3]):
    try:
        found[" ".join(case)] = train(*case)
    except Exception:  # noqa: BLE001  # the test shows it
        found[" ".join(case)] = traceback.format_exc()
torch.save(found, Path(sys.argv[1]) / f"{dist.get_rank()}.pt")
dist.destroy_process_group()
