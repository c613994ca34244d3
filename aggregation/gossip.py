"""Decentralised SGD: after each step a rank mixes its weights with its neighbours' on a graph, and nobody else's."""

from __future__ import annotations

import torch
from torch import nn

from .exchange import Exchange, swap
from .graphs import GRAPHS, mixing_matrix, neighbours, parse_edges
from .weights import WeightExchange, flat, put


class Gossip(WeightExchange):
    """D-PSGD (Lian et al. 2017, "Can decentralized algorithms outperform centralized algorithms?"), adapt then combine:
    w_i <- sum over j of W_ij (w_j - step of j on its own gradient).

    The mean over all ranks' weights moves as with all-reduce; each rank stays near it by the graph's contraction.

    Args:
        graph: one of `GRAPHS`.
        edges: a graph of one's own, `0-1+1-2`; goes before `graph`.
    """

    def __init__(self, model: nn.Module, exchange: Exchange, graph: str = "ring", edges: str = "") -> None:
        super().__init__(model, exchange)
        rank = exchange.rank
        pairs = parse_edges(edges, exchange.ranks) if edges else GRAPHS[graph](exchange.ranks)
        near = neighbours(pairs, exchange.ranks)
        self._near = near[rank]
        self._among = tuple(sorted([rank, *self._near])) if len(self._near) + 1 < exchange.ranks else ()
        self._mean_degree = sum(map(len, near)) / exchange.ranks
        row = mixing_matrix(pairs, exchange.ranks)[rank]
        self._own_share, self._shares = float(row[rank]), [float(row[other]) for other in self._near]

    def _exchange_weights(self) -> None:
        weights = [p.data for p in self._parameters]
        own = flat(weights)
        arrived = torch.empty((len(self._near), *own.shape), dtype=own.dtype, device=own.device)
        sent = round(self._mean_degree * own.nbytes)
        with self.exchange.told("send", sent, sent, self._among):
            swap([(r, own) for r in self._near], list(zip(self._near, arrived.unbind(), strict=True)))
        mixed = own * self._own_share
        for share, other in zip(self._shares, arrived, strict=True):
            mixed.add_(other, alpha=share)
        put(mixed, weights)
