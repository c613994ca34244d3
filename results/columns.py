"""Training steps as columns: what the log's `step` lines hold, one array a field, for many steps at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .keys import PHASES
from .line import as_ns, as_number

Integers = NDArray[np.int64]

ABSENT: Final = -1
"""Fills the place of a collective or of a blocked span that a step does not have."""

NUMBERS: Final = (
    "seq",
    "time_ns",
    "step",
    "start_ns",
    "step_ns",
    *(f"{phase}_ns" for phase in PHASES),
    "samples",
    "tokens",
)
WARMUP: Final = "warmup"
LOSS: Final = "loss"
OPERATION_LIST: Final = "collective_operation"
GROUP_LIST: Final = "collective_group"
"""Left out where every collective of the step waits for all ranks."""
COLLECTIVE_LISTS: Final = ("collective_bytes", "collective_arrival_ns", "collective_end_ns")
BLOCKED_LISTS: Final = ("blocked_start_ns", "blocked_end_ns")
_OPTIONAL: Final = {"samples": 0, "tokens": 0}

OPERATIONS: Final = (
    "all_reduce",
    "broadcast",
    "reduce",
    "all_gather",
    "reduce_scatter",
    "all_to_all",
    "barrier",
    "send",
    "recv",
)
"""Collectives the columns know by number, in this order; another word has the number after the last."""


@dataclass(frozen=True)
class Group:
    """Whom a collective waits for."""

    ranks: tuple[int, ...] = ()
    """Empty for all."""
    steps_behind: int = 0
    """It waits for their collective of so many steps before."""


@dataclass(frozen=True)
class StepColumns:
    """S steps of one rank; K is the most collectives that one of them has, J the most blocked spans."""

    numbers: Mapping[str, Integers]
    """Each of `NUMBERS`, shape (S,)."""
    warmup: NDArray[np.bool_]
    """Shape (S,)."""
    loss: NDArray[np.float64]
    """Of the rank's own part of the batch; NaN where the step has none. Shape (S,)."""
    operation: Integers
    """Places in `OPERATIONS`, shape (S, K)."""
    group: Integers
    """Numbers of the groups of this rank's log that were waited for, 0 for all ranks, shape (S, K)."""
    collective_bytes: Integers
    """Payload this rank handed over, shape (S, K)."""
    arrival_ns: Integers
    """When the rank was ready, from the step's start, shape (S, K)."""
    end_ns: Integers
    """Likewise its end; `ABSENT` also for one that never ended."""
    blocked_start_ns: Integers
    """When the rank's own work stood still for communication, from the step's start, shape (S, J)."""
    blocked_end_ns: Integers

    def __len__(self) -> int:
        return len(self.warmup)

    def __getitem__(self, name: str) -> Integers:
        return self.numbers[name]

    def take(self, which: Any) -> StepColumns:
        """Some of the steps: by a slice, by their places, or by a mask."""
        return StepColumns(
            {name: values[which] for name, values in self.numbers.items()},
            *(array[which] for array in (self.warmup, self.loss, *self._lists())),
        )

    def _lists(self) -> tuple[Integers, ...]:
        return (
            self.operation,
            self.group,
            self.collective_bytes,
            self.arrival_ns,
            self.end_ns,
            self.blocked_start_ns,
            self.blocked_end_ns,
        )


def concatenate(parts: Sequence[StepColumns]) -> StepColumns:
    """The steps of all parts, in order; there is at least one part."""
    if len(parts) == 1:
        return parts[0]
    numbers = {name: np.concatenate([part[name] for part in parts]) for name in NUMBERS}
    lists = zip(*(part._lists() for part in parts), strict=True)
    return StepColumns(
        numbers,
        np.concatenate([part.warmup for part in parts]),
        np.concatenate([part.loss for part in parts]),
        *(_stack(arrays) for arrays in lists),
    )


def padded(array: Integers, width: int) -> Integers:
    """`array` (S, K) made `width` wide with `ABSENT`."""
    missing = width - array.shape[1]
    return array if missing <= 0 else np.pad(array, ((0, 0), (0, missing)), constant_values=ABSENT)


def from_fields(steps: Sequence[Mapping[str, Any]]) -> StepColumns:
    """Columns of `step` lines that were read one by one; their fields were checked by `is_step`."""
    numbers = {name: np.array([step.get(name, _OPTIONAL.get(name)) for step in steps], np.int64) for name in NUMBERS}
    lists = {name: [step.get(name) or () for step in steps] for name in (*COLLECTIVE_LISTS, *BLOCKED_LISTS)}
    groups = [step.get(GROUP_LIST) or [0] * len(step.get(OPERATION_LIST) or ()) for step in steps]
    operations = [[number_of(word) for word in step.get(OPERATION_LIST) or ()] for step in steps]
    return StepColumns(
        numbers,
        np.array([step.get(WARMUP) is True for step in steps], np.bool_),
        np.array([_or_nan(as_number(step.get(LOSS))) for step in steps], np.float64),
        _matrix(operations),
        _matrix(groups),
        *(_matrix(lists[name]) for name in (*COLLECTIVE_LISTS, *BLOCKED_LISTS)),
    )


def is_step(fields: Mapping[str, Any]) -> bool:
    """Whether a `step` line's fields are of the types they should be, and its lists of equal length."""
    if any(as_ns(fields.get(name, _OPTIONAL.get(name))) is None for name in NUMBERS if name not in ("seq", "time_ns")):
        return False
    grouped = (GROUP_LIST,) if fields.get(GROUP_LIST) else ()
    for lists in ((OPERATION_LIST, *COLLECTIVE_LISTS, *grouped), BLOCKED_LISTS):
        values = [fields.get(name, []) for name in lists]
        if not all(isinstance(value, list) and len(value) == len(values[0]) for value in values):
            return False
    numbers = [item for name in (*COLLECTIVE_LISTS, *BLOCKED_LISTS) for item in fields.get(name, [])]
    if any(as_ns(number) is None for number in (fields[GROUP_LIST] if grouped else ())):
        return False
    return all(item is None or as_ns(item) is not None for item in numbers)


def number_of(word: object) -> int:
    """An operation's place in `OPERATIONS`."""
    return OPERATIONS.index(word) if word in OPERATIONS else len(OPERATIONS)


def _or_nan(number: float | None) -> float:
    return math.nan if number is None else number


def _matrix(rows: Sequence[Sequence[int | None]]) -> Integers:
    width = max((len(row) for row in rows), default=0)
    matrix = np.full((len(rows), width), ABSENT, np.int64)
    for place, row in enumerate(rows):
        matrix[place, : len(row)] = [ABSENT if item is None else item for item in row]
    return matrix


def _stack(arrays: Sequence[Integers]) -> Integers:
    width = max(array.shape[1] for array in arrays)
    return np.concatenate([padded(array, width) for array in arrays])
