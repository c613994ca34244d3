"""One rank of test_gradients: its half of one fixed batch through the full model, the gradients averaged and saved."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mlb.aggregation.patterns import create
from mlb.models.awd_lstm import AWDLSTM, AWDLSTMConfig
from torch.nn import functional as F

out, columns, length = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(43)
model = AWDLSTM(AWDLSTMConfig().without_dropout())
aggregation = create("allreduce", model, world)
text_TB = torch.randint(0, 33_278, (length + 1, columns), generator=torch.Generator().manual_seed(1))
share = columns // world
mine_TB = text_TB[:, rank * share : (rank + 1) * share]
output = model(mine_TB[:-1], model.initial_state(share))
loss = F.cross_entropy(model.logits(output.hidden_NE), mine_TB[1:].flatten())
(loss + 2 * output.dropped_TBE.pow(2).mean() + (output.raw_TBE[1:] - output.raw_TBE[:-1]).pow(2).mean()).backward()
aggregation.reduce()
if rank == 0:
    torch.save([p.grad.clone() for p in model.parameters() if p.grad is not None], out / "gradients.pt")
dist.destroy_process_group()
