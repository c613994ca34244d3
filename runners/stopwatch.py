"""Times the phases of training steps by laps, and the collectives beside them.

Every moment of a step belongs to exactly one phase; a collective has times of its own, since it may run under others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..results import keys
from .clock import Clock, Mark


@dataclass
class Collective:
    """One collective of a step, as this rank saw it."""

    operation: str
    payload_bytes: int
    arrival: Mark
    """When this rank was ready for it."""
    group: int = 0
    """Number of the group of ranks that it waits for; 0 for all of them, in the same step."""
    end: Mark | None = None


@dataclass
class Step:
    """One training step under measurement: marks first, facts beside them."""

    epoch_num: int
    step: int
    marks: list[tuple[str, Mark]] = field(default_factory=list)
    """Phase -> the mark at its end; a phase may come more than once."""
    collectives: list[Collective] = field(default_factory=list)
    start: Mark | None = None
    samples: int = 0
    tokens: int = 0
    bytes_reduced: int = 0
    warmup: bool = False
    measured: bool = True
    """If not, its end is the only mark."""
    loss: object = None
    """A float, or whatever `LossReader` left to be read once the step is ready."""


SAMPLED_TOGETHER = 10
"""Steps in a row that are measured, or not: who was waited for is seen from one step to the next."""


def is_sampled(step: int, every: int) -> bool:
    """Whether a step is measured where one of `every` blocks of steps is: alike on all ranks, the first block too."""
    return step // SAMPLED_TOGETHER % every == 0


class Stopwatch:
    """Laps of consecutive steps. A step starts where the one before ended, so no time falls between two steps.

    A lap takes everything since the mark before it: call `lap("other")` ahead of a phase whose beginning matters.
    It is the observer of the aggregation (aggregation/base.py): nothing it is told makes anything wait.
    """

    def __init__(self, clock: Clock, new_group: Callable[[int, tuple[int, ...], int], object] | None = None) -> None:
        """Nothing is measured yet.

        Args:
            new_group: told the number, the ranks and `steps_behind` of a group when it is first met.
        """
        self._clock = clock
        self._step: Step | None = None
        self._pending: deque[Step] = deque()
        self._groups: dict[tuple[tuple[int, ...], int], int] = {((), 0): 0}
        self._new_group = new_group

    def begin(self, epoch_num: int, step: int, *, start: Mark | None = None, measured: bool = True) -> Step:
        """Start a step now, or where the mark `start` lies; one that is not measured has a length and no phases."""
        start = self._clock.mark() if start is None else start
        self._step = Step(epoch_num, step, start=start, measured=measured)
        return self._step

    def lap(self, phase: str) -> None:
        """Everything since the last mark was `phase`."""
        assert self._step is not None, "lap() outside a step"
        if self._step.measured:
            self._step.marks.append((phase, self._clock.mark()))

    def collective(
        self, operation: str, payload_bytes: int, among: tuple[int, ...] = (), steps_behind: int = 0
    ) -> Callable[[], None]:
        """This rank is ready for a collective; call what is returned when it has ended."""
        assert self._step is not None, "collective() outside a step"
        if not self._step.measured:
            return _nothing
        record = Collective(operation, payload_bytes, self._clock.mark())
        record.group = self._number(among, steps_behind)
        self._step.collectives.append(record)

        def ended() -> None:
            record.end = self._clock.mark()

        return ended

    def backward_done(self) -> None:
        """What follows of backward is waiting for collectives."""
        self.lap("backward")

    @contextmanager
    def blocking(self, phase: str) -> Iterator[None]:
        """What came before was `phase`; what happens inside is waiting for a collective."""
        self.lap(phase)
        yield
        self.lap("communication")

    def end(self) -> Mark:
        """Close the step; returns its last mark, where the next step may start."""
        assert self._step is not None, "end() outside a step"
        last = self._clock.mark()
        self._step.marks.append(("other", last))
        self._pending.append(self._step)
        self._step = None
        return last

    def abandon(self) -> None:
        """Forget the open step: there was no further batch."""
        self._step = None

    def finished(self, *, wait: bool = False) -> list[Step]:
        """The steps whose times are known by now, oldest first; with `wait`, all that were closed."""
        done: list[Step] = []
        while self._pending and (wait or self._known(self._pending[0])):
            done.append(self._pending.popleft())
        return done

    def times(self, step: Step) -> dict[str, Any]:
        """The fields of a `step` event, in nanoseconds: its start, its length, the phases, which add up to it, and
        the collectives; where the rank was blocked and where a collective lies is counted from the step's start."""
        assert step.start is not None
        previous = start = self._clock.time_ns(step.start)
        phases = dict.fromkeys(keys.PHASES, 0)
        blocked: list[int] = []
        for phase, mark in step.marks:
            now = self._clock.time_ns(mark)
            phases[phase] += now - previous
            if phase == "communication" and blocked[-1:] == [previous - start]:
                blocked[-1] = now - start
            elif phase == "communication" and now > previous:
                blocked += [previous - start, now - start]
            previous = now
        fields: dict[str, Any] = {"start_ns": start, "step_ns": previous - start}
        if not step.measured:
            return fields
        fields |= {f"{phase}_ns": duration for phase, duration in phases.items()}
        return {**fields, **self._collectives(step, start, blocked)} if step.collectives else fields

    def _collectives(self, step: Step, start: int, blocked: list[int]) -> dict[str, Any]:
        """One list a fact, in the order in which the rank arrived: readers take them as columns."""
        # On a GPU a mark that was taken right at the step's start may come out a few nanoseconds before it.
        arrivals = [max(0, self._clock.time_ns(c.arrival) - start) for c in step.collectives]
        ends = [None if c.end is None else self._clock.time_ns(c.end) - start for c in step.collectives]
        groups = [c.group for c in step.collectives]
        return {
            **({"collective_group": groups} if any(groups) else {}),
            "collective_operation": [c.operation for c in step.collectives],
            "collective_bytes": [c.payload_bytes for c in step.collectives],
            "collective_arrival_ns": arrivals,
            "collective_end_ns": ends,
            "blocked_start_ns": blocked[0::2],
            "blocked_end_ns": blocked[1::2],
        }

    def _number(self, among: tuple[int, ...], steps_behind: int) -> int:
        number = self._groups.get((among, steps_behind))
        if number is None:
            number = self._groups[among, steps_behind] = len(self._groups)
            if self._new_group:
                self._new_group(number, among, steps_behind)
        return number

    def _known(self, step: Step) -> bool:
        marks = (step.marks[-1][1], *(c.end for c in step.collectives))
        return all(mark is not None and self._clock.ready(mark) for mark in marks)


def _nothing() -> None:
    return None
