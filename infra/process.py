"""One child process in a group of its own: its lines as they come, its deadline, and its end in any case."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

INT_GRACE_S = 60.0
"""Terraform ends its calls in flight and writes the state: ten seconds for an EC2 instance."""
TERM_GRACE_S = 10.0
_MAX_ERR = 1 << 20


@dataclass(frozen=True)
class Finished:
    """How a process ended: `code` is negative for a signal, `why` is set when we ended it."""

    code: int
    err: str
    why: str = ""


def run_lines(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    on_line: Callable[[str], None],
    deadline_s: float,
    on_start: Callable[[int], None] = lambda _: None,
    keep_fds: Sequence[int] = (),
    int_grace_s: float = INT_GRACE_S,
    term_grace_s: float = TERM_GRACE_S,
) -> Finished:
    """Run a command to its end: by itself, at the deadline or by ctrl-C. Nothing of its group is left.

    A first ctrl-C asks the process to stop and waits, a second one kills it; both end in KeyboardInterrupt.

    Args:
        on_line: called in this thread with each line of standard output.
        on_start: called with the process id, which is its group's too.
        keep_fds: descriptors that the process inherits (a lock that must outlive us).

    Raises:
        FileNotFoundError: there is no such command.
    """
    child = subprocess.Popen(
        argv,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        umask=0o077,
        pass_fds=tuple(keep_fds),
    )
    watch = _Watch(child, deadline_s, int_grace_s, term_grace_s)
    try:
        on_start(child.pid)
        return watch.to_the_end(on_line)
    finally:
        watch.kill_group()


class _Watch:
    """Follows one child. Its lines and its end arrive in one queue, so there is one thing to wait for."""

    def __init__(
        self, child: subprocess.Popen[str], deadline_s: float, int_grace_s: float, term_grace_s: float
    ) -> None:
        self.child = child
        self.until = time.monotonic() + deadline_s
        self.steps = [
            (signal.SIGINT, int_grace_s),
            (signal.SIGTERM, term_grace_s),
            (signal.SIGKILL, term_grace_s),
        ]
        self.why = ""
        self.interrupted = False
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.err: list[str] = []
        self.readers = [
            threading.Thread(target=self._read_out, args=(child.stdout,), daemon=True),
            threading.Thread(target=self._read_err, args=(child.stderr,), daemon=True),
        ]
        for reader in self.readers:
            reader.start()

    def to_the_end(self, on_line: Callable[[str], None]) -> Finished:
        while True:
            try:
                if not self._next(on_line):
                    break
            except KeyboardInterrupt:
                self._interrupt()
        self.readers[1].join(timeout=5)
        if self.interrupted:
            raise KeyboardInterrupt
        return Finished(self.child.wait(), "".join(self.err)[-_MAX_ERR:], self.why)

    def _next(self, on_line: Callable[[str], None]) -> bool:
        try:
            line = self.lines.get(timeout=max(0.0, self.until - time.monotonic()))
        except queue.Empty:
            self.why = self.why or "deadline"
            self._step()
            return True
        if line is not None:
            on_line(line)
        return line is not None

    def _interrupt(self) -> None:
        if self.interrupted:
            self.steps = self.steps[-1:]
        self.interrupted = True
        self._step()

    def _step(self) -> None:
        """The next harder signal. The first goes to the process alone, which tells its children itself."""
        sig, grace = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        self.until = time.monotonic() + grace
        with contextlib.suppress(ProcessLookupError):
            if sig == signal.SIGINT:
                os.kill(self.child.pid, sig)
            else:
                os.killpg(self.child.pid, sig)

    def kill_group(self) -> None:
        """What a killed process leaves behind (plugins, provisioners) must not go on creating things."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
        for stream in (self.child.stdout, self.child.stderr):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()

    def _read_out(self, stream: IO[str]) -> None:
        # The last line is followed by the child's end, not by the pipe's: an orphan may hold the pipe open.
        waiter = threading.Thread(target=self._await_end, daemon=True)
        waiter.start()
        with contextlib.suppress(ValueError):
            for line in stream:
                self.lines.put(line)
        waiter.join()
        self.lines.put(None)

    def _await_end(self) -> None:
        self.child.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, signal.SIGKILL)

    def _read_err(self, stream: IO[str]) -> None:
        with contextlib.suppress(ValueError):
            for line in stream:
                self.err.append(line)
