"""The reader of event logs: whole lines only, everything else counted; no content of a log makes it fail."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ..errors import ResultsInvalid
from .keys import LOG_START, LOG_STOP, SCHEMA_VERSION
from .line import MAX_LINE_BYTES, BadLine, Event, decode

CORRUPT_SHOWN = 20
"""Corrupt lines of a log that are kept with offset and reason; the others are counted."""

_CHUNK_BYTES = 256 << 10


@dataclass(frozen=True)
class CorruptLine:
    """A line that is no event."""

    offset: int
    """Of its first byte in the file."""
    reason: str


@dataclass
class LogHealth:
    """What is wrong with a log, counted: `lines` = events handed out + `corrupt` + `out_of_order`."""

    lines: int = 0
    """Lines with a newline at their end."""
    corrupt: int = 0
    corrupt_lines: list[CorruptLine] = field(default_factory=list)
    """The first `CORRUPT_SHOWN` of them."""
    torn: int = 0
    """1 where the file ends within a line."""
    lost: int = 0
    """Lines that were written, by their `seq`, and are not in the file in any form."""
    out_of_order: int = 0
    """Lines whose `seq` had been passed already: left out, as a repeated line would count its time twice."""
    truncated: int = 0
    """Times the file became shorter while it was followed."""
    complete: bool = False
    """Whether `log_stop` was read: the rank came to its end."""
    _next_seq: int = 0
    _corrupt_since: int = 0

    @property
    def clean(self) -> bool:
        return not (self.corrupt or self.torn or self.lost or self.out_of_order or self.truncated)

    def count_corrupt(self, offset: int, reason: str) -> None:
        self.corrupt += 1
        self._corrupt_since += 1
        if len(self.corrupt_lines) < CORRUPT_SHOWN:
            self.corrupt_lines.append(CorruptLine(offset, reason))

    def count(self, event: Event) -> bool:
        """Count an event; False if it is out of order."""
        if event.seq < self._next_seq:
            self.out_of_order += 1
            return False
        # A corrupt line before this one is where one of the missing numbers went: it is not lost as well.
        self.lost += max(0, event.seq - self._next_seq - self._corrupt_since)
        self._next_seq, self._corrupt_since = event.seq + 1, 0
        self.complete = self.complete or event.key == LOG_STOP
        return True

    def to_json(self) -> dict[str, Any]:
        return {
            "lines": self.lines,
            "corrupt": self.corrupt,
            "corrupt_lines": [{"offset": line.offset, "reason": line.reason} for line in self.corrupt_lines],
            "torn": self.torn,
            "lost": self.lost,
            "out_of_order": self.out_of_order,
            "truncated": self.truncated,
            "complete": self.complete,
        }


@dataclass(frozen=True)
class RankLog:
    """One rank's log, read to its present end."""

    path: Path
    events: tuple[Event, ...]
    health: LogHealth

    @property
    def complete(self) -> bool:
        """Whether the rank came to its end; if not, the log was cut off or is still being written."""
        return self.health.complete

    @property
    def start(self) -> Event | None:
        """The log's first line, if it is there."""
        return next((event for event in self.events if event.key == LOG_START), None)


def read_log(path: Path) -> RankLog:
    """All events of a log, in memory (about 2 KB a step; `LogTail.visit` reads without keeping them).

    Raises:
        ResultsInvalid: the file is missing or unreadable, or in a format this version does not know.
    """
    events: list[Event] = []
    health = visit_log(path, events.append)
    return RankLog(path, tuple(events), health)


def visit_log(path: Path, take: Callable[[Event], object]) -> LogHealth:
    """Hand every event of a log to `take`, in order, in bounded memory.

    Raises:
        ResultsInvalid: as `read_log`.
    """
    tail = LogTail(path)
    if not tail.visit(take):
        _unreadable(path, "there is no such file")
    return tail.health


