"""The patterns on real gloo ranks, against the mean they should give."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mlb.aggregation.all_reduce import BlockingAllReduce
from mlb.aggregation.patterns import PATTERNS
from mlb.results.run import AGGREGATIONS
from torch import nn


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2, bias=False)).double()


def test_gradients_live_in_one_buffer_and_stay_there() -> None:
    net = model()
    aggregation = BlockingAllReduce(net, world_size=1)
    for _ in range(2):
        net(torch.ones(4, 3, dtype=torch.float64)).sum().backward()
        assert aggregation.reduce() == 0
        flat = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
        assert torch.equal(flat, aggregation._buffer)
        assert flat.abs().sum() > 0
        for p in net.parameters():
            assert p.grad is not None
            p.grad.zero_()


def test_a_gradient_that_left_the_buffer_is_an_error_not_a_silent_divergence() -> None:
    net = model()
    aggregation = BlockingAllReduce(net, world_size=1)
    net.zero_grad(set_to_none=True)
    net(torch.ones(4, 3, dtype=torch.float64)).sum().backward()
    with pytest.raises(RuntimeError, match="no longer part"):
        aggregation.reduce()


def test_the_patterns_users_can_name_are_those_there_are() -> None:
    assert tuple(PATTERNS) == AGGREGATIONS


def test_ddp_alone_leaves_everything_as_it_is() -> None:
    net = model()
    aggregation = PATTERNS["ddp"](net, 1)

    def forward(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return net(x).sum(), torch.zeros(())

    assert aggregation.wrap(forward) is forward
    assert (aggregation.reduce(), aggregation.backward_ends_in) == (0, "backward")


@pytest.mark.system
@pytest.mark.parametrize("pattern", AGGREGATIONS)
@pytest.mark.parametrize("world", [2, 3])
def test_every_rank_gets_the_mean_of_all(run_ranks: Callable[..., Path], world: int, pattern: str) -> None:
    """And the observer is told of every byte, in order; the script asserts it."""
    out = run_ranks(Path(__file__).with_name("ranks_all_reduce.py"), world, pattern)
    expected = [torch.zeros_like(p) for p in model().parameters()]
    for rank in range(world):
        net = model()
        net(torch.full((4, 3), float(rank + 1), dtype=torch.float64)).pow(2).sum().backward()
        for total, p in zip(expected, net.parameters(), strict=True):
            assert p.grad is not None
            total += p.grad / world
    for rank in range(world):
        for got, want in zip(torch.load(out / f"{rank}.pt", weights_only=True), expected, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)
