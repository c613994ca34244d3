"""Reads a step's loss without making the step wait for the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class LossReader:
    """On a GPU the loss is copied to pinned memory by the stream and read once the step's last mark is ready."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"

    def capture(self, loss: Tensor) -> Tensor:
        """Take the loss (a scalar) along; call inside the step, before its last mark."""
        if not self._on_gpu:
            return loss
        pinned = torch.empty((), dtype=loss.dtype, pin_memory=True)
        return pinned.copy_(loss, non_blocking=True)

    @staticmethod
    def read(captured: object) -> float:
        """The value; only after the step's last mark is ready."""
        assert isinstance(captured, Tensor)
        return float(captured)


def cause_of(before: Sequence[float]) -> str:
    """What the losses of the steps before one that is no number tell about why; `before` are the newest, in order."""
    if not before:
        return "it is the first step: its input, or the numbers' range"
    seen = ", ".join(f"{loss:.4g}" for loss in before)
    if before[-1] > 2 * before[0]:
        return f"it was growing ({seen}): the learning rate is too high for this batch size"
    return f"it was not growing ({seen}): the input of this step, or the numbers' range"
