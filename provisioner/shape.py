"""How many ranks run on a node and over which backend; refuses what does not fit."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import PreflightError, UsageError
from .backends import refuse_if_missing
from .nodes import Node

BACKENDS = ("gloo", "mpi", "nccl", "ucc")
_DEFAULT_CPU_RANKS = 2


@dataclass(frozen=True)
class Shape:
    """The ranks of a run on one node."""

    ranks: int
    backend: str
    threads_per_rank: int


def choose(
    node: Node, *, ranks: int | None, backend: str | None, memory_bytes_per_rank: int, oversubscribe: bool = False
) -> Shape:
    """One rank a GPU over nccl where there are GPUs, else two ranks over gloo; each part can be set.

    Args:
        memory_bytes_per_rank: what a rank of the task needs on a CPU.
        oversubscribe: allow more CPU ranks than cores (their times then say little).

    Raises:
        UsageError: no such backend, or a number of ranks that cannot be.
        PreflightError: the node lacks the GPUs or the memory, or this Python the backend.
    """
    if backend is not None and backend not in BACKENDS:
        raise UsageError(f"There is no backend {backend!r}.", fix=f"Backends: {', '.join(BACKENDS)}.")
    backend = backend or ("nccl" if node.gpus else "gloo")
    if ranks is not None and ranks < 1:
        raise UsageError(f"A run needs at least one rank, not {ranks}.", fix="Give --ranks a number from 1.")
    if backend == "nccl":
        return _on_gpus(node, ranks)
    refuse_if_missing(backend)
    return _on_cpus(node, ranks, backend, memory_bytes_per_rank, oversubscribe)


def _on_gpus(node: Node, ranks: int | None) -> Shape:
    if not node.gpus:
        raise PreflightError(
            "The backend nccl needs NVIDIA GPUs, and this machine shows none.",
            why="`nvidia-smi -L` lists no GPU.",
            fix="Use --backend gloo, or run on a machine with GPUs.",
        )
    ranks = node.gpus if ranks is None else ranks
    if ranks > node.gpus:
        raise UsageError(
            f"{ranks} ranks do not fit on {node.gpus} GPU{'s'[: node.gpus != 1]}.",
            why="Over nccl each rank needs a GPU of its own.",
            fix=f"Give --ranks a number from 1 to {node.gpus}.",
        )
    return Shape(ranks, "nccl", max(1, node.cores // ranks))


def _on_cpus(node: Node, ranks: int | None, backend: str, memory_bytes_per_rank: int, oversubscribe: bool) -> Shape:
    ranks = min(_DEFAULT_CPU_RANKS, node.cores) if ranks is None else ranks
    if ranks > node.cores and not oversubscribe:
        raise UsageError(
            f"{ranks} ranks do not fit on {node.cores} CPU core{'s'[: node.cores != 1]}.",
            why="Ranks that share a core wait for each other, and every time measured would show that.",
            fix=f"Give --ranks a number from 1 to {node.cores}, or add --oversubscribe.",
        )
    needed = ranks * memory_bytes_per_rank
    if needed > node.memory_bytes:
        raise PreflightError(
            f"{ranks} ranks of this task need about {needed / 2**30:.1f} GiB of memory; "
            f"{node.memory_bytes / 2**30:.1f} GiB are free.",
            fix="Use fewer --ranks, a smaller goal (--goal smoke), or a machine with more memory.",
        )
    return Shape(ranks, backend, max(1, node.cores // ranks))
