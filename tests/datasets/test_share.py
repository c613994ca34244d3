"""Who trains on what: each sample once an epoch, for any number of ranks."""

from __future__ import annotations

import pytest
import torch
from mlb.datasets.share import generator, global_batches, hold_out, pieces, share
from mlb.errors import UsageError


@pytest.mark.parametrize("world", range(1, 25))
@pytest.mark.parametrize("samples", [24, 100, 997, 1024])
def test_each_sample_once_an_epoch_for_any_number_of_ranks(world: int, samples: int) -> None:
    """MLBench lost a sample with 6, 7, 10 and 24 ranks."""
    order = torch.randperm(samples, generator=generator(1, 1, 1))
    seen, steps = [], []
    for rank in range(world):
        parts = [share(*step, rank, world) for step in global_batches(samples, 8 * world, world)]
        assert all(first < end for first, end in parts), "no rank is without a sample"
        steps.append(len(parts))
        seen += [int(i) for first, end in parts for i in order[first:end]]
    assert sorted(seen) == list(range(samples))
    assert len(set(steps)) == 1, "every rank takes as many steps"


def test_a_step_is_shared_out_to_within_one_sample() -> None:
    sizes = [end - first for first, end in (share(10, 33, rank, 5) for rank in range(5))]
    assert sum(sizes) == 23
    assert max(sizes) - min(sizes) == 1


def test_a_rest_too_small_for_the_ranks_joins_the_step_before() -> None:
    assert global_batches(33, 16, 2) == [(0, 16), (16, 33)]
    assert global_batches(34, 16, 2) == [(0, 16), (16, 32), (32, 34)]


def test_fewer_samples_than_ranks_are_refused() -> None:
    with pytest.raises(UsageError, match="3 samples cannot be shared out to 4 ranks"):
        global_batches(3, 8, 4)


def test_held_out_samples_are_not_trained_on() -> None:
    trained, held = hold_out(1005)
    assert (len(trained), len(held)) == (905, 100)
    assert sorted([*trained.tolist(), *held.tolist()]) == list(range(1005))
    assert torch.equal(hold_out(1005)[1], held), "the same in every run"


def test_streams_differ_by_every_number() -> None:
    first = {
        key: torch.rand(4, generator=generator(*key)).tolist() for key in [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)]
    }
    assert len({tuple(values) for values in first.values()}) == 4
    assert torch.rand(4, generator=generator(1, 1, 1)).tolist() == first[(1, 1, 1)]


def test_pieces_cover_all() -> None:
    assert list(pieces(2, 9, 3)) == [(2, 5), (5, 8), (8, 9)]
    assert list(pieces(2, 2, 3)) == []
