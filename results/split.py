"""Where a run's wall time went, part by part: for each rank, for their mean, for the stages of start-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .keys import PHASES
from .rank import RankRecord

PARTS: Final = (
    "launch",
    "startup",
    *PHASES,
    "bare_steps",
    "evaluation",
    "between_epochs",
    "finish",
    "ending",
    "unaccounted",
)
"""The parts of the wall time, in the order in which they happen; they add up to it.

`launch`: from the launcher's first act to the rank's log. `startup`: stages but those below. Then the
seven phases of training steps. `bare_steps`: those that --measure-overhead and --measure-every leave out. `evaluation`.
`between_epochs`: stages `epoch` and `checkpoint`. `finish`: stage `finish`.
`ending`: from the end of this rank's log to that of the last rank's. `unaccounted`: what no event names; signed.
"""

TOLERANCE_PERCENT: Final = 1.0
"""Unaccounted time up to which a split is said to add up."""


@dataclass(frozen=True)
class RankSplit:
    """One rank's wall time; the parts' nanoseconds add up to `wall_ns` exactly."""

    rank: int
    wall_ns: int
    """From the launch to the end of the last rank's log: the same for all ranks."""
    parts_ns: Mapping[str, int]
    overlap_ns: int
    """Time that two events of the log both claim; it makes `unaccounted` too small by as much."""
    outside_ns: Mapping[str, int]
    """Part -> how much of it were collectives, waiting included, where they belong to no training step."""

    def seconds(self, part: str) -> float:
        return self.parts_ns[part] / 1e9

    def percent(self, part: str) -> float:
        return _percent(self.parts_ns[part], self.wall_ns)

    @property
    def unaccounted_percent(self) -> float:
        return self.percent("unaccounted")

    @property
    def adds_up(self) -> bool:
        """Whether the log names all but 1 % of the time, and no moment twice."""
        astray = max(abs(self.parts_ns["unaccounted"]), self.overlap_ns)
        return self.wall_ns > 0 and _percent(astray, self.wall_ns) <= TOLERANCE_PERCENT

    def to_json(self) -> dict[str, Any]:
        return {
            "rank": self.rank,
            "seconds": {part: self.seconds(part) for part in PARTS},
            "percent": {part: self.percent(part) for part in PARTS},
            "unaccounted_percent": self.unaccounted_percent,
            "overlap_s": self.overlap_ns / 1e9,
            "collectives_outside_steps_s": {part: ns / 1e9 for part, ns in self.outside_ns.items()},
            "adds_up": self.adds_up,
        }


@dataclass(frozen=True)
class StartupStage:
    """One stage of start-up."""

    name: str
    first_rank_s: float
    """On the lowest rank there is."""
    slowest_s: float
    slowest_rank: int

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "first_rank_s": self.first_rank_s,
            "slowest_s": self.slowest_s,
            "slowest_rank": self.slowest_rank,
        }


@dataclass(frozen=True)
class Split:
    """The splits of all ranks whose log tells where it lies on the calendar."""

    wall_s: float | None
    """None while no rank has begun."""
    ranks: tuple[RankSplit, ...]
    startup: tuple[StartupStage, ...]

    def mean_seconds(self, part: str) -> float:
        """Mean over ranks; 0 without any."""
        return sum(split.parts_ns[part] for split in self.ranks) / max(1, len(self.ranks)) / 1e9

    def mean_outside_seconds(self, part: str) -> float:
        """Of a part, what collectives took that belong to no training step: mean over ranks; 0 without any."""
        return sum(split.outside_ns.get(part, 0) for split in self.ranks) / max(1, len(self.ranks)) / 1e9

    def mean_percent(self, part: str) -> float:
        """Mean over ranks, of the wall; 0 without any."""
        return sum(split.percent(part) for split in self.ranks) / max(1, len(self.ranks))

    def to_json(self) -> dict[str, Any]:
        return {
            "wall_s": self.wall_s,
            "mean": {
                "seconds": {part: self.mean_seconds(part) for part in PARTS},
                "percent": {part: self.mean_percent(part) for part in PARTS},
            },
            "ranks": [split.to_json() for split in self.ranks],
            "startup_stages": [stage.to_json() for stage in self.startup],
        }


def split_of(records: Sequence[RankRecord], launched_unix_ns: int) -> Split:
    """Split the wall time from `launched_unix_ns` to the end of the last log."""
    ends = [end for end in (record.launch_clock_ns(record.last_ns) for record in records) if end is not None]
    stages = _startup(records)
    if not ends:
        return Split(None, (), stages)
    wall_ns = max(ends) - launched_unix_ns
    splits = (_rank_split(record, launched_unix_ns, max(ends)) for record in records)
    return Split(wall_ns / 1e9, tuple(split for split in splits if split is not None), stages)


def _rank_split(record: RankRecord, launched_unix_ns: int, end_unix_ns: int) -> RankSplit | None:
    end = record.launch_clock_ns(record.last_ns)
    begin = None if record.begin_ns is None else record.launch_clock_ns(record.begin_ns)
    if begin is None or end is None:
        return None
    wall_ns = end_unix_ns - launched_unix_ns
    parts = dict.fromkeys(PARTS, 0) | {part: record.parts_ns[part] for part in PARTS}
    parts["launch"] = begin - launched_unix_ns
    parts["ending"] = end_unix_ns - end
    parts["unaccounted"] = wall_ns - sum(parts.values())
    return RankSplit(record.rank, wall_ns, parts, record.overlap_ns, dict(record.outside_ns))


def _startup(records: Sequence[RankRecord]) -> tuple[StartupStage, ...]:
    names = dict.fromkeys(name for record in records for name in record.stages_ns)
    return tuple(_stage(name, records) for name in names)


def _stage(name: str, records: Sequence[RankRecord]) -> StartupStage:
    slowest = max(records, key=lambda record: record.stages_ns[name])
    return StartupStage(
        name,
        first_rank_s=records[0].stages_ns[name] / 1e9,
        slowest_s=slowest.stages_ns[name] / 1e9,
        slowest_rank=slowest.rank,
    )


def _percent(part_ns: int, wall_ns: int) -> float:
    return 100 * part_ns / wall_ns if wall_ns > 0 else 0.0
