"""One rank of test_start: made from a seed of its own, then given rank 0's weights and random numbers of its own."""

import sys
from pathlib import Path

import torch
from mlb.models.gnmt import GNMT, GNMTConfig
from mlb.runners.group import ProcessGroup
from mlb.runners.loop import parameter_digest
from mlb.runners.rank import draw_apart
from torch.nn import functional as F

group = ProcessGroup.join("gloo")
torch.manual_seed(group.rank)
model = GNMT(GNMTConfig(vocabulary=20, width=8))
own = parameter_digest(model)
group.broadcast_from_first(model)
draw_apart(5, group.rank)
facts = {"own": own, "given": parameter_digest(model), "mask": F.dropout(torch.ones(64)).tolist()}
torch.save(facts, Path(sys.argv[1]) / f"{group.rank}.pt")
group.leave()
