"""The reader of event logs: whole lines only, everything else counted; no content of a log makes it fail."""

from __future__ import annotations

import errno
import itertools
import math
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from ..errors import ResultsInvalid
from .columns import StepColumns
from .health import LogHealth
from .keys import LOG_START, SCHEMA_VERSION
from .line import MAX_LINE_BYTES, BadLine, Event, decode
from .step_lines import PREFIX, decode_steps

_CHUNK_BYTES = 256 << 10
_BIG_CHUNK_BYTES = 2 << 20
_LEAST_STEPS = 512
"""Fewer step lines than this in a row are read one by one: that is fast enough, and loads no library."""


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
        self._take_steps: Callable[[StepColumns], object] | None = None

    def poll(self) -> list[Event]:
        """The events of the lines that were completed since the last call.

        Raises:
            ResultsInvalid: the file is unreadable, or in a format this version does not know.
        """
        events: list[Event] = []
        self.visit(events.append)
        return events

    def visit(self, take: Callable[[Event], object], budget_s: float = math.inf) -> bool:
        """As `poll`, but hand each event to `take`; False if there is no file yet.

        Args:
            budget_s: stop at the first piece of the file that ends after so long; the next call goes on from there.
        """
        handle = _open(self.path)
        if handle is None:
            return False
        try:
            self._read(handle, take, time.monotonic() + budget_s)
        except OSError as error:
            _unreadable(self.path, error.strerror or str(error))
        finally:
            os.close(handle)
        self.health.torn = int(self._line_at < self._read_to)
        return True

    def pieces(self, take: Callable[[Event], object], take_steps: Callable[[StepColumns], object]) -> Iterator[None]:
        """As `visit`, but stop after each piece of the file, and hand on many steps in a row as columns.

        Raises:
            ResultsInvalid: the file is missing or unreadable, or in a format this version does not know.
        """
        self._take_steps = take_steps
        handle = _open(self.path)
        if handle is None:
            _unreadable(self.path, "there is no such file")
        try:
            size = os.fstat(handle).st_size
            while chunk := os.pread(handle, min(_BIG_CHUNK_BYTES, size - self._read_to), self._read_to):
                position, self._read_to = self._read_to, self._read_to + len(chunk)
                self._feed(chunk, position, take)
                self.health.torn = int(self._line_at < self._read_to)
                yield
        except OSError as error:
            _unreadable(self.path, error.strerror or str(error))
        finally:
            os.close(handle)

    def _read(self, handle: int, take: Callable[[Event], object], until_s: float) -> None:
        # To the size of this moment: a rank that writes faster than this reads cannot hold the caller.
        size = os.fstat(handle).st_size
        if size < self._read_to:
            self._start_over()
        while chunk := os.pread(handle, min(_CHUNK_BYTES, size - self._read_to), self._read_to):
            position, self._read_to = self._read_to, self._read_to + len(chunk)
            self._feed(chunk, position, take)
            if time.monotonic() > until_s:
                return

    def _start_over(self) -> None:
        """The file was truncated: read it again, and hand out only what was not handed out before."""
        self.health = LogHealth(truncated=self.health.truncated + 1)
        self._read_to = self._line_at = 0
        self._unfinished.clear()
        self._overlong = False

    def _feed(self, chunk: bytes, position: int, take: Callable[[Event], object]) -> None:
        first, last = chunk.find(b"\n") + 1, chunk.rfind(b"\n") + 1
        if first:
            # Its beginning may be in the chunk before.
            position = self._feed_line(chunk[: first - 1], position, take)
        for begin, end, many_steps in self._runs(chunk, first, last):
            if many_steps and self._feed_steps(chunk[begin:end]):
                position += end - begin
                self._line_at = position
                continue
            for line in chunk[begin : end - 1].split(b"\n"):
                position = self._feed_line(line, position, take)
        self._keep(chunk[last:])

    def _feed_line(self, line: bytes, position: int, take: Callable[[Event], object]) -> int:
        """Take in the rest of a line, which begins at `position`; gives where the next line begins."""
        self._keep(line)
        self._finish_line(take)
        self._line_at = position + len(line) + 1
        return self._line_at

    def _runs(self, chunk: bytes, first: int, last: int) -> Iterator[tuple[int, int, bool]]:
        """Where the lines of `chunk[first:last]` begin and end, in runs; True with many that look like steps."""
        if first == last:
            return
        if self._take_steps is None or last - first < _LEAST_STEPS * len(PREFIX):
            yield first, last, False
            return
        letters = np.frombuffer(chunk, np.uint8)
        ends = np.flatnonzero(letters[first:last] == ord("\n")) + first + 1
        begins = np.concatenate([[first], ends[:-1]])
        looks_so = np.zeros(len(ends), np.bool_)
        long = np.flatnonzero(ends - begins > len(PREFIX))
        heads = letters[begins[long, None] + np.arange(len(PREFIX))]
        looks_so[long] = (heads == np.frombuffer(PREFIX, np.uint8)).all(axis=1)
        edges = [0, *(np.flatnonzero(looks_so[1:] != looks_so[:-1]) + 1).tolist(), len(ends)]
        for a, b in itertools.pairwise(edges):
            yield int(begins[a]), int(ends[b - 1]), bool(looks_so[a]) and b - a >= _LEAST_STEPS

    def _feed_steps(self, lines: bytes) -> bool:
        """Hand these on as columns; False, and nothing is done, if they are not beyond doubt."""
        steps = decode_steps(lines)
        if steps is None or not self.health.count_steps(steps):
            return False
        assert self._take_steps is not None
        self._handed_out_to = int(steps["seq"][-1]) + 1
        self._take_steps(steps)
        return True

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
