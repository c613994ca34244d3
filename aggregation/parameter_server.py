"""The synchronous parameter server: every rank sends its gradients to the servers and gets the average back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .exchange import Exchange, swap
from .flat import FlatGradients


class ParameterServer(FlatGradients):
    """The first ranks serve one part of the gradients each, beside their own training.

    The optimiser runs on every rank on the same average, so the weights stay equal without being sent.
    With one server its link carries n-1 buffers each way; with as many servers as ranks no link is special.

    Args:
        servers: from 1 to the number of ranks.
    """

    def __init__(self, model: nn.Module, exchange: Exchange, servers: int = 1) -> None:
        super().__init__(model, exchange, multiple_of=servers)
        self._parts: list[Tensor] = list(self.buffer.chunk(servers))
        self._rank = exchange.rank

    def _average(self) -> None:
        others = [r for r in range(self.world_size) if r != self._rank]
        serving = self._rank < len(self._parts)
        to_servers = [(r, part) for r, part in enumerate(self._parts) if r != self._rank]
        # All parts of all other ranks go to their server, and come back.
        sent = round(2 * self.buffer.nbytes * (self.world_size - 1) / self.world_size)
        with self.exchange.told("send", sent, sent):
            if serving:
                own = self._parts[self._rank]
                arrived = torch.empty((len(others), *own.shape), dtype=own.dtype, device=own.device)
                swap(to_servers, list(zip(others, arrived.unbind(), strict=True)))
                own.add_(arrived.sum(dim=0)).div_(self.world_size)
                swap([(r, own) for r in others], to_servers)
            else:
                swap(to_servers, [])
                swap([], to_servers)
