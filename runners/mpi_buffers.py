"""torch's tensors as MPI's buffers: memory, count, type, and the operations on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_SIXTEEN_BITS = (torch.float16, torch.bfloat16)


def buffer_of(flat: Tensor) -> list[Any]:
    """A contiguous tensor's memory as bytes: for what moves without being added up."""
    from mpi4py import MPI

    return [_memory(flat), MPI.BYTE]


def typed(flat: Tensor) -> list[Any]:
    """A contiguous tensor's memory with its type: for what is reduced.

    Raises:
        TypeError: MPI has no such type.
    """
    if flat.dtype not in _types():
        raise TypeError(f"the backend mpi does not reduce tensors of {flat.dtype}")
    return [_memory(flat), _types()[flat.dtype]]


def operation_of(tensor: Tensor, options: Any) -> tuple[Any, bool]:
    """MPI's operation for torch's, and whether the result is to be divided by the ranks.

    Raises:
        NotImplementedError: there is none.
    """
    wanted = dist.ReduceOp.SUM if options is None else options.reduceOp
    divide = wanted == dist.ReduceOp.AVG
    for name in _operations():
        if wanted == getattr(dist.ReduceOp, name) or (divide and name == "SUM"):
            if tensor.dtype in _SIXTEEN_BITS:
                return _sixteen_bits(tensor.dtype, name), divide
            return _operations()[name], divide
    raise NotImplementedError(f"the backend mpi has no operation {wanted}")


@contextmanager
def joined(tensors: Sequence[Tensor], *, back: bool = False, fill: bool = True) -> Iterator[Tensor]:
    """Tensors as one flat buffer: their own memory where they lie in it one after another, as slices of one do.

    Args:
        back: what is in the buffer at the end goes into the tensors.
        fill: what is in the tensors goes into the buffer.
    """
    first = tensors[0]
    at = first.data_ptr()
    for tensor in tensors:
        if not tensor.is_contiguous() or tensor.data_ptr() != at:
            break
        at += tensor.nbytes
    else:
        elements = (at - first.data_ptr()) // first.element_size()
        yield first.view(-1) if len(tensors) == 1 else first.as_strided((elements,), (1,))
        return
    flat = (
        torch.cat([tensor.flatten() for tensor in tensors]) if fill else first.new_empty(sum(map(_elements, tensors)))
    )
    yield flat
    if back:
        for tensor, part in zip(tensors, torch.split(flat, [*map(_elements, tensors)]), strict=True):
            tensor.copy_(part.view(tensor.shape))


def _elements(tensor: Tensor) -> int:
    return tensor.numel()


def _memory(flat: Tensor) -> Any:
    from mpi4py import MPI

    return MPI.buffer.fromaddress(flat.data_ptr(), flat.nbytes)


@cache
def _types() -> dict[torch.dtype, Any]:
    from mpi4py import MPI

    return {
        torch.float32: MPI.FLOAT,
        torch.float64: MPI.DOUBLE,
        torch.float16: MPI.UINT16_T,
        torch.bfloat16: MPI.UINT16_T,
        torch.int64: MPI.INT64_T,
        torch.int32: MPI.INT32_T,
        torch.int16: MPI.INT16_T,
        torch.int8: MPI.INT8_T,
        torch.uint8: MPI.UINT8_T,
        torch.bool: MPI.UINT8_T,
    }


@cache
def _operations() -> dict[str, Any]:
    from mpi4py import MPI

    return {
        "SUM": MPI.SUM, "PRODUCT": MPI.PROD, "MIN": MPI.MIN, "MAX": MPI.MAX,
        "BAND": MPI.BAND, "BOR": MPI.BOR, "BXOR": MPI.BXOR,
    }  # fmt: skip


@cache
def _sixteen_bits(dtype: torch.dtype, name: str) -> Any:
    """An operation of our own on 16 bits: MPI has no such types, and would add the bits as whole numbers."""
    from mpi4py import MPI

    two: Any = {"SUM": torch.add, "PRODUCT": torch.mul, "MIN": torch.minimum, "MAX": torch.maximum}[name]

    def reduce(incoming: Any, so_far: Any, _type: Any) -> None:
        # Both are memory of MPI's that ends with the call.
        ours, theirs = (torch.frombuffer(memory, dtype=dtype) for memory in (so_far, incoming))
        two(theirs, ours, out=ours)

    return MPI.Op.Create(reduce, commute=True)
