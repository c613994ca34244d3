"""Task 0a: what is measured, and the table of bandwidths from the ranks' logs.

Bandwidths are those of nccl-tests (doc/PERFORMANCE.md): algorithm bandwidth is size / time, bus bandwidth that times a
factor of the operation, so that it can be compared with what the hardware moves whatever the number of ranks.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from ..errors import ResultsInvalid
from . import keys
from .log import read_log
from .run import RunFolder
from .table import Report, Table
from .text import sanitise

OPERATIONS: Final = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all", "send_recv")
_SHARED: Final = ("all_gather", "reduce_scatter", "all_to_all")
"""Operations of whose buffer each rank has a share."""
SUMS: Final = ("all_reduce", "reduce_scatter")
"""Operations that add up."""
_ALONE: Final = (
    "one rank: the times are those of launching an operation and of copying on its device, and algbw is the copy's; "
    "nothing crosses a link, so that this tells nothing of bandwidth or latency between ranks."
)
_OWN_SUM: Final = (
    "MPI has no such type. Its sums are an operation of mlb's own, in Python, so that these are not MPI's times."
)
_ELEMENT_BYTES: Final = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class RawPlan:
    """What a goal of task 0a measures."""

    dtypes: tuple[str, ...]
    sizes: tuple[int, ...]
    """Elements; those of float32, so that the bytes of a 16-bit type are half."""
    seconds: float
    """Time for the repetitions of one point; at least five are made."""


@dataclass(frozen=True)
class Point:
    """One operation at one size, over all ranks; microseconds and 1e9 bytes a second."""

    backend: str
    device: str
    operation: str
    dtype: str
    size_bytes: int
    repetitions: int
    median_us: float
    p5_us: float
    p95_us: float
    p99_us: float
    algbw: float
    busbw: float | None
    """None for one rank: nothing crosses a link."""
    correct: bool


def plan_of(goal: str) -> RawPlan:
    """`full`: MLBench's 80 sizes, 4 bytes to 400 MB; `quick`: eight sizes, 4 bytes to 8 MB, in float32."""
    if goal == "quick":
        return RawPlan(("float32",), tuple(int(8**k) for k in range(8)), 0.1)
    # MLBench's own line: np.logspace(0, 8, num=80) cut to whole numbers; the smallest come several times.
    return RawPlan(tuple(_ELEMENT_BYTES), tuple(sorted({int(n) for n in np.logspace(0, 8, num=80)})), 0.5)


