"""The chart of who was waited for: a row a rank, over the steps, as high as its share of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..results.communication import Communication, RankTimes
from ..results.table import Table
from ..results.text import count
from .plot import BOTTOM, TOP, WIDTH, Axis, Chart, Shape, Tick, label, skyline, words, x_axis

RANKS_DRAWN: Final = 64
_LEFT: Final = 112.0
_GAP: Final = 4.0
_COLUMNS: Final = 8
_NAMED: Final = 3


@dataclass(frozen=True)
class _Row:
    name: str
    steps: np.ndarray
    """In which it was waited for, by stretch."""
    rank: RankTimes | None = None
    css: str = "area part-wait"

    @property
    def total(self) -> int:
        return int(self.steps.sum())


def critical_ranks(found: Communication | None) -> Chart | None:
    """Who the others waited for, over the steps; None for one rank, or where no two steps follow each other."""
    if found is None or len(found.ranks) < 2 or not found.course.used:
        return None
    course, used = found.course, found.course.used
    whole, rows = course.steps[:used], _rows(found)
    x = x_axis(course.first, course.first + used * course.width, left=_LEFT)
    edges = [x.at(course.first + i * course.width) for i in range(used + 1)]
    height = 30.0 if len(rows) <= 9 else 16.0
    shapes, ticks = [], []
    for number, row in enumerate(rows):
        foot = TOP + (number + 1) * height
        y = Axis(0, 100, foot, foot - height + _GAP)
        share = 100 * row.steps / np.maximum(whole, 1)
        ticks.append(Tick(foot - (height - _GAP) / 2, f"{row.name}, {_percent(row, whole)}"))
        shapes.append(Shape(f"M{_LEFT:g} {foot:g}H{WIDTH - 16:g}", "grid"))
        if row.total:
            said = f"{row.name}: {_percent(row, whole)} of all steps"
            shapes.append(Shape(skyline(edges, foot, [y.at(value) for value in share]), row.css, said))
    return Chart(
        id="critical-ranks",
        title="Who was waited for, over the steps",
        about=_about(found, rows, whole),
        x_label="training step",
        y_label="",
        x_ticks=tuple(Tick(x.at(step), label(step)) for step in x.values() if step == int(step)),
        y_ticks=tuple(ticks),
        height=TOP + len(rows) * height + BOTTOM,
        shapes=tuple(shapes),
        table=_table(found, rows, whole),
        left=_LEFT,
        grid=False,
    )


def _rows(found: Communication) -> list[_Row]:
    """Ranks in their order, the most waited for where they are too many; then the steps without anybody."""
    course, used = found.course, found.course.used
    ranks = [_Row(f"rank {r.rank}", course.critical[place, :used], r) for place, r in enumerate(found.ranks)]
    drawn = ranks
    if len(ranks) > RANKS_DRAWN:
        most = sorted(range(len(ranks)), key=lambda place: -ranks[place].total)[:RANKS_DRAWN]
        drawn = [ranks[place] for place in sorted(most)]
        rest = np.sum([row.steps for row in ranks], axis=0) - np.sum([row.steps for row in drawn], axis=0)
        drawn = [*drawn, _Row("others", rest)]
    nobody = course.steps[:used] - course.critical[:, :used].sum(axis=0)
    return [*drawn, _Row("nobody", nobody, css="area part-other")]


def _percent(row: _Row, whole: np.ndarray) -> str:
    return f"{100 * row.total / max(1, int(whole.sum())):.0f} %"


def _about(found: Communication, rows: Sequence[_Row], whole: np.ndarray) -> str:
    course = found.course
    most = sorted((row for row in rows if row.rank and row.total), key=lambda row: -row.total)
    said = ", ".join(f"{row.name} in {_percent(row, whole)}" for row in most[:_NAMED])
    rest = f" and {count(len(most) - _NAMED, 'other rank')} less often" if len(most) > _NAMED else ""
    waited = f"The others waited for {said} of steps{rest}." if most else "All ranks arrived together in every step."
    stretch = f" in stretches of {count(course.width, 'step')}" if course.width > 1 else ""
    left_out = f" {RANKS_DRAWN} of {len(found.ranks)} ranks are drawn." if len(found.ranks) > RANKS_DRAWN else ""
    return f"{waited} A row a rank{stretch}; a full row: waited for in each of its steps.{left_out}"


def _table(found: Communication, rows: Sequence[_Row], whole: np.ndarray) -> Table:
    """The shares in a few long stretches, and why."""
    course = found.course
    starts = list(range(0, len(whole), -(-len(whole) // _COLUMNS)))
    totals = np.add.reduceat(whole, starts)
    headers = [f"from step {course.first + start * course.width:,}" for start in starts]
    lines = []
    for row in rows:
        shares = [f"{share:.0f}" for share in 100 * np.add.reduceat(row.steps, starts) / np.maximum(totals, 1)]
        each = f"{row.rank.caused_wait_ms:,.3f}" if row.rank and row.total else "-"
        lines.append((row.name, _percent(row, whole).removesuffix(" %"), each, _phase(row), *shares))
    return Table(
        "Who was waited for: % of steps",
        ("rank", "all steps", "ms each", "mostly for its", *headers),
        tuple(lines),
    )


def _phase(row: _Row) -> str:
    if not row.rank or not row.rank.blamed:
        return "-"
    return words(Counter(row.rank.blamed).most_common(1)[0][0])
