"""A rank's event log, written inside the training loop: an event costs its caller an append, never a disk."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import RunFailed
from .keys import LOG_START, LOG_STOP, SCHEMA_VERSION
from .line import encode

FLUSH_BYTES = 64 << 10
FLUSH_S = 0.5

# Bytes of a typical line (a step is 430 to 480): callers count events, as counting bytes would mean encoding.
_LINE_BYTES = 512

_WORDS = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk quota used up",
    errno.EIO: "the disk reports an I/O error",
}


class EventLog:
    """The event log of one rank (docs/event-log.md).

    Thread-safe. One process writes one file, once. The writing thread is a daemon: a process that ends
    without `close()` leaves a log without `log_stop` and loses at most the last `flush_s` seconds of events.

    Args:
        path: of a file that does not exist yet, or is empty; its folder exists.
        launched_unix_ns: when the launcher began, from the run's spec.
        clock: the node's monotonic clock, in nanoseconds.
        unix_clock: the wall clock, in nanoseconds since 1970.
        flush_bytes: write once about this much is waiting.
        flush_s: write at least this often, in seconds, while anything is waiting.

    Raises:
        RunFailed: the file cannot be opened, is not empty, or its first line cannot be written.
    """

    _write = staticmethod(os.write)

    def __init__(
        self,
        path: Path,
        *,
        rank: int,
        local_rank: int,
        world_size: int,
        node: int,
        run_id: str,
        launched_unix_ns: int,
        clock: Callable[[], int] = time.monotonic_ns,
        unix_clock: Callable[[], int] = time.time_ns,
        flush_bytes: int = FLUSH_BYTES,
        flush_s: float = FLUSH_S,
    ) -> None:
        self.path = path
        self._clock = clock
        self._unix_clock = unix_clock
        self._flush_bytes = flush_bytes
        self._flush_s = flush_s
        self._wake_at = max(1, flush_bytes // _LINE_BYTES)
        self._waiting: deque[tuple[str, int, dict[str, Any]]] = deque()
        self._seq = 0
        self._unwritten = b""
        self._trouble: RunFailed | None = None
        self._closed = False
        self._disk = threading.Lock()
        self._wake = threading.Event()
        self._handle = _open(path)
        time_ns, unix_time_ns = self._both_clocks()
        self.event(
            LOG_START,
            time_ns=time_ns,
            schema_version=SCHEMA_VERSION,
            run_id=run_id,
            rank=rank,
            local_rank=local_rank,
            world_size=world_size,
            node=node,
            host=socket.gethostname(),
            pid=os.getpid(),
            unix_time_ns=unix_time_ns,
            launched_unix_ns=launched_unix_ns,
        )
        try:
            self.flush()
        except RunFailed:
            os.close(self._handle)
            raise
        self._thread = threading.Thread(target=self._write_in_background, name="event-log", daemon=True)
        self._thread.start()

    def event(self, key: str, *, time_ns: int | None = None, **fields: Any) -> None:
        """Note an event; it takes about a microsecond and does not wait for anything.

        Values are encoded later, by the writing thread: hand over plain data that nobody changes afterwards.

        Args:
            time_ns: the monotonic clock at the event (of an interval, its end); now, where it is None.

        Raises:
            RunFailed: an earlier event could not be written or encoded. This one is kept for `close()` to try.
        """
        # deque.append is one atomic step, so that callers need no lock; this queue's order is that of `seq`.
        self._waiting.append((key, self._clock() if time_ns is None else time_ns, fields))
        if self._trouble is not None:
            raise self._trouble
        if len(self._waiting) >= self._wake_at and not self._wake.is_set():
            self._wake.set()

    def thread_ns(self) -> int:
        """Processor time of the writing thread so far: what logging costs beside the calls of `event`."""
        if self._thread.ident is None or not self._thread.is_alive():
            return 0
        return time.clock_gettime_ns(time.pthread_getcpuclockid(self._thread.ident))

    def flush(self) -> None:
        """Return once all events noted so far are the kernel's.

        Raises:
            RunFailed: an event could not be written, now or earlier.
        """
        with self._disk:
            if not self._closed:
                self._drain()
        if self._trouble is not None:
            raise self._trouble

    def close(self) -> None:
        """Write `log_stop` and all before it, and return once it is on the disk; a second call does nothing.

        Raises:
            RunFailed: an event could not be written, now or earlier.
        """
        with self._disk:
            if self._closed:
                return
            self._closed = True
            time_ns, unix_time_ns = self._both_clocks()
            self._waiting.append((LOG_STOP, time_ns, {"unix_time_ns": unix_time_ns}))
            self._drain()
            self._sync()
            os.close(self._handle)
        self._wake.set()
        self._thread.join()
        trouble = self._trouble
        # An event noted from now on would be lost silently.
        self._trouble = RunFailed(f"The event log {self.path} is closed.")
        if trouble is not None:
            raise trouble

    def _both_clocks(self) -> tuple[int, int]:
        """Monotonic and wall clock at one instant: of five tries the one that was interrupted least."""
        tries = [(self._clock(), self._unix_clock(), self._clock()) for _ in range(5)]
        before, unix_time_ns, after = min(tries, key=lambda t: t[2] - t[0])
        return (before + after) // 2, unix_time_ns

    def _write_in_background(self) -> None:
        while not self._closed:
            self._wake.wait(self._flush_s)
            self._wake.clear()
            with self._disk:
                if not self._closed:
                    self._drain()

    def _drain(self) -> None:
        """Write out what waits; the caller holds `_disk`."""
        while self._write_rest() and self._waiting:
            self._unwritten = self._encode_some()

    def _encode_some(self) -> bytes:
        lines: list[bytes] = []
        size = 0
        while self._waiting and size < self._flush_bytes:
            key, time_ns, fields = self._waiting.popleft()
            seq, self._seq = self._seq, self._seq + 1
            try:
                lines.append(encode(key, seq, time_ns, fields))
                size += len(lines[-1])
            except (TypeError, ValueError, RecursionError) as error:
                # Its number is used up: the reader sees that a line is lost.
                self._remember(f"an event {key!r} cannot be encoded: {error}", error)
        return b"".join(lines)

    def _write_rest(self) -> bool:
        """Write the bytes that are due; False if the disk took only some of them.

        What it did not take stays first in line, from the exact byte on: if space returns, the line that was
        torn is completed, and no two halves are ever glued together. (Linux reports an error only where it
        took nothing.)
        """
        try:
            while self._unwritten:
                self._unwritten = self._unwritten[self._write(self._handle, self._unwritten) :]
        except OSError as error:
            self._remember(_reason(error), error)
            return False
        return True

    def _sync(self) -> None:
        try:
            os.fsync(self._handle)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a device or a pipe has nothing to sync
                self._remember(_reason(error), error)

    def _remember(self, reason: str, cause: BaseException) -> None:
        if self._trouble is None:
            self._trouble = _failed(self.path, reason)
            self._trouble.__cause__ = cause


def _open(path: Path) -> int:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _failed(path, _reason(error)) from error
    if os.fstat(handle).st_size:
        with contextlib.suppress(OSError):
            os.close(handle)
        raise _failed(path, "it holds the events of another process already")
    return handle


def _reason(error: OSError) -> str:
    words = _WORDS.get(error.errno or 0)
    return f"{words} ({error.strerror})" if words else str(error.strerror or error)


def _failed(path: Path, reason: str) -> RunFailed:
    return RunFailed(
        f"The event log {path} cannot be written: {reason}.",
        why="A run without its log has no result, so it ends here.",
        fix="Make room or repair the disk, and run again: df -h " + str(path.parent),
    )
