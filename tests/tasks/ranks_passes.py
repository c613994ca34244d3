"""One rank of test_passes: trains task 1b under mlb's loop, by each pattern: `… OUT DATA SPEC RECIPE PATTERNS`."""

import json
import sys
import warnings
from pathlib import Path

import torch
from mlb.aggregation.patterns import create
from mlb.results.run import RunSpec
from mlb.results.writer import EventLog
from mlb.runners.group import ProcessGroup
from mlb.runners.loop import TrainingLoop
from mlb.tasks.base import Setup
from mlb.tasks.recipe1b import Recipe1b
from mlb.tasks.task1b import Task1b

warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
out, data, spec, recipe = Path(sys.argv[1]), Path(sys.argv[2]), RunSpec(**json.loads(sys.argv[3])), sys.argv[4]
torch.set_num_threads(1)
group = ProcessGroup.join("gloo")
rank, world = group.rank, group.world_size
for number, pattern in enumerate(json.loads(sys.argv[5])):
    torch.manual_seed(7)
    setup = Setup("smoke", "reference", data, 7, rank, world, group.device, group.sum)
    task = Task1b(setup, Recipe1b(**json.loads(recipe)), workers=0)
    task.model.eval()  # so that batch normalisation does not tell passes apart
    aggregation = create(pattern, task.model, world)
    log = EventLog(out / f"{number}-{rank}.jsonl", rank=rank, local_rank=rank, world_size=world, node=0,
                   run_id="passes", launched_unix_ns=0)  # fmt: skip
    loop = TrainingLoop(spec, task, aggregation, log, group.device)
    loop._epoch(1)
    aggregation.finish()
    torch.save(torch.cat([p.detach().flatten() for p in task.model.parameters()]), out / f"{number}-{rank}.pt")
    aggregation.close()
    log.close()
group.leave()
