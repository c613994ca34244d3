"""One rank of test_averages: trains with an optimiser that keeps averages, and saves what two evaluations see."""

import json
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parent))
from mlb.aggregation.patterns import create
from training import Averaging, data, loss, net, save_each, weights

warnings.simplefilter("error")
# torch's own: FSDP2 calls names of its own that are on the way out.
warnings.filterwarnings("ignore", category=FutureWarning, module="torch")


def train(pattern: str, optimiser: str) -> dict[str, Any]:
    model = net()
    trainer = Averaging(model, optimiser)
    aggregation = create(pattern, model, dist.get_world_size())
    forward = aggregation.wrap(lambda batch: (loss(model, batch), torch.zeros(())))
    evaluated, trained = [], []
    for step in range(Averaging.STEPS):
        forward(data(step, dist.get_rank()))[0].backward()
        aggregation.reduce()
        trainer.optimise()
        aggregation.after_step()
        if step in Averaging.EVALUATED:
            before = weights(model)
            with aggregation.evaluating(trainer.averages()):
                evaluated.append(weights(model))
            assert torch.equal(weights(model), before), "training goes on from the weights it had"
            trained.append(before)
    aggregation.finish()
    aggregation.close()
    return {"evaluated": evaluated, "trained": trained}


out, cases = Path(sys.argv[1]), json.loads(sys.argv[2])
dist.init_process_group("gloo", timeout=timedelta(seconds=200))
save_each(out, "", cases, train)
dist.destroy_process_group()
