"""What every rank starts from: the same weights, and random numbers of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mlb.runners.rank import draw_apart
from torch.nn import functional as F


@pytest.mark.system
def test_weights_are_rank_0s_and_masks_are_each_ranks_own(run_ranks: Callable[..., Path]) -> None:
    out = run_ranks(Path(__file__).with_name("ranks_start.py"), 3)
    ranks = [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(3)]
    assert len({facts["own"] for facts in ranks}) == 3, "they would differ without the broadcast"
    assert {facts["given"] for facts in ranks} == {ranks[0]["own"]}
    assert len({tuple(facts["mask"]) for facts in ranks}) == 3


def test_masks_differ_by_seed_and_rank_and_repeat() -> None:
    masks = {}
    for seed in (1, 2, 43):
        for rank in range(24):
            draw_apart(seed, rank)
            masks[seed, rank] = tuple(F.dropout(torch.ones(64)).tolist())
    assert len(set(masks.values())) == len(masks)
    draw_apart(2, 7)
    assert tuple(F.dropout(torch.ones(64)).tolist()) == masks[2, 7]
