"""MLBench's pattern, the baseline: one blocking all-reduce of all gradients in one buffer, after the whole backward."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn

from .base import B, Forward, Observer, Unobserved


class BlockingAllReduce:
    """Averages the gradients of all ranks in one buffer.

    The gradients are views into that buffer, so nothing is packed or unpacked: MLBench copied twice the model's
    size every step. They must therefore be zeroed in place (`zero_grad(set_to_none=False)`), never set to None.
    All parameters share one dtype and device.
    """

    name = "allreduce"
    backward_ends_in = "backward"

    def __init__(self, model: nn.Module, world_size: int) -> None:
        self.observer: Observer = Unobserved()
        self._world_size = world_size
        parameters = [p for p in model.parameters() if p.requires_grad]
        self._buffer = torch.zeros(
            sum(p.numel() for p in parameters), dtype=parameters[0].dtype, device=parameters[0].device
        )
        self._gradients: list[tuple[nn.Parameter, int]] = []  # with the address of its place in the buffer
        offset = 0
        for p in parameters:
            p.grad = self._buffer[offset : offset + p.numel()].view_as(p)
            self._gradients.append((p, p.grad.data_ptr()))
            offset += p.numel()

    def wrap(self, forward: Forward[B]) -> Forward[B]:
        return forward

    def reduce(self) -> int:
        """Sum over ranks, then divide by their number.

        Raises:
            RuntimeError: a gradient has left the buffer, so it would not be averaged.
        """
        self._check()
        if self._world_size == 1:
            return 0
        payload_bytes = self._buffer.numel() * self._buffer.element_size()
        ended = self.observer.collective("all_reduce", payload_bytes)
        dist.all_reduce(self._buffer)
        ended()
        self._buffer.div_(self._world_size)
        return payload_bytes

    def _check(self) -> None:
        """A gradient replaced by a fresh tensor would silently train each rank on its own data alone."""
        for p, address in self._gradients:
            if p.grad is None or p.grad.data_ptr() != address:
                raise RuntimeError("a gradient is no longer part of the all-reduce buffer: zero it in place")
