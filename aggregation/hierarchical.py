"""All-reduce in two levels: inside each node first, then between nodes, where the links are slower."""

from __future__ import annotations

import os

from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from .exchange import Exchange
from .flat import FlatGradients


class HierarchicalAllReduce(FlatGradients):
    """Reduce-scatter inside the node, all-reduce of each share between nodes, all-gather inside the node.

    With L ranks on each of m nodes a rank sends 2 (L-1)/L of the buffer inside its node and 2 (m-1)/m of one L-th of it
    to other nodes; one flat ring sends 2 (n-1)/n of it over every link, the slow ones included.

    Args:
        ranks_per_node: 0 takes the launcher's (LOCAL_WORLD_SIZE).
    """

    def __init__(self, model: nn.Module, exchange: Exchange, ranks_per_node: int = 0) -> None:
        inside = ranks_per_node or int(os.environ.get("LOCAL_WORLD_SIZE", exchange.ranks))
        super().__init__(model, exchange, multiple_of=inside)
        if exchange.ranks % inside:
            raise ValueError(f"{exchange.ranks} ranks cannot be {inside} on each node")
        if exchange.ranks > 1:
            shape = (exchange.ranks // inside, inside)
            mesh = init_device_mesh(self.buffer.device.type, shape, mesh_dim_names=("between", "inside"))
            self._between, self._inside = mesh.get_group("between"), mesh.get_group("inside")

    def _average(self) -> None:
        share = self.exchange.reduce_scatter(self.buffer, self._inside)
        self.exchange.all_reduce(share, self._between)
        self.buffer.copy_(self.exchange.all_gather(share, self._inside).flatten())
        self.buffer.div_(self.world_size)
