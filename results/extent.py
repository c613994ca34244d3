"""Where the logs of a run lie in time, so that one pass over them can fill a chart's buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import keys
from .line import BadLine, Event, as_ns, decode
from .rank import RankRecord
from .run import RunFolder, RunSpec
from .tail import last_lines

BUCKETS: Final = 240
"""More than a chart of 720 points can show, few enough for a page of any run to stay small."""
_ENDS_BYTES: Final = 64 << 10
"""Of a log, what is looked at from either end to guess how long it lasts."""


@dataclass(frozen=True)
class Extent:
    """Where the times of each rank's log lie on the clock that the launch starts, and how wide a bucket is."""

    shift_ns: Mapping[int, int]
    """Rank -> what its log's times are moved by, so that 0 is the launch."""
    width_ns: int
    buckets: int


def guess_extent(folder: RunFolder, spec: RunSpec, buckets: int) -> Extent | None:
    """The extent of a run's logs, by the first and the last line of each alone; None where those do not tell."""
    logs = {rank: folder.rank_events(rank) for rank in range(spec.ranks)}
    starts = {rank: event for rank, path in logs.items() if (event := _log_start(path))}
    said = [as_ns(event.fields.get("launched_unix_ns")) or 0 for event in starts.values()]
    launched = spec.launched_unix_ns or min(filter(None, said), default=spec.created_unix_ns)
    moved = {rank: (as_ns(e.fields.get("unix_time_ns")) or 0) - e.time_ns - launched for rank, e in starts.items()}
    ends = [_last_ns(logs[rank]) + shift for rank, shift in moved.items()]
    return _extent(moved, max(ends), buckets) if ends and max(ends) > 0 else None


def _log_start(path: Path) -> Event | None:
    if not path.is_file():  # what else it may be would hold who opens it
        return None
    try:
        with path.open("rb") as file:
            event = decode(file.readline(_ENDS_BYTES).rstrip(b"\n"), 0)
    except (OSError, BadLine):
        return None
    return event if event.key == keys.LOG_START else None


def _last_ns(path: Path) -> int:
    try:
        return decode(last_lines(path, 1, _ENDS_BYTES)[-1].encode(), 0).time_ns
    except (OSError, IndexError, BadLine):
        return 0


def extent_of(
    records: Sequence[RankRecord], launched_unix_ns: int, wall_s: float | None, buckets: int
) -> Extent | None:
    """The extent of logs that were read; None while there is nothing to show."""
    # `launch_clock_ns(t) - launched` is `t + shift`.
    zeros = {record.rank: record.launch_clock_ns(0) for record in records}
    moved = {rank: zero - launched_unix_ns for rank, zero in zeros.items() if zero is not None}
    return _extent(moved, round(wall_s * 1e9), buckets) if wall_s and wall_s > 0 and moved else None


def _extent(shift_ns: Mapping[int, int], wall_ns: int, buckets: int) -> Extent:
    return Extent(shift_ns, max(1, -(-wall_ns // buckets)), buckets)
