"""Who was waited for in the course of a run: counts in a bounded number of equal stretches of steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from .columns import Integers

STRETCHES: Final = 96
"""Even; as many as a chart can show. A run of any length has between half as many and as many, once it has those."""


@dataclass
class Course:
    """Steps by rank and stretch; ranks in the order of the join."""

    ranks: tuple[int, ...]
    first: int = 0
    """Number of the first step that counts."""
    width: int = 1
    """Steps of a stretch."""
    steps: Integers = field(default_factory=lambda: np.zeros(STRETCHES, np.int64))
    """Steps that count in each stretch, shape (STRETCHES,)."""
    critical: Integers = field(init=False)
    """In how many of them each rank was the one waited for, shape (R, STRETCHES)."""

    def __post_init__(self) -> None:
        self.critical = np.zeros((len(self.ranks), STRETCHES), np.int64)

    @property
    def used(self) -> int:
        """Stretches up to the last that holds a step."""
        return int(np.flatnonzero(self.steps)[-1]) + 1 if self.steps.any() else 0

    def add(self, numbers: Integers, waited_for: Integers, late: np.ndarray) -> None:
        """Take in the next steps.

        Args:
            numbers: the steps' numbers, rising, shape (S,).
            waited_for: the place of the rank that arrived last in each, shape (S,).
            late: in which of them it was waited for at all, shape (S,).
        """
        if not self.steps.any():
            self.first = int(numbers[0])
        since = numbers - self.first
        while int(since[-1]) >= STRETCHES * self.width:
            self._halve()
        at = since // self.width
        self.steps += np.bincount(at, minlength=STRETCHES)
        np.add.at(self.critical, (waited_for[late], at[late]), 1)

    def _halve(self) -> None:
        """Two neighbours become one."""
        self.width *= 2
        for counts in (self.steps, self.critical):
            half = counts[..., ::2] + counts[..., 1::2]
            counts[...] = 0
            counts[..., : STRETCHES // 2] = half
