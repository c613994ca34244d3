"""One pass over all ranks' logs: the totals of each rank, and the joined steps told apart, piece by piece."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .breakdown import Breakdown, break_down
from .clocks import RankClock, last_used_ns, read_syncs
from .extent import Extent
from .join import JoinHealth, join
from .rank import RankRecord
from .reader import RankReader
from .releases import Releases
from .run import RunFolder, RunSpec
from .series import RankSeries, buckets_of
from .text import ranges, sanitise

ALIGNED = "aligned clocks"
CLOCK_FREE = "shortest duration"


@dataclass(frozen=True)
class Alignment:
    """How the ranks' times were brought together."""

    clocks: Mapping[int, RankClock] | None
    """None: without clocks, by the shortest duration of a collective over the ranks."""
    why: str
    """Why not by clocks; empty where it is by clocks."""

    @property
    def method(self) -> str:
        return CLOCK_FREE if self.clocks is None else ALIGNED

    @property
    def error_ns(self) -> int | None:
        """Bound of the error between any two ranks' times; None without clocks."""
        if self.clocks is None:
            return None
        worst = sorted((clock.error_ns for clock in self.clocks.values()), reverse=True)
        return sum(worst[:2])


@dataclass(frozen=True)
class Reduction:
    """What one pass found."""

    records: tuple[RankRecord, ...]
    """Of the ranks that have a log."""
    alignment: Alignment
    joined_ranks: tuple[int, ...]
    """The ranks whose steps were compared: those whose log is of this run."""
    health: JoinHealth
    series: Mapping[int, RankSeries]
    """Rank -> its log over time, of the ranks that have a place in the extent that was asked for."""


Taker = Callable[[Breakdown], object]
Begin = Callable[[Alignment], Taker]


def reduce(folder: RunFolder, spec: RunSpec, begin: Begin, extent: Extent | None = None) -> Reduction:
    """Read the run's logs, and hand on each piece of joined steps, in order.

    Args:
        begin: called before the first piece, gives what takes the pieces; called again, for another start, in the
            rare case that a clock is found to run backwards after pieces were aligned by it.
        extent: where the logs lie in time, if the run is wanted over time too.

    Raises:
        ResultsInvalid: a log cannot be read, or is in a format this version does not know.
    """
    reduction = _pass(folder, spec, begin, extent)
    backwards = reduction.health.backwards
    if not backwards or reduction.alignment.clocks is None:
        return reduction
    rank, step = next(iter(backwards.items()))
    return _pass(folder, spec, begin, extent, f"the clock of rank {rank} ran backwards at step {step}")


def _pass(folder: RunFolder, spec: RunSpec, begin: Begin, extent: Extent | None, why_not_clocks: str = "") -> Reduction:
    paths = {rank: folder.rank_events(rank) for rank in range(spec.ranks)}
    there = {rank: path for rank, path in paths.items() if path.exists()}
    readers = [RankReader(path, rank, buckets_of(extent, rank)) for rank, path in there.items()]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(RankReader.more, readers))  # the first lines tell of which run the log is
    own = [reader for reader in readers if _is_of(reader.record, spec)]
    alignment = Alignment(None, why_not_clocks) if why_not_clocks else _alignment(own)
    health, take, releases = JoinHealth(), begin(alignment), Releases(alignment.clocks)
    for joined in join(own, health):
        take(break_down(joined, releases, spec.ranks))
    for reader in readers:
        while reader.more():
            reader.steps()
    records = tuple(reader.record for reader in readers)
    series = {reader.record.rank: reader.series for reader in readers if reader.series}
    return Reduction(records, alignment, tuple(reader.record.rank for reader in own), health, series)


def _is_of(record: RankRecord, spec: RunSpec) -> bool:
    """Whether the log says that it is this rank's of this run; one that does not say is taken for it."""
    return record.rank_said in (None, record.rank) and record.run_id in ("", sanitise(spec.run_id))


def _alignment(readers: Sequence[RankReader]) -> Alignment:
    clocks: dict[int, RankClock] = {}
    without, troubled = [], []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = list(pool.map(read_syncs, [reader.path for reader in readers]))
    for reader, syncs in zip(readers, found, strict=True):
        rank = reader.record.rank
        if not syncs:
            without.append(rank)
            continue
        begun_ns = reader.record.run_start_ns
        clocks[rank] = RankClock(syncs, [last_used_ns(reader.path), *([] if begun_ns is None else [begun_ns])])
        if trouble := clocks[rank].trouble():
            troubled.append(f"rank {rank}'s clock cannot be trusted: {trouble}")
    if troubled:
        return Alignment(None, "; ".join(troubled[:3]))
    if without and len(readers) > 1:
        said = next((reader.record.clock_trouble for reader in readers if reader.record.clock_trouble), "")
        why = f"no comparison of clocks in the log of rank {ranges(without)}"
        return Alignment(None, f"{why}: {said}" if said else why)
    return Alignment(None if without else clocks, "")
