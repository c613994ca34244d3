"""The backend mpi: a process group of torch.distributed whose collectives are mpi4py's, registered from Python.

A blocking collective runs on the thread that calls it; an asynchronous one runs on one worker thread, which completes
a future. Both keep the order of the calls, as MPI wants it. Messages between two ranks are MPI's own requests.
Why MPI comes in this way, and what holds: docs/decisions/0055-mpi-under-torchrun.md.
"""

# mypy: disable-error-code="assignment, call-arg, override"
# torch calls these methods in one form each; its annotations of them have other overloads and older names.

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .mpi_buffers import buffer_of, joined, operation_of, typed
from .mpi_work import Message, Worker
from .pmi import RANK_VARIABLE

NAME = "mlb_mpi"
"""torch's own `mpi` is a name that its builds without MPI refuse."""


def start() -> None:
    """Start MPI as the rank that torchrun made of this process, and make the backend `NAME` known to torch.

    Raises:
        RuntimeError: MPI started as another rank, or alone: it is a library that does not meet by PMI-1.
    """
    world = _world()
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if (world.rank, world.size) != (rank, ranks):
        from mpi4py import MPI

        library = MPI.Get_library_version().splitlines()[0].strip("\0")
        raise RuntimeError(
            f"MPI made this rank {world.rank} of {world.size} instead of {rank} of {ranks}: {library} "
            "does not meet by PMI-1, as MPICH does (pip install mpich)"
        )
    dist.Backend.register_backend(NAME, _create, extended_api=True, devices=["cpu"])


def leave() -> None:
    """End MPI, if it was started, once all that was sent has left; after `destroy_process_group`."""
    if NAME in dist.Backend.backend_list:
        from mpi4py import MPI

        _worker.shutdown()
        MPI.Finalize()


def _world() -> Any:
    # Before the library is loaded: importing mpi4py.MPI starts MPI.
    os.environ[RANK_VARIABLE] = os.environ["RANK"]
    # mpi4py looks in the folder of this environment and then takes the system's MPI; on a node of a fleet the package
    # lies in the environment below.
    mpich = metadata.distribution("mpich")
    library = next(file for file in mpich.files or () if file.name.startswith("libmpi.so."))
    os.environ.setdefault("MPI4PY_LIBMPI", str(Path(str(mpich.locate_file(library))).resolve()))
    from mpi4py import MPI

    return MPI.COMM_WORLD


def _create(options: Any, _backend_options: object) -> dist.ProcessGroup:
    world = _world()
    members = options.global_ranks_in_group or list(range(world.size))
    # Of its own, also for all ranks: another group's messages cannot be mistaken for its.
    communicator = world.Create_group(world.group.Incl(members))
    return MpiProcessGroup(communicator)


_worker = Worker()


