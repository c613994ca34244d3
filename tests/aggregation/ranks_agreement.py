"""One rank of test_agreement: makes patterns on which the ranks may not agree, and saves what it is told."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mlb.aggregation.patterns import create
from torch import nn

torch.set_num_threads(1)
dist.init_process_group("gloo")
told = []
for case in json.loads(sys.argv[2]):
    pattern, size, settings = case[dist.get_rank()]
    try:
        create(pattern, nn.Linear(size, 2), dist.get_world_size(), settings)
        told.append("")
    except RuntimeError as error:
        told.append(str(error))
(Path(sys.argv[1]) / f"{dist.get_rank()}.json").write_text(json.dumps(told))
dist.destroy_process_group()
