"""One rank and two ranks compute the same gradient of the same batch, at the full size of task 3a."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("ranks_gradient.py")


@pytest.mark.system
def test_a_batch_split_over_two_ranks_has_the_gradient_of_the_whole(run_ranks: Callable[..., Path]) -> None:
    """All 33,556,078 gradients in float32; the halves are summed in another order, so: relative error of each
    tensor (its difference's norm over its norm) below 1e-5."""
    whole, halves = (
        torch.load(run_ranks(SCRIPT, world, "8", "12") / "gradients.pt", weights_only=True) for world in (1, 2)
    )
    assert sum(g.numel() for g in whole) == 33_556_078
    for one, two in zip(whole, halves, strict=True):
        assert one.norm() > 0
        assert (one - two).norm() / one.norm() < 1e-5
