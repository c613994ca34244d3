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
from .keys import BARE_STEP, CLOCK_SYNC, STEP
from .line import MAX_INTEGER, BadLine, Event, as_ns, decode
from .tail import last_lines

DRIFT_LIMIT_PPM: Final = 500.0
"""No computer's clock runs faster or slower than another's by more: NTP itself gives up at 500 ppm."""
RATE_ERROR_PPM: Final = 10.0
"""A rate is known where the two comparisons that it is taken from leave at most this much of it open."""
UNKNOWN_RATE_PPM: Final = 100.0
"""How far two clocks can run apart whose rates were not compared: crystals are good to 50 ppm each."""
WANDER_PPM: Final = 15.0
"""How far a rate that was measured can change since: the frequency tolerance of RFC 5905 (PHI, section 7.2)."""

_CHUNK_BYTES = 1 << 20
_END_LINES, _END_BYTES = 1000, 64 << 10
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
    """One rank's clock against rank 0's: straight lines between the comparisons, and on from the last one."""

    def __init__(self, syncs: Sequence[Sync], used_ns: Sequence[int] = ()) -> None:
        """Take in the comparisons.

        Args:
            used_ns: the earliest and the latest of the times that are to be moved, by the rank's own clock; none where
                they all lie between the comparisons.
        """
        self.syncs = sorted(syncs, key=lambda sync: sync.time_ns)
        first, last = self.syncs[0], self.syncs[-1]
        self._used_ns = used_ns
        # Counted from the first, so that float64 keeps nanoseconds whatever the clocks' zeros are.
        self._base_ns, self._zero_ns = first.offset_ns, first.time_ns
        self._times = np.array([s.time_ns - first.time_ns for s in self.syncs], np.float64)
        self._offsets = np.array([s.offset_ns - first.offset_ns for s in self.syncs], np.float64)
        # Two comparisons within milliseconds have a slope too, of their errors alone: off by 300 ms after a minute.
        far = next((s for s in self.syncs[-2::-1] if _rate_error_ppm(s, last) <= RATE_ERROR_PPM), None)
        self._slope_ppm, self._before_ppm, self._after_ppm = 0.0, UNKNOWN_RATE_PPM, UNKNOWN_RATE_PPM
        if all(abs(sync.offset_ns) <= sync.error_ns for sync in self.syncs):
            # Rank 0's own clock: those of two machines count from their boots, which are never so near.
            self._before_ppm = self._after_ppm = 0.0
        elif far is not None:
            self._slope_ppm, self._after_ppm = _rate_ppm(far, last), _rate_error_ppm(far, last) + WANDER_PPM

    def to_first_ns(self, time_ns: Times) -> Times:
        """What to add to this rank's times to have rank 0's.

        Before the comparisons as at the first; after them by the rate of the clock, if two are far enough apart to
        tell it (`RATE_ERROR_PPM`), else as at the last.
        """
        since = (time_ns - self._zero_ns).astype(np.float64)
        offsets = np.interp(since, self._times, self._offsets)
        offsets += self._slope_ppm / 1e6 * np.maximum(0.0, since - self._times[-1])
        return np.rint(offsets).astype(np.int64) + self._base_ns

    @property
    def error_ns(self) -> int:
        """Bound of the error of the times that are used.

        Between comparisons the worst of theirs, if the clock's rate was steady; outside of them it grows with the
        distance.
        """
        first, last = self.syncs[0], self.syncs[-1]
        early_ns = max(0, first.time_ns - min(self._used_ns, default=first.time_ns))
        late_ns = max(0, max(self._used_ns, default=last.time_ns) - last.time_ns)
        before = first.error_ns + round(self._before_ppm * early_ns / 1e6)
        after = last.error_ns + round(self._after_ppm * late_ns / 1e6)
        return max(before, after, *(sync.error_ns for sync in self.syncs))

    @property
    def drift_ppm(self) -> float | None:
        """How much faster rank 0's clock runs, from the first to the last comparison; None if they cannot tell."""
        known = _rate_error_ppm(self.syncs[0], self.syncs[-1]) <= RATE_ERROR_PPM
        return _rate_ppm(self.syncs[0], self.syncs[-1]) if known else None

    def trouble(self) -> str:
        """Why this clock cannot be used; empty if it can."""
        certain = [max(0.0, abs(_rate_ppm(a, b)) - _rate_error_ppm(a, b)) for a, b in itertools.pairwise(self.syncs)]
        if max(certain, default=0.0) > DRIFT_LIMIT_PPM:
            return f"it moved by {max(certain):,.0f} ppm against rank 0's, which no clock does of itself"
        return ""


def read_syncs(path: Path) -> list[Sync]:
    """The comparisons in a log, found without reading the rest of it."""
    return [sync for sync in map(as_sync, _sync_events(path)) if sync is not None]


def last_used_ns(path: Path) -> int:
    """Up to where the times in a log are moved to rank 0's clock: its last step, or a comparison after it.

    Its last line where neither is among the last lines of the log, 0 where it has none.
    """
    last_ns = 0
    for line in reversed(last_lines(path, _END_LINES, _END_BYTES)):
        with suppress(BadLine):  # the first and the last may be torn
            event = decode(line.encode(), 0)
            if event.key in (STEP, BARE_STEP, CLOCK_SYNC):
                return event.time_ns
            last_ns = max(last_ns, event.time_ns)
    return last_ns


def as_sync(event: Event) -> Sync | None:
    """The comparison that a `clock_sync` event holds; None if it holds none."""
    offset, error = event.fields.get("offset_ns"), as_ns(event.fields.get("error_ns"))
    if type(offset) is not int or abs(offset) > MAX_INTEGER or error is None:
        return None
    return Sync(event.time_ns, offset, error)


def _rate_ppm(a: Sync, b: Sync) -> float:
    return 1e6 * (b.offset_ns - a.offset_ns) / max(1, b.time_ns - a.time_ns)


def _rate_error_ppm(a: Sync, b: Sync) -> float:
    """How far the rate between two comparisons can be off by their errors."""
    return 1e6 * (a.error_ns + b.error_ns) / max(1, b.time_ns - a.time_ns)


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
