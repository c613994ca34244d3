"""One rank of test_all_reduce: backward on data of its own, reduce, save the gradients; check what was observed."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from mlb.aggregation.patterns import PATTERNS
from torch import nn

out, name = Path(sys.argv[1]), sys.argv[2]


class Told:
    """Writes down what a pattern says, with the time."""

    def __init__(self) -> None:
        self.collectives: list[list[float]] = []  # bytes, arrival, end
        self.done: list[float] = []

    def collective(self, operation: str, payload_bytes: int) -> Callable[[], None]:
        assert operation == "all_reduce"
        record = [float(payload_bytes), time.monotonic()]
        self.collectives.append(record)
        return lambda: record.append(time.monotonic())

    def backward_done(self) -> None:
        self.done.append(time.monotonic())


dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2, bias=False)).double()
aggregation = PATTERNS[name](net, world)
aggregation.observer = told = Told()
forward = aggregation.wrap(lambda x: (net(x).pow(2).sum(), torch.zeros(())))
for _ in range(2):  # DDP makes its buckets anew after the first
    for p in net.parameters():
        if p.grad is not None:
            p.grad.zero_()
    objective, _ = forward(torch.full((4, 3), float(rank + 1), dtype=torch.float64))
    objective.backward()
    sent = aggregation.reduce()
    assert sent == sum(p.numel() for p in net.parameters()) * 8
assert sum(record[0] for record in told.collectives) == 2 * sent
assert all(len(record) == 3 and record[1] <= record[2] for record in told.collectives)
assert len(told.done) == (2 if name == "ddp" else 0)
torch.save([p.grad.clone() for p in net.parameters() if p.grad is not None], out / f"{rank}.pt")
dist.destroy_process_group()
