"""One rank of test_mathematics and test_mpi: trains with a pattern, saves what came of it and what was told."""

import json
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parent))
from mlb.aggregation.patterns import create
from mlb.runners import mpi
from training import STEPS, Trainer, data, loss, net, save_each, weights

warnings.simplefilter("error")
# torch's own: FSDP2 and DDP call names of their own that are on the way out.
warnings.filterwarnings("ignore", category=FutureWarning, module="torch")


class Told:
    """Writes down what a pattern says."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.ended = self.done = 0

    def collective(self, operation: str, payload_bytes: int, *_: object, **__: object) -> Callable[[], None]:
        self.begun.append((operation, payload_bytes))
        return self.end

    def end(self) -> None:
        self.ended += 1

    def backward_done(self) -> None:
        self.done += 1

    def blocking(self, phase: str) -> AbstractContextManager[None]:
        assert phase == "optimiser"
        return nullcontext()


def train(pattern: str, optimiser: str, clip: float) -> dict[str, Any]:
    model = net()
    trainer = Trainer(model, optimiser)
    aggregation = create(pattern, model, dist.get_world_size())
    aggregation.clip_norm = clip or None
    aggregation.observer = told = Told()
    forward = aggregation.wrap(lambda batch: (loss(model, batch), torch.zeros(())))
    track, handed_over, sent = [], [], []
    for step in range(STEPS):
        objective, _ = forward(data(step, dist.get_rank()))
        objective.backward()
        payload = aggregation.reduce()
        aggregation.clip()
        trainer.optimise()
        handed_over.append(payload + aggregation.after_step())
        sent.append(aggregation.exchange.sent_bytes)
        track.append(weights(model))
    aggregation.exchange.outside = outside = Told()
    with aggregation.evaluating():
        evaluated = weights(model)
    aggregation.finish()
    assert outside.ended == len(outside.begun)
    found = {"track": track, "evaluated": evaluated, "final": weights(model)}
    stepped = getattr(trainer.optimiser, "optimisers", [trainer.optimiser])
    state = [s for o in stepped for p in o.state.values() for s in p.values() if torch.is_tensor(s) and s.dim()]
    aggregation.close()
    assert told.ended == len(told.begun)
    found |= {"told": told.begun, "outside": outside.begun}
    return found | {"handed_over": handed_over, "sent": sent, "state": sum(map(torch.numel, state))}


out, cases, backends = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:] or ["gloo"]
for backend in backends:
    if backend == "mpi":
        mpi.start()
    dist.init_process_group(mpi.NAME if backend == "mpi" else backend, timeout=timedelta(seconds=200))
    save_each(out, f"{backend}-", cases, train)
    dist.destroy_process_group()
mpi.leave()
