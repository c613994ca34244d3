"""Gradients as views into one buffer, so that nothing is packed or unpacked around a collective."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Aggregation, trained
from .exchange import Exchange


class FlatGradients(Aggregation):
    """A pattern that works on all gradients as one vector.

    They must be zeroed in place (`zero_grad(set_to_none=False)`), never set to None. All parameters share one dtype
    and device. A parameter without a part in the loss has a gradient of zeros.

    Args:
        multiple_of: the buffer is padded with zeros to such a length.
        order: of the parameters in the buffer; None: the model's.
    """

    def __init__(
        self, model: nn.Module, exchange: Exchange, multiple_of: int = 1, order: list[nn.Parameter] | None = None
    ) -> None:
        super().__init__(model, exchange)
        parameters = order or trained(model)
        elements = sum(p.numel() for p in parameters)
        padded = -(-elements // multiple_of) * multiple_of
        self.buffer = torch.zeros(padded, dtype=parameters[0].dtype, device=parameters[0].device)
        self._gradients: list[tuple[nn.Parameter, int]] = []  # with the address of its place in the buffer
        offset = 0
        for p in parameters:
            p.grad = self.buffer[offset : offset + p.numel()].view_as(p)
            self._gradients.append((p, p.grad.data_ptr()))
            offset += p.numel()

    def reduce(self) -> int:
        """As `Aggregation.reduce`.

        Raises:
            RuntimeError: a gradient has left the buffer, so it would not be averaged.
        """
        self._check()
        if self.world_size == 1:
            return 0
        self._average()
        return self.exchange.take()

    def _average(self) -> None:
        """Replace the buffer by what the optimiser is to see; there are at least two ranks."""
        raise NotImplementedError

    def _views(self) -> list[Tensor]:
        """Each parameter's part of the buffer."""
        return [p.grad for p, _ in self._gradients if p.grad is not None]

    def _check(self) -> None:
        """A gradient replaced by a fresh tensor would silently train each rank on its own data alone."""
        for p, address in self._gradients:
            if p.grad is None or p.grad.data_ptr() != address:
                raise RuntimeError("a gradient is no longer part of the all-reduce buffer: zero it in place")
