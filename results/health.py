"""What is wrong with an event log, counted while it is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .columns import StepColumns
from .keys import LOG_STOP
from .line import Event

CORRUPT_SHOWN = 20
"""Corrupt lines of a log that are kept with offset and reason; the others are counted."""


@dataclass(frozen=True)
class CorruptLine:
    """A line that is no event."""

    offset: int
    """Of its first byte in the file."""
    reason: str


@dataclass
class LogHealth:
    """What is wrong with a log, counted: `lines` = events handed out + `corrupt` + `out_of_order`."""

    lines: int = 0
    """Lines with a newline at their end."""
    corrupt: int = 0
    corrupt_lines: list[CorruptLine] = field(default_factory=list)
    """The first `CORRUPT_SHOWN` of them."""
    torn: int = 0
    """1 where the file ends within a line."""
    lost: int = 0
    """Lines that were written, by their `seq`, and are not in the file in any form."""
    out_of_order: int = 0
    """Lines whose `seq` had been passed already: left out, as a repeated line would count its time twice."""
    truncated: int = 0
    """Times the file became shorter while it was followed."""
    complete: bool = False
    """Whether `log_stop` was read: the rank came to its end."""
    _next_seq: int = 0
    _corrupt_since: int = 0

    @property
    def clean(self) -> bool:
        return not (self.corrupt or self.torn or self.lost or self.out_of_order or self.truncated)

    def count_corrupt(self, offset: int, reason: str) -> None:
        self.corrupt += 1
        self._corrupt_since += 1
        if len(self.corrupt_lines) < CORRUPT_SHOWN:
            self.corrupt_lines.append(CorruptLine(offset, reason))

    def count(self, event: Event) -> bool:
        """Count an event; False if it is out of order."""
        if event.seq < self._next_seq:
            self.out_of_order += 1
            return False
        # A corrupt line before this one is where one of the missing numbers went: it is not lost as well.
        self.lost += max(0, event.seq - self._next_seq - self._corrupt_since)
        self._next_seq, self._corrupt_since = event.seq + 1, 0
        self.complete = self.complete or event.key == LOG_STOP
        return True

    def count_steps(self, steps: StepColumns) -> bool:
        """Count these lines all at once; False, and nothing is counted, if their `seq` do not follow one another."""
        first, last = int(steps["seq"][0]), int(steps["seq"][-1])
        if first < self._next_seq or not (steps["seq"][1:] - steps["seq"][:-1] == 1).all():
            return False
        self.lines += len(steps)
        self.lost += max(0, first - self._next_seq - self._corrupt_since)
        self._next_seq, self._corrupt_since = last + 1, 0
        return True

    def to_json(self) -> dict[str, Any]:
        return {
            "lines": self.lines,
            "corrupt": self.corrupt,
            "corrupt_lines": [{"offset": line.offset, "reason": line.reason} for line in self.corrupt_lines],
            "torn": self.torn,
            "lost": self.lost,
            "out_of_order": self.out_of_order,
            "truncated": self.truncated,
            "complete": self.complete,
        }