def elements(operation: str, size: int, dtype: str, ranks: int) -> int:
    """Elements of a buffer: `size`, rounded up to a multiple of the ranks where each has a share."""
    element_bytes(dtype)
    return -(-size // ranks) * ranks if operation in _SHARED else size


def element_bytes(dtype: str) -> int:
    """Bytes of one element."""
    return _ELEMENT_BYTES[dtype]


def bus_factor(operation: str, ranks: int) -> float:
    """Bus bandwidth over algorithm bandwidth, for two ranks or more."""
    if operation == "all_reduce":
        return 2 * (ranks - 1) / ranks
    return (ranks - 1) / ranks if operation in _SHARED else 1.0


def points_of(folder: RunFolder) -> list[Point]:
    """The points that every rank has logged, in the order in which they were measured.

    Raises:
        ResultsInvalid: a log cannot be read, or the ranks did not measure the same.
    """
    ranks = folder.read_spec().ranks
    logs = [
        [event.fields for event in read_log(folder.rank_events(rank)).events if event.key == keys.RAW_POINT]
        for rank in range(ranks)
    ]
    return [_point(list(fields), ranks) for fields in zip(*logs, strict=False)]


def _point(fields: list[Any], ranks: int) -> Point:
    what = ("backend", "device", "operation", "dtype", "size_bytes")
    first: dict[str, Any] = {name: fields[0][name] for name in what}
    times = [each["times_ns"] for each in fields]
    if any({name: each[name] for name in what} != first for each in fields) or len(set(map(len, times))) != 1:
        raise ResultsInvalid(f"The ranks did not measure the same: {first} on rank 0.", fix="Run task0a again.")
    if first["operation"] not in OPERATIONS or first["dtype"] not in _ELEMENT_BYTES:
        raise ResultsInvalid(f"Task 0a has no {sanitise(first['operation'])} of {sanitise(first['dtype'])}.")
    # An operation is over when it is over on all ranks.
    slowest_us = np.array(times, dtype=np.float64).max(axis=0) / 1e3
    median, p5, p95, p99 = (float(v) for v in np.percentile(slowest_us, (50, 5, 95, 99)))
    algbw = first["size_bytes"] / median / 1e3
    return Point(
        **first | {name: sanitise(first[name]) for name in ("backend", "device")},
        repetitions=len(slowest_us),
        median_us=median,
        p5_us=p5,
        p95_us=p95,
        p99_us=p99,
        algbw=algbw,
        busbw=algbw * bus_factor(first["operation"], ranks) if ranks > 1 else None,
        correct=all(each["correct"] for each in fields),
    )


def to_json(folder: RunFolder, points: list[Point]) -> dict[str, Any]:
    """The run as plain data: what plots are made of."""
    spec = folder.read_spec()
    return {
        "run": folder.run_id,
        "task": spec.task,
        "goal": spec.goal,
        "ranks": spec.ranks,
        "nodes": spec.nodes,
        "all_correct": all(point.correct for point in points),
        "points": [asdict(point) for point in points],
    }


def rows_of(folder: RunFolder, points: list[Point]) -> list[dict[str, Any]]:
    """A row of cells for each point."""
    spec = folder.read_spec()
    run = {"run": folder.run_id, "goal": spec.goal, "ranks": spec.ranks, "nodes": spec.nodes}
    return [{**run, **asdict(point)} for point in points]


def report_of(folder: RunFolder, points: list[Point]) -> Report:
    """A table for each backend, operation and type."""
    spec = folder.read_spec()
    kinds = dict.fromkeys((p.backend, p.device, p.operation, p.dtype) for p in points)
    wrong = sum(not point.correct for point in points)
    checked = f"{len(points)} points, {'every result checked and right' if not wrong else f'{wrong} WRONG'}"
    checked = checked if points else "Nothing was measured."
    facts = (
        ("Ranks", f"{spec.ranks}, {spec.nodes} x {spec.ranks_per_node} (nodes x ranks on each), fleet {spec.fleet}"),
        ("Time", "of the slowest rank in each repetition, from a barrier on; warm-up left out"),
        ("Bandwidth", "GB/s (1e9 bytes): size / median time; bus: times nccl-tests' factor of the operation"),
    )
    tables = tuple(_table(kind, [p for p in points if _kind(p) == kind]) for kind in kinds)
    beside = (f"{other} was going on on the same machine" for other in spec.beside)
    warnings = (*([_ALONE] if spec.ranks == 1 else ()), *spec.caveats, *beside)
    title = (f"{spec.task}, goal {spec.goal}: run {folder.run_id}", checked)
    return Report(title=title, failure=(), rows=facts, tables=tables, warnings=warnings)


def _kind(point: Point) -> tuple[str, str, str, str]:
    return point.backend, point.device, point.operation, point.dtype


def _table(kind: tuple[str, str, str, str], points: list[Point]) -> Table:
    backend, device, operation, dtype = kind
    rows = tuple(
        (
            f"{p.size_bytes:,}",
            *(f"{value:,.1f}" for value in (p.median_us, p.p5_us, p.p95_us, p.p99_us)),
            f"{p.algbw:.3f}",
            "-" if p.busbw is None else f"{p.busbw:.3f}",
            str(p.repetitions),
            "yes" if p.correct else "NO",
        )
        for p in points
    )
    headers = ("bytes", "median us", "p5", "p95", "p99", "algbw GB/s", "busbw GB/s", "n", "right")
    own = backend == "mpi" and operation in SUMS and dtype != "float32"
    return Table(f"{operation}, {dtype}, {backend} on {device}", headers, rows, notes=(_OWN_SUM,) if own else ())