class MpiProcessGroup(dist.ProcessGroup):
    """A group of ranks that communicate by MPI; tensors are on the CPU.

    Args:
        communicator: mpi4py's, of the group's ranks.
    """

    def __init__(self, communicator: Any) -> None:
        super().__init__(communicator.rank, communicator.size)
        self.communicator = communicator
        self._name = ""

    # torch keeps a group's name in its backend, of which a group written in Python has none.
    def _set_group_name(self, name: str) -> None:
        self._name = name

    @property
    def group_name(self) -> str:
        return self._name

    def getBackendName(self) -> str:  # noqa: N802  # torch's name
        return NAME

    def allreduce(self, tensors: list[Tensor], opts: Any = None) -> dist.Work:
        def call() -> None:
            for tensor in tensors:
                self._all_reduce(tensor, opts)

        return _do(call, tensors, opts)

    allreduce_coalesced = allreduce

    def _all_reduce(self, tensor: Tensor, opts: Any) -> None:
        from mpi4py import MPI

        operation, divide = operation_of(tensor, opts)
        with joined([tensor], back=True) as flat:
            self.communicator.Allreduce(MPI.IN_PLACE, typed(flat), operation)
        if divide:
            tensor.div_(self.communicator.size)

    def broadcast(self, tensors: list[Tensor], opts: Any) -> dist.Work:
        def call() -> None:
            for tensor in tensors:
                with joined([tensor], back=True) as flat:
                    self.communicator.Bcast(buffer_of(flat), opts.rootRank)

        return _do(call, tensors, opts)

    def reduce(self, tensors: list[Tensor], opts: Any) -> dist.Work:
        def call() -> None:
            from mpi4py import MPI

            operation, divide = operation_of(tensors[0], opts)
            mine = self.communicator.rank == opts.rootRank
            with joined(tensors, back=mine) as flat:
                own, result = (MPI.IN_PLACE, typed(flat)) if mine else (typed(flat), None)
                self.communicator.Reduce(own, result, operation, opts.rootRank)
            if divide and mine:
                tensors[0].div_(self.communicator.size)

        return _do(call, tensors, opts)

    def allgather(self, outputs: list[list[Tensor]], inputs: list[Tensor], opts: Any = None) -> dist.Work:
        def call() -> None:
            from mpi4py import MPI

            for gathered, own in zip(outputs, inputs, strict=True):
                with joined(gathered, back=True, fill=False) as flat, joined([own]) as sent:
                    # FSDP2 gathers from a rank's own place in the result, which MPI wants said.
                    in_place = sent.data_ptr() == flat.data_ptr() + self.communicator.rank * sent.nbytes
                    self.communicator.Allgather(MPI.IN_PLACE if in_place else buffer_of(sent), buffer_of(flat))

        return _do(call, [tensor for gathered in outputs for tensor in gathered], opts)

    def _allgather_base(self, output: Tensor, own: Tensor, opts: Any = None) -> dist.Work:
        return self.allgather([[output]], [own], opts)

    def all_gather_single(self, output: Tensor, own: Tensor, opts: Any = None) -> dist.Work:
        return self.allgather([[output]], [own], opts)

    def all_gather_single_coalesced(self, outputs: list[Tensor], inputs: list[Tensor], opts: Any) -> dist.Work:
        return self.allgather([[output] for output in outputs], inputs, opts)

    allgather_into_tensor_coalesced = all_gather_single_coalesced

    def reduce_scatter(self, outputs: list[Tensor], inputs: list[list[Tensor]], opts: Any = None) -> dist.Work:
        def call() -> None:
            for own, shares in zip(outputs, inputs, strict=True):
                operation, divide = operation_of(own, opts)
                with joined(shares) as sent, joined([own], back=True, fill=False) as flat:
                    self.communicator.Reduce_scatter_block(typed(sent), typed(flat), operation)
                if divide:
                    own.div_(self.communicator.size)

        return _do(call, outputs, opts)

    def _reduce_scatter_base(self, output: Tensor, shares: Tensor, opts: Any = None) -> dist.Work:
        return self.reduce_scatter([output], [[shares]], opts)

    def reduce_scatter_single(self, output: Tensor, shares: Tensor, opts: Any = None) -> dist.Work:
        return self.reduce_scatter([output], [[shares]], opts)

    def reduce_scatter_single_coalesced(self, outputs: list[Tensor], inputs: list[Tensor], opts: Any) -> dist.Work:
        return self.reduce_scatter(outputs, [[shares] for shares in inputs], opts)

    reduce_scatter_tensor_coalesced = reduce_scatter_single_coalesced

    def alltoall_base(
        self, output: Tensor, own: Tensor, received: Sequence[int], sent: Sequence[int], opts: Any = None
    ) -> dist.Work:
        def call() -> None:
            with joined([output], back=True, fill=False) as into, joined([own]) as out:
                if received or sent:
                    parts = (_rows(out, own, sent), _rows(into, output, received))
                    self.communicator.Alltoallv(*parts)
                else:
                    self.communicator.Alltoall(buffer_of(out), buffer_of(into))

        return _do(call, [output], opts)

    all_to_all_single = alltoall_base

    def barrier(self, opts: Any = None) -> dist.Work:
        return _do(self.communicator.Barrier, [], opts)

    def send(self, tensors: list[Tensor], rank: int, tag: int) -> dist.Work:
        (tensor,) = tensors
        tensor = tensor.contiguous()
        return Message(self.communicator.Isend(buffer_of(tensor), rank, tag), tensor)

    def recv(self, tensors: list[Tensor], rank: int, tag: int) -> dist.Work:
        (tensor,) = tensors
        into = tensor if tensor.is_contiguous() else torch.empty_like(tensor, memory_format=torch.contiguous_format)
        request = self.communicator.Irecv(buffer_of(into), rank, tag)
        return Message(request, into, None if into is tensor else tensor)


def _do(call: Callable[[], object], result: list[Tensor], opts: Any) -> dist.Work:
    return _worker.work(call, result, blocking=opts is not None and not opts.asyncOp)


def _rows(flat: Tensor, tensor: Tensor, counts: Sequence[int]) -> Any:
    """A buffer by rows of a tensor, as MPI's `v` calls take it; without counts all ranks' shares are equal."""
    row = flat.nbytes // max(1, tensor.shape[0])
    ranks = dist.get_world_size()
    counts = list(counts) or [tensor.shape[0] // ranks] * ranks
    return (*buffer_of(flat)[:1], [count * row for count in counts], buffer_of(flat)[1])
