"""A curve of any length in a bounded number of points: neighbours are averaged once there are too many."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

POINTS: Final = 800
"""More than a chart of a screen's width shows."""


@dataclass
class Curve:
    """Points (x, y) with rising x; each is the mean of `width` values that were added."""

    limit: int = POINTS
    width: int = 1
    xs: list[float] = field(default_factory=list)
    ys: list[float] = field(default_factory=list)
    _sum_x: float = 0.0
    _sum_y: float = 0.0
    _count: int = 0

    def add(self, x: float, y: float) -> None:
        self._sum_x += x
        self._sum_y += y
        self._count += 1
        if self._count < self.width:
            return
        self.xs.append(self._sum_x / self._count)
        self.ys.append(self._sum_y / self._count)
        self._sum_x = self._sum_y = 0.0
        self._count = 0
        if len(self.xs) >= self.limit:
            self.xs = [(a + b) / 2 for a, b in zip(self.xs[::2], self.xs[1::2], strict=True)]
            self.ys = [(a + b) / 2 for a, b in zip(self.ys[::2], self.ys[1::2], strict=True)]
            self.width *= 2

    def to_json(self) -> list[list[float]]:
        """`[xs, ys]`, what uPlot takes."""
        return [[round(x, 3) for x in self.xs], [float(f"{y:.6g}") for y in self.ys]]
