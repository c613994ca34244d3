"""Label-smoothed cross-entropy equals torch's own, and its gradient."""

from __future__ import annotations

import pytest
import torch
from mlb.tasks.smoothed import label_smoothed
from torch.nn import functional as F


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_loss_and_gradient_are_torchs(smoothing: float) -> None:
    torch.manual_seed(3)
    scores = torch.randn(17, 29, dtype=torch.float64).mul(4).requires_grad_()
    true = torch.randint(0, 29, (17,))
    true[[2, 5, 16]] = 0
    torch.autograd.gradcheck(lambda s: label_smoothed(s, true, smoothing, 0), scores)
    ours = label_smoothed(scores, true, smoothing, 0) * 0.37
    theirs = 0.37 * F.cross_entropy(scores, true, ignore_index=0, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    one, other = (torch.autograd.grad(loss, scores)[0] for loss in (ours, theirs))
    torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


def test_half_precision_is_summed_in_float32() -> None:
    scores = torch.randn(300, 40).bfloat16().requires_grad_()
    loss = label_smoothed(scores, torch.full((300,), 7), 0.1, 0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert scores.grad is not None
    assert scores.grad.dtype == torch.bfloat16
