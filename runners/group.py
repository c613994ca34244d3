"""The process group of a run: torch.distributed, set up for one rank."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..aggregation.base import Observer, Unobserved
from . import mpi

_TIMEOUT = timedelta(minutes=10)
"""The longest a collective may take before torch gives up on it; a dead peer is noticed at once, without it."""


class ProcessGroup:
    """This rank's membership in the run."""

    def __init__(self, device: torch.device) -> None:
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()
        self.device = device
        self.outside: Observer = Unobserved()
        """Told of the group's collectives; none of them is part of a training step."""

    @classmethod
    def join(cls, backend: str) -> ProcessGroup:
        """Meet the other ranks; blocks until all are there."""
        device = torch.device("cpu")
        if backend == "nccl":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        if backend == "mpi":
            mpi.start()
            backend = mpi.NAME
        dist.init_process_group(backend, timeout=_TIMEOUT)
        return cls(device)

    def sum(self, values: Tensor) -> Tensor:
        """Add a tensor up over all ranks, in place."""
        if self.world_size > 1:
            ended = self.outside.collective("all_reduce", values.nbytes)
            dist.all_reduce(values)
            ended()
        return values

    def tell_all(self, value: object) -> object:
        """Rank 0's `value`, on every rank."""
        values = [value]
        if self.world_size > 1:
            dist.broadcast_object_list(values, src=0, device=self.device)
        return values[0]

    def broadcast_from_first(self, model: nn.Module) -> None:
        """Give every rank the weights and buffers of rank 0."""
        if self.world_size == 1:
            return
        tensors = [tensor.data for tensor in (*model.parameters(), *model.buffers())]
        ended = self.outside.collective("broadcast", sum(tensor.nbytes for tensor in tensors))
        for tensor in tensors:
            dist.broadcast(tensor, src=0)
        ended()

    def leave(self) -> None:
        """Close the group's connections."""
        dist.destroy_process_group()
        mpi.leave()
