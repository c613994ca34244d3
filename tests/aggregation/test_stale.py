"""How far the weights that a stale parameter server answers with may be ahead of, and behind, the rank that asks."""

import random
import threading
import time

import pytest
import torch
from mlb.aggregation.stale import Server

STEPS = 60


@pytest.mark.parametrize("staleness", [0, 1, 4])
@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_an_answer_holds_what_the_bound_allows(ranks: int, staleness: int) -> None:
    """Each rank's change adds one to its own place, so an answer says which step of every rank is in it."""
    server = Server(torch.zeros(ranks, dtype=torch.float64), ranks, staleness)
    outside: list[tuple[int, int, list[float]]] = []
    done = [0] * ranks

    def train(rank: int) -> None:
        pauses = random.Random(rank)
        for step in range(1, STEPS + 1):
            time.sleep(pauses.choice((0, 0, 0, 1e-4, 5e-4)))
            change = torch.zeros(ranks, dtype=torch.float64)
            change[rank] = ranks
            answer = server.take_in(rank, change, step).tolist()
            if not all(step - staleness <= seen <= step + staleness for seen in answer) or answer[rank] != step:
                outside.append((rank, step, answer))
            done[rank] = step

    threads = [threading.Thread(target=train, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done == [STEPS] * ranks
    assert not outside
