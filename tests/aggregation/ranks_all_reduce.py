"""One rank of test_all_reduce: backward on data of its own, reduce, save the gradients."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mlb.aggregation.all_reduce import BlockingAllReduce
from torch import nn

out = Path(sys.argv[1])
dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2, bias=False)).double()
aggregation = BlockingAllReduce(net, world)
net(torch.full((4, 3), float(rank + 1), dtype=torch.float64)).pow(2).sum().backward()
sent = aggregation.reduce()
assert sent == sum(p.numel() for p in net.parameters()) * 8
torch.save([p.grad.clone() for p in net.parameters() if p.grad is not None], out / f"{rank}.pt")
dist.destroy_process_group()
