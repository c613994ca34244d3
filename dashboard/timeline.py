"""Where the time went, moment after moment, in a bounded number of equal stretches, however long it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

STRETCHES: Final = 160
"""Even; about what a chart of half a screen shows."""


@dataclass
class Timeline:
    """Seconds of each part in each stretch of time; the first begins at 0."""

    width_s: float = 0.25
    """Of a stretch."""
    end_s: float = 0.0
    parts_s: dict[str, list[float]] = field(default_factory=dict)

    def add(self, start_s: float, length_s: float, parts_s: Mapping[str, float]) -> None:
        """Spread the parts of a span of time evenly over it; what lies before 0 is left out."""
        end_s = start_s + length_s
        if length_s <= 0 or end_s <= 0:
            return
        while end_s > STRETCHES * self.width_s:
            self._halve()
        first, last = int(max(0.0, start_s) / self.width_s), min(int(end_s / self.width_s), STRETCHES - 1)
        for at in range(first, last + 1):
            inside_s = min(end_s, (at + 1) * self.width_s) - max(start_s, at * self.width_s)
            for part, seconds in parts_s.items():
                if seconds > 0:
                    stretches = self.parts_s.get(part) or self.parts_s.setdefault(part, [0.0] * STRETCHES)
                    stretches[at] += seconds * inside_s / length_s
        self.end_s = max(self.end_s, end_s)

    @property
    def shares(self) -> dict[str, float]:
        """Each part's share of all that was added."""
        totals = {part: sum(stretches) for part, stretches in self.parts_s.items()}
        whole = sum(totals.values())
        return {part: seconds / whole for part, seconds in totals.items()} if whole > 0 else {}

    def to_json(self) -> dict[str, Any]:
        """The middles of the stretches, and each part's percent of them; the last may have only begun."""
        used = min(STRETCHES, -int(-self.end_s // self.width_s))
        long_s = [min(self.width_s, self.end_s - at * self.width_s) for at in range(used)]
        # A sliver at the end would show one step alone.
        if used > 1 and long_s[-1] < self.width_s / 4:
            used -= 1
        return {
            "at": [round(at * self.width_s + long_s[at] / 2, 3) for at in range(used)],
            "parts": {
                part: [round(100 * stretches[at] / long_s[at], 2) for at in range(used)]
                for part, stretches in self.parts_s.items()
            },
        }

    def _halve(self) -> None:
        """Two neighbours become one."""
        self.width_s *= 2
        for part, stretches in self.parts_s.items():
            pairs = [a + b for a, b in zip(stretches[::2], stretches[1::2], strict=True)]
            self.parts_s[part] = pairs + [0.0] * (STRETCHES // 2)