class LogTail:
    """A log that may still grow, or not be there yet, read by byte offset: nothing lost, nothing doubled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.health = LogHealth()
        """Of what was read so far."""
        self._read_to = 0
        self._line_at = 0
        self._unfinished = bytearray()
        self._overlong = False
        self._handed_out_to = 0

    def poll(self) -> list[Event]:
        """The events of the lines that were completed since the last call.

        Raises:
            ResultsInvalid: the file is unreadable, or in a format this version does not know.
        """
        events: list[Event] = []
        self.visit(events.append)
        return events

    def visit(self, take: Callable[[Event], object]) -> bool:
        """As `poll`, but hand each event to `take`; False if there is no file yet."""
        handle = _open(self.path)
        if handle is None:
            return False
        try:
            self._read(handle, take)
        except OSError as error:
            _unreadable(self.path, error.strerror or str(error))
        finally:
            os.close(handle)
        self.health.torn = int(self._line_at < self._read_to)
        return True

    def _read(self, handle: int, take: Callable[[Event], object]) -> None:
        # To the size of this moment: a rank that writes faster than this reads cannot hold the caller.
        size = os.fstat(handle).st_size
        if size < self._read_to:
            self._start_over()
        while chunk := os.pread(handle, min(_CHUNK_BYTES, size - self._read_to), self._read_to):
            position, self._read_to = self._read_to, self._read_to + len(chunk)
            self._feed(chunk, position, take)

    def _start_over(self) -> None:
        """The file was truncated: read it again, and hand out only what was not handed out before."""
        self.health = LogHealth(truncated=self.health.truncated + 1)
        self._read_to = self._line_at = 0
        self._unfinished.clear()
        self._overlong = False

    def _feed(self, chunk: bytes, position: int, take: Callable[[Event], object]) -> None:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._keep(end)
            self._finish_line(take)
            position += len(end) + 1
            self._line_at = position
        self._keep(rest)

    def _keep(self, piece: bytes) -> None:
        """Add to the unfinished line, but never hold more than one line's worth of it."""
        if self._overlong or len(self._unfinished) + len(piece) > MAX_LINE_BYTES:
            self._overlong = True
            self._unfinished.clear()
        else:
            self._unfinished += piece

    def _finish_line(self, take: Callable[[Event], object]) -> None:
        line, overlong = bytes(self._unfinished), self._overlong
        self._unfinished.clear()
        self._overlong = False
        self.health.lines += 1
        try:
            if overlong:
                raise BadLine(f"is longer than {MAX_LINE_BYTES} bytes")
            event = decode(line, self._line_at)
            _check_version(self.path, event)
        except BadLine as bad:
            self.health.count_corrupt(self._line_at, str(bad))
            return
        if self.health.count(event) and event.seq >= self._handed_out_to:
            self._handed_out_to = event.seq + 1
            take(event)


def _open(path: Path) -> int | None:
    try:
        # O_NONBLOCK: a FIFO in a folder that came from elsewhere must not hold the reader.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        _unreadable(path, error.strerror or errno.errorcode.get(error.errno or 0, "unknown error"))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        _unreadable(path, "it is not a regular file")
    return handle


def _unreadable(path: Path, reason: str) -> NoReturn:
    raise ResultsInvalid(
        f"The event log {path} cannot be read.",
        why=reason[:1].upper() + reason[1:] + ".",
        fix="Pull the run's logs again, or name a run whose folder is whole: mlb runs",
    )


def _check_version(path: Path, event: Event) -> None:
    if event.key != LOG_START:
        return
    version = event.fields.get("schema_version")
    if type(version) is not int:
        raise BadLine("is a log_start without a schema_version")
    if version != SCHEMA_VERSION:
        raise ResultsInvalid(
            f"The event log {path} is in format {version}.",
            why=f"This version of mlb reads format {SCHEMA_VERSION}.",
            fix="Read it with the version of mlb that the run's run.json names under `mlb_version`.",
        )
