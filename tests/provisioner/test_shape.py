"""How many ranks, over what: a table."""

from dataclasses import astuple

import pytest
from mlb.errors import MlbError, PreflightError, UsageError
from mlb.provisioner.nodes import Node
from mlb.provisioner.shape import Shape, choose

GIB = 1 << 30


def node(gpus: int = 0, cores: int = 8, memory: int = 64 * GIB) -> Node:
    return Node("n", gpus, cores, memory)


@pytest.mark.parametrize(
    ("machine", "ranks", "backend", "expected"),
    [
        (node(), None, None, Shape(2, "gloo", 4)),
        (node(cores=1), None, None, Shape(1, "gloo", 1)),
        (node(), 8, None, Shape(8, "gloo", 1)),
        (node(cores=3), 2, "gloo", Shape(2, "gloo", 1)),
        (node(gpus=4), None, None, Shape(4, "nccl", 2)),
        (node(gpus=4), 1, None, Shape(1, "nccl", 8)),
        (node(gpus=4), None, "gloo", Shape(2, "gloo", 4)),
    ],
)
def test_what_is_chosen(machine: Node, ranks: int | None, backend: str | None, expected: Shape) -> None:
    assert astuple(choose(machine, ranks=ranks, backend=backend, memory_bytes_per_rank=GIB)) == astuple(expected)


@pytest.mark.parametrize(
    ("machine", "ranks", "backend", "error", "words"),
    [
        (node(), 0, None, UsageError, "at least one rank"),
        (node(), -3, "gloo", UsageError, "at least one rank"),
        (node(), 9, None, UsageError, "9 ranks do not fit on 8 CPU cores"),
        (node(cores=1), 2, None, UsageError, "2 ranks do not fit on 1 CPU core."),
        (node(gpus=2), 3, None, UsageError, "3 ranks do not fit on 2 GPUs"),
        (node(gpus=1), 2, "nccl", UsageError, "2 ranks do not fit on 1 GPU."),
        (node(), None, "nccl", PreflightError, "no GPU"),
        (node(memory=GIB), 2, None, PreflightError, "1.0 GiB are free"),
        (node(), None, "smoke-signals", UsageError, "gloo, mpi, nccl, ucc"),
    ],
)
def test_what_is_refused(
    machine: Node, ranks: int | None, backend: str | None, error: type[MlbError], words: str
) -> None:
    with pytest.raises(error) as caught:
        choose(machine, ranks=ranks, backend=backend, memory_bytes_per_rank=GIB)
    assert words in str(caught.value)


def test_more_ranks_than_cores_only_when_asked_for() -> None:
    shape = choose(node(), ranks=9, backend=None, memory_bytes_per_rank=GIB, oversubscribe=True)
    assert shape == Shape(9, "gloo", 1)
