"""One rank of test_messages: has given gradients averaged by patterns, and saves what each made of them."""

import json
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parent))
from messages import given
from mlb.aggregation.patterns import create
from torch import nn

warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
out = Path(sys.argv[1])
torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
for number, (pattern, kind, steps) in enumerate(json.loads(sys.argv[2])):
    model = nn.ParameterList([nn.Parameter(torch.zeros_like(g)) for g in given(kind, 0, 0)])
    parameters = list(model)
    aggregation = create(pattern, model, world)
    forward = aggregation.wrap(
        lambda wanted, parameters=parameters: (
            torch.stack([(p * g).sum() for p, g in zip(parameters, wanted, strict=True)]).sum(),
            torch.zeros(()),
        )
    )
    reduced = []
    for step in range(steps):
        forward(given(kind, step, rank))[0].backward()
        aggregation.reduce()
        reduced.append(torch.cat([p.grad.flatten() for p in parameters]).clone())
        for p in parameters:
            p.grad.zero_()
    aggregation.close()
    torch.save(torch.stack(reduced), out / f"{number}-{rank}.pt")
dist.destroy_process_group()
