"""Times the phases of training steps by laps: every moment of a step belongs to exactly one phase."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ..results import keys
from .clock import Clock, Mark


@dataclass
class Step:
    """One training step under measurement: marks first, facts beside them."""

    epoch_num: int
    step: int
    marks: list[tuple[str, Mark]] = field(default_factory=list)
    """Phase -> the mark at its end; a phase may come more than once."""
    start: Mark | None = None
    samples: int = 0
    tokens: int = 0
    bytes_reduced: int = 0
    warmup: bool = False
    loss: object = None
    """A float, or whatever `LossReader` left to be read once the step is ready."""


class Stopwatch:
    """Laps of consecutive steps. A step starts where the one before ended, so no time falls between two steps.

    A lap takes everything since the mark before it: call `lap("other")` ahead of a phase whose beginning matters.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._step: Step | None = None
        self._pending: deque[Step] = deque()

    def begin(self, epoch_num: int, step: int, *, start: Mark | None = None) -> Step:
        """Start a step now, or where the mark `start` lies."""
        self._step = Step(epoch_num, step, start=self._clock.mark() if start is None else start)
        return self._step

    def lap(self, phase: str) -> None:
        """Everything since the last mark was `phase`."""
        assert self._step is not None, "lap() outside a step"
        self._step.marks.append((phase, self._clock.mark()))

    def end(self) -> Mark:
        """Close the step; returns its last mark, where the next step may start."""
        assert self._step is not None, "end() outside a step"
        self.lap("other")
        self._pending.append(self._step)
        last = self._step.marks[-1][1]
        self._step = None
        return last

    def abandon(self) -> None:
        """Forget the open step: there was no further batch."""
        self._step = None

    def finished(self, *, wait: bool = False) -> list[Step]:
        """The steps whose times are known by now, oldest first; with `wait`, all that were closed."""
        done: list[Step] = []
        while self._pending and (wait or self._clock.ready(self._pending[0].marks[-1][1])):
            done.append(self._pending.popleft())
        return done

    def times(self, step: Step) -> dict[str, int]:
        """The fields of a `step` event, in nanoseconds: its start, its length, and the phases, which add up to it."""
        assert step.start is not None
        previous = start = self._clock.time_ns(step.start)
        phases = dict.fromkeys(keys.PHASES, 0)
        for phase, mark in step.marks:
            now = self._clock.time_ns(mark)
            phases[phase] += now - previous
            previous = now
        return {
            "start_ns": start,
            "step_ns": previous - start,
            **{f"{phase}_ns": duration for phase, duration in phases.items()},
        }
