"""The clocks of ranks, made one: each rank's comparisons with rank 0, and times moved from one to the other."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from .intervals import Times
from .keys import CLOCK_SYNC
from .line import MAX_INTEGER, BadLine, Event, as_ns, decode

DRIFT_LIMIT_PPM: Final = 500.0
"""No computer's clock runs faster or slower than another's by more: NTP itself gives up at 500 ppm."""

_CHUNK_BYTES = 1 << 20
_START = b'\n{"key":"' + CLOCK_SYNC.encode() + b'",'


@dataclass(frozen=True)
class Sync:
    """One comparison with rank 0."""

    time_ns: int
    """The rank's own clock."""
    offset_ns: int
    """What to add to it to have rank 0's."""
    error_ns: int


class RankClock:
    """One rank's clock against rank 0's: straight lines between the comparisons."""

    def __init__(self, syncs: Sequence[Sync]) -> None:
        self.syncs = sorted(syncs, key=lambda sync: sync.time_ns)
        first = self.syncs[0]
        # Counted from the first, so that float64 keeps nanoseconds whatever the clocks' zeros are.
        self._base_ns, self._zero_ns = first.offset_ns, first.time_ns
        self._times = np.array([s.time_ns - first.time_ns for s in self.syncs], np.float64)
        self._offsets = np.array([s.offset_ns - first.offset_ns for s in self.syncs], np.float64)

    def to_first_ns(self, time_ns: Times) -> Times:
        """What to add to this rank's times to have rank 0's; before and after the comparisons as beside them."""
        since = (time_ns - self._zero_ns).astype(np.float64)
        offsets = np.interp(since, self._times, self._offsets)
        if len(self.syncs) > 1:
            slope = (self._offsets[-1] - self._offsets[-2]) / max(1.0, self._times[-1] - self._times[-2])
            offsets += slope * np.maximum(0.0, since - self._times[-1])
        return np.rint(offsets).astype(np.int64) + self._base_ns

    @property
    def error_ns(self) -> int:
        """Bound of the error, if the clock's rate was steady between comparisons: the worst of theirs."""
        return max(sync.error_ns for sync in self.syncs)

    @property
    def drift_ppm(self) -> float:
        """How much faster rank 0's clock runs, from the first to the last comparison."""
        return self._drifts([self.syncs[0], self.syncs[-1]])[0] if len(self.syncs) > 1 else 0.0

    def trouble(self) -> str:
        """Why this clock cannot be used; empty if it can."""
        certain = [
            max(0.0, abs(drift) - 1e6 * (a.error_ns + b.error_ns) / max(1, b.time_ns - a.time_ns))
            for drift, (a, b) in zip(self._drifts(self.syncs), itertools.pairwise(self.syncs), strict=True)
        ]
        if max(certain, default=0.0) > DRIFT_LIMIT_PPM:
            return f"it moved by {max(certain):,.0f} ppm against rank 0's, which no clock does of itself"
        return ""

    @staticmethod
    def _drifts(syncs: Sequence[Sync]) -> list[float]:
        return [1e6 * (b.offset_ns - a.offset_ns) / max(1, b.time_ns - a.time_ns) for a, b in itertools.pairwise(syncs)]


def read_syncs(path: Path) -> list[Sync]:
    """The comparisons in a log, found without reading the rest of it."""
    return [sync for sync in map(as_sync, _sync_events(path)) if sync is not None]


def as_sync(event: Event) -> Sync | None:
    """The comparison that a `clock_sync` event holds; None if it holds none."""
    offset, error = event.fields.get("offset_ns"), as_ns(event.fields.get("error_ns"))
    if type(offset) is not int or abs(offset) > MAX_INTEGER or error is None:
        return None
    return Sync(event.time_ns, offset, error)


def _sync_events(path: Path) -> Iterator[Event]:
    buffer = bytearray(b"\n" + bytes(_CHUNK_BYTES))
    kept = 1
    with path.open("rb", buffering=0) as file:
        # To the size of this moment: the log may be growing.
        left = os.fstat(file.fileno()).st_size
        while left > 0 and (read := file.readinto(memoryview(buffer)[kept:])):
            left -= read
            end = kept + read
            whole = buffer.rfind(b"\n", 0, end) + 1
            yield from _in(buffer, whole)
            # From the last newline on: the line behind it may go on in the next chunk. One as long as a chunk is none.
            rest = buffer[max(0, whole - 1) : end]
            kept = len(rest) if len(rest) < _CHUNK_BYTES else 0
            buffer[:kept] = rest[:kept]


def _in(data: bytearray, to: int) -> Iterator[Event]:
    at = data.find(_START, 0, to)
    while at >= 0:
        stop = data.find(b"\n", at + 1, to)
        if stop < 0:
            return
        with suppress(BadLine):  # counted by the reader of the whole log
            yield decode(bytes(data[at + 1 : stop]), at)
        at = data.find(_START, stop, to)
