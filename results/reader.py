"""One rank's log read piece by piece: its totals grow as it is read, its steps come out as columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import fold, keys
from .columns import StepColumns, concatenate, from_fields, is_step
from .line import Event
from .log import LogTail
from .rank import RankRecord
from .series import RankSeries


class RankReader:
    """Reads once what both the totals and the comparison of ranks need.

    Args:
        path: of the rank's event log.
        series: also takes in the events, where the run is wanted over time.

    Raises:
        ResultsInvalid: from `more`: the file is unreadable, or in a format this version does not know.
    """

    def __init__(self, path: Path, rank: int, series: RankSeries | None = None) -> None:
        self.record = RankRecord(rank)
        self.path = path
        self.series = series
        tail = LogTail(path)
        self.record.health = tail.health
        self._pieces = tail.pieces(self._take, self._take_steps)
        self._steps: list[StepColumns] = []
        self._single: list[Mapping[str, Any]] = []

    def more(self) -> bool:
        """Read a piece further; False at the end."""
        ended = object()
        return next(self._pieces, ended) is not ended

    def steps(self) -> StepColumns | None:
        """The steps that were read since the last call; None if there were none."""
        self._bundle()
        steps, self._steps = self._steps, []
        return concatenate(steps) if steps else None

    def _take(self, event: Event) -> None:
        fold.add(self.record, event)
        if self.series:
            self.series.add(event)
        if event.key == keys.STEP and is_step(event.fields):
            self._single.append({**event.fields, "seq": event.seq, "time_ns": event.time_ns})

    def _take_steps(self, steps: StepColumns) -> None:
        self._bundle()
        fold.add_steps(self.record, steps)
        if self.series:
            self.series.add_steps(steps)
        self._steps.append(steps)

    def _bundle(self) -> None:
        if self._single:
            self._steps.append(from_fields(self._single))
            self._single = []


def read_rank(path: Path, rank: int) -> RankRecord:
    """The record of the log at `path`.

    Raises:
        ResultsInvalid: the file is missing or unreadable, or in a format this version does not know.
    """
    reader = RankReader(path, rank)
    while reader.more():
        reader.steps()
    return reader.record
