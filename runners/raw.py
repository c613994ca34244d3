"""Task 0a: the raw speed of collectives, without a model around them.

Each repetition starts after a barrier and is timed on every rank; the slowest rank's time is the operation's, which
the reader takes (results/raw.py). The first ones are discarded. Every size's result is checked in the first call and in
one after the last that counts, on buffers filled anew. Where there are several backends, each size is measured on all
of them before the next size, so that they share the machine's moods.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from ..results import keys
from ..results.raw import OPERATIONS, element_bytes, elements, plan_of
from ..results.run import RunSpec
from ..results.writer import EventLog
from . import mpi
from .group import ProcessGroup
from .raw_calls import Call, calls_of
from .raw_pattern import Pattern, poison

TASK = "task0a"
_WARMUP = 3


@dataclass(frozen=True)
class Place:
    """Where tensors live and who moves them."""

    backend: str
    device: torch.device
    group: Any


def measure(spec: RunSpec, group: ProcessGroup, log: EventLog) -> None:
    """Measure every operation, type and size of the run's plan on every backend, and log each."""
    plan = plan_of(spec.goal)
    places = list(_places(spec, group))
    log.event(keys.RUN_START)
    for size in plan.sizes:
        for dtype in plan.dtypes:
            for operation in OPERATIONS:
                for place in places:
                    _measure(operation, dtype, size, place, plan.seconds, log)
    log.event(keys.RUN_STOP, status="success", reason="steps")


def _places(spec: RunSpec, group: ProcessGroup) -> Iterator[Place]:
    for backend in spec.backends:
        device = group.device if backend == "nccl" else torch.device("cpu")
        if backend == spec.backend:
            yield Place(backend, device, dist.group.WORLD)
        elif backend == "mpi":
            mpi.start()
            yield Place(backend, device, dist.new_group(backend=mpi.NAME))
        else:
            yield Place(backend, device, dist.new_group(backend=backend))


def _measure(operation: str, dtype: str, size: int, place: Place, seconds: float, log: EventLog) -> None:
    ranks, rank = dist.get_world_size(), dist.get_rank()
    count = elements(operation, size, dtype, ranks)
    case = Case(operation, getattr(torch, dtype), count, place, ranks, rank)
    case.fill()
    case.run()
    correct = case.is_correct()
    warm = [case.timed() for _ in range(_WARMUP)]
    repetitions = _repetitions(min(warm), seconds, place)
    start = time.monotonic_ns()
    times = [case.timed() for _ in range(repetitions)]
    now = time.monotonic_ns()
    # Once more: what went wrong later than in the first call is to be seen, too.
    case.fill(shift=1)
    case.timed()
    correct = case.is_correct() and correct
    log.event(
        keys.RAW_POINT,
        time_ns=now,
        start_ns=start,
        duration_ns=now - start,
        backend=place.backend,
        device=place.device.type,
        operation=operation,
        dtype=dtype,
        size_bytes=count * element_bytes(dtype),
        warmup=_WARMUP,
        correct=correct,
        times_ns=times,
    )


def _repetitions(time_ns: int, seconds: float, place: Place) -> int:
    """As many as fit into the time by rank 0's measure, from 5 to 200; the same on every rank."""
    wanted = torch.tensor([max(5, min(200, int(seconds * 1e9 / max(1, time_ns))))], device=place.device)
    dist.broadcast(wanted, src=0, group=place.group)
    return int(wanted.item())


class Case:
    """One operation on tensors of one size.

    Args:
        count: elements of the buffer that nccl-tests calls the size: of what is gathered, scattered or swapped as a
            whole, a multiple of the ranks.
    """

    def __init__(self, operation: str, dtype: torch.dtype, count: int, place: Place, ranks: int, rank: int) -> None:
        self._operation, self._ranks, self._rank = operation, ranks, rank
        sent, received = {
            "all_gather": (count // ranks, count),
            "reduce_scatter": (count, count // ranks),
        }.get(operation, (count, count))
        self._sent = torch.empty(sent, dtype=dtype, device=place.device)
        in_place = operation in ("all_reduce", "broadcast")
        self._received = self._sent if in_place else torch.empty(received, dtype=dtype, device=place.device)
        calls = calls_of(place.group)
        self._barrier = _settled(calls.barrier(), place.device)
        self.run = _settled(getattr(calls, operation)(self._sent, self._received), place.device)
        self._pattern = Pattern(operation, ranks, rank)

    def fill(self, shift: int = 0) -> None:
        """Write into the buffers what is sent, by a pattern moved by `shift`, and what no operation leaves there."""
        self._pattern = Pattern(self._operation, self._ranks, self._rank, shift)
        poison(self._received)
        self._pattern.fill(self._sent)

    def timed(self) -> int:
        """Nanoseconds of one repetition on this rank, from a barrier on."""
        self._barrier()
        start = time.monotonic_ns()
        self.run()
        return time.monotonic_ns() - start

    def is_correct(self) -> bool:
        """Whether the buffer holds what the operation should leave in it, element by element."""
        return self._pattern.is_in(self._received)


def _settled(call: Call, device: torch.device) -> Call:
    """The call until its end: on a GPU it returns before. On a CPU the call itself, as a clock around it sees more."""
    if device.type != "cuda":
        return call

    def to_its_end() -> None:
        call()
        torch.cuda.synchronize(device)

    return to_its_end
