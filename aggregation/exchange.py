"""The collectives of a pattern: each is told to the observer, and its bytes are counted by formula.

`payload_bytes` follows nccl-tests (doc/PERFORMANCE.md): of an all-gather it is the gathered buffer, of a
reduce-scatter and an all-to-all the whole buffer handed over. `sent_bytes` is what a rank puts on the wire, headers
left out; it is the mean over ranks where they differ. Where a pattern is made of messages between pairs of ranks, it
is told as one `send` of that mean, so that every rank's log has the same entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .base import Observer, Unobserved


class Exchange:
    """What one rank exchanges with the others."""

    def __init__(self, ranks: int, rank: int = 0) -> None:
        self.observer: Observer = Unobserved()
        self.outside: Observer = Unobserved()
        """Told instead of the observer between steps."""
        self.ranks = ranks
        self.rank = rank
        self.sent_bytes = 0.0
        """Bytes on the wire since the start of the run."""
        self._payload_bytes = 0

    def take(self) -> int:
        """Payload bytes since the last call."""
        taken, self._payload_bytes = self._payload_bytes, 0
        return taken

    @contextmanager
    def told(
        self,
        operation: str,
        payload_bytes: int,
        sent_bytes: float,
        among: tuple[int, ...] = (),
        steps_behind: int = 0,
    ) -> Iterator[None]:
        """What happens inside is one collective to the observer, which says what the arguments are."""
        ended = self.observer.collective(operation, payload_bytes, among, steps_behind)
        yield
        ended()
        self.count(payload_bytes, sent_bytes)

    @contextmanager
    def outside_steps(self) -> Iterator[None]:
        """What happens inside is not part of a training step: it is not counted, and somebody else is told."""
        observer, counted = self.observer, (self.sent_bytes, self._payload_bytes)
        self.observer = self.outside
        try:
            yield
        finally:
            self.observer, (self.sent_bytes, self._payload_bytes) = observer, counted

    def count(self, payload_bytes: int, sent_bytes: float) -> None:
        """Add a collective that was told to the observer elsewhere."""
        self._payload_bytes += payload_bytes
        self.sent_bytes += sent_bytes

    def all_reduce(self, tensor: Tensor, group: Any = None) -> None:
        """Sum over the ranks, in place; a ring sends 2 (n-1)/n of the buffer."""
        ranks = dist.get_world_size(group)
        with self.told("all_reduce", tensor.nbytes, 2 * (ranks - 1) / ranks * tensor.nbytes, self._among(group)):
            dist.all_reduce(tensor, group=group)

    def all_gather(self, tensor: Tensor, group: Any = None) -> Tensor:
        """All ranks' tensors, shape (ranks, *tensor.shape); a rank's own goes n-1 times over the wire."""
        ranks = dist.get_world_size(group)
        gathered = tensor.new_empty((ranks, *tensor.shape))
        with self.told("all_gather", gathered.nbytes, (ranks - 1) * tensor.nbytes, self._among(group)):
            dist.all_gather(list(gathered.unbind()), tensor, group=group)
        return gathered

    def reduce_scatter(self, tensor: Tensor, group: Any = None) -> Tensor:
        """The sum over ranks of this rank's share of a 1-D tensor, whose length is a multiple of the ranks.

        gloo's own reduce-scatter is an all-reduce of which each rank keeps a part, and sends twice as much as
        needed (measured: benchmarks/README.md); shares swapped and added here are what it should be.
        """
        ranks = dist.get_world_size(group)
        with self.told("reduce_scatter", tensor.nbytes, (ranks - 1) / ranks * tensor.nbytes, self._among(group)):
            if dist.get_backend(group) != "gloo":
                share = tensor.new_empty(tensor.numel() // ranks)
                dist.reduce_scatter(share, list(tensor.chunk(ranks)), group=group)
                return share
            shares = torch.empty_like(tensor)
            dist.all_to_all_single(shares, tensor, group=group)
        return shares.view(ranks, -1).sum(dim=0)

    def reduce_scatter_shares(self, shares: Sequence[Tensor]) -> None:
        """Replace this rank's share by its sum over the ranks.

        Args:
            shares: one a rank, of sizes that differ between the ranks and are alike on all of them; they may be empty.
        """
        own, others = shares[self.rank], self._others()
        arrived = own.new_empty((self.ranks, *own.shape))
        payload = sum(share.nbytes for share in shares)
        with self.told("reduce_scatter", payload, (self.ranks - 1) / self.ranks * payload):
            swap([(r, shares[r]) for r in others], [(r, arrived[r]) for r in others])
        arrived[self.rank] = own
        torch.sum(arrived, dim=0, out=own)

    def all_gather_shares(self, shares: Sequence[Tensor]) -> None:
        """Replace the other ranks' shares, which may be empty, by those they have of their own."""
        payload = sum(share.nbytes for share in shares)
        with self.told("all_gather", payload, (self.ranks - 1) / self.ranks * payload):
            others = self._others()
            swap([(r, shares[self.rank]) for r in others], [(r, shares[r]) for r in others])

    def _others(self) -> list[int]:
        return [r for r in range(self.ranks) if r != self.rank]

    def _among(self, group: Any) -> tuple[int, ...]:
        """The ranks of a process group; empty where it is all of them."""
        ranks = () if group is None else tuple(dist.get_process_group_ranks(group))
        return ranks if len(ranks) < self.ranks else ()


def swap(outgoing: list[tuple[int, Tensor]], incoming: list[tuple[int, Tensor]]) -> None:
    """Send and receive at once: pairs of the other rank and the buffer; returns when all are through.

    An empty buffer is no message.
    """
    operations = [dist.P2POp(dist.irecv, buffer, rank) for rank, buffer in incoming if buffer.numel()]
    operations += [dist.P2POp(dist.isend, buffer, rank) for rank, buffer in outgoing if buffer.numel()]
    for work in dist.batch_isend_irecv(operations) if operations else []:
        work.wait()
