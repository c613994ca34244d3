"""The operations of task 0a, each made ready so that a call of it is a call of the library and nothing else.

gloo and nccl are called by way of torch.distributed, which is the way to them. MPI is called by mpi4py itself: on the
way through torch and our own process group a message of four bytes takes four times as long (decision 0055).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch.distributed as dist
from torch import Tensor

from .mpi import MpiProcessGroup
from .mpi_buffers import buffer_of, operation_of, typed

Call = Callable[[], object]

# On flat buffers, as nccl-tests has them: nccl would copy every tensor of a list in device memory, on the clock. The
# names are those of torch 2.13, where a call by the older ones takes the time of a warning.
_ALL_GATHER: Callable[..., object] = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_REDUCE_SCATTER: Callable[..., object] = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


def calls_of(group: Any) -> TorchCalls | MpiCalls:
    """A group's operations, by name. Each is given what is sent and what is received, and gives the call."""
    return MpiCalls(group) if isinstance(group, MpiProcessGroup) else TorchCalls(group)


class TorchCalls:
    """torch.distributed's."""

    def __init__(self, group: Any) -> None:
        self._group, self._ranks, self._rank = group, dist.get_world_size(group), dist.get_rank(group)

    def barrier(self) -> Call:
        return partial(dist.barrier, group=self._group)

    def all_reduce(self, sent: Tensor, _received: Tensor) -> Call:
        return partial(dist.all_reduce, sent, group=self._group)

    def all_gather(self, sent: Tensor, received: Tensor) -> Call:
        return partial(_ALL_GATHER, received, sent, group=self._group)

    def reduce_scatter(self, sent: Tensor, received: Tensor) -> Call:
        return partial(_REDUCE_SCATTER, received, sent, group=self._group)

    def broadcast(self, sent: Tensor, _received: Tensor) -> Call:
        return partial(dist.broadcast, sent, src=0, group=self._group)

    def all_to_all(self, sent: Tensor, received: Tensor) -> Call:
        return partial(dist.all_to_all_single, received, sent, group=self._group)

    def send_recv(self, sent: Tensor, received: Tensor) -> Call:
        if self._ranks == 1:
            return partial(received.copy_, sent)
        after, before = (self._rank + 1) % self._ranks, (self._rank - 1) % self._ranks
        swap = [dist.P2POp(dist.isend, sent, after, self._group), dist.P2POp(dist.irecv, received, before, self._group)]

        def call() -> None:
            for work in dist.batch_isend_irecv(swap):
                work.wait()

        return call


class MpiCalls:
    """mpi4py's, on the tensors' memory, which the caller keeps alive."""

    def __init__(self, group: MpiProcessGroup) -> None:
        self._world = group.communicator

    def barrier(self) -> Call:
        return self._bound("Barrier")

    def all_reduce(self, sent: Tensor, _received: Tensor) -> Call:
        from mpi4py import MPI

        return self._bound("Allreduce", MPI.IN_PLACE, typed(sent), _sum(sent))

    def all_gather(self, sent: Tensor, received: Tensor) -> Call:
        return self._bound("Allgather", buffer_of(sent), buffer_of(received))

    def reduce_scatter(self, sent: Tensor, received: Tensor) -> Call:
        return self._bound("Reduce_scatter_block", typed(sent), typed(received), _sum(sent))

    def broadcast(self, sent: Tensor, _received: Tensor) -> Call:
        return self._bound("Bcast", buffer_of(sent), 0)

    def all_to_all(self, sent: Tensor, received: Tensor) -> Call:
        return self._bound("Alltoall", buffer_of(sent), buffer_of(received))

    def send_recv(self, sent: Tensor, received: Tensor) -> Call:
        after, before = (self._world.rank + 1) % self._world.size, (self._world.rank - 1) % self._world.size
        return self._bound("Sendrecv", buffer_of(sent), after, 0, buffer_of(received), before, 0)

    def _bound(self, name: str, *arguments: Any) -> Call:
        return partial(getattr(self._world, name), *arguments)


def _sum(tensor: Tensor) -> Any:
    return operation_of(tensor, None)[0]
