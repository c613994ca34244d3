"""Label-smoothed cross-entropy whose gradient is written down, instead of put together by autograd.

Szegedy et al. 2016, section 7: with smoothing e the target distribution is 1 - e on the true piece and e / V on each,
and the loss of a prediction is -(1 - e) log p[true] - e mean(log p), whose gradient by the scores is p less that
target. `F.cross_entropy(label_smoothing=e)` computes the same with several passes over all scores more.

Shapes: N predictions, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def label_smoothed(scores_NV: Tensor, true_N: Tensor, smoothing: float, ignored: int) -> Tensor:
    """The summed loss of all predictions but those whose true piece is `ignored`; float32 at the least."""
    if scores_NV.dtype in {torch.bfloat16, torch.float16}:
        scores_NV = scores_NV.float()
    loss: Tensor = _LabelSmoothed.apply(scores_NV, true_N, smoothing, ignored)  # type: ignore[no-untyped-call]
    return loss


class _LabelSmoothed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores_NV: Tensor, true_N: Tensor, smoothing: float, ignored: int) -> Tensor:
        log_p_NV = scores_NV.log_softmax(1)
        counted_N = true_N != ignored
        ctx.save_for_backward(log_p_NV, true_N, counted_N)
        ctx.smoothing = smoothing
        picked_N = log_p_NV.gather(1, true_N[:, None])[:, 0]
        loss_N = -(1 - smoothing) * picked_N - smoothing * log_p_NV.mean(1)
        return loss_N.mul(counted_N).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        log_p_NV, true_N, counted_N = ctx.saved_tensors
        weight_N1 = (counted_N * gradients[0])[:, None]
        by_scores_NV = log_p_NV.exp().sub_(ctx.smoothing / log_p_NV.shape[1])
        by_scores_NV.scatter_add_(1, true_N[:, None], by_scores_NV.new_full(weight_N1.shape, ctx.smoothing - 1))
        return by_scores_NV.mul_(weight_N1), None, None, None
