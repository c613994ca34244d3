"""Sees the ranks of a node die, in the order in which they die.

torchrun looks at its ranks ten times a second: when one is killed, its peers fail in their collectives within
milliseconds, and at the next look all are dead with nothing to tell who was first. The kernel knows: a pidfd
becomes readable at the moment a process ends.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_REGISTRATION_POLL_S = 0.05


class DeathWatch:
    """Follows the pid files of a node's ranks, then the processes they name."""

    def __init__(self, pid_files: Sequence[tuple[int, Path]], on_all_known: Callable[[dict[int, int]], None]) -> None:
        """Start watching.

        Args:
            pid_files: rank and pid file of each rank of this node.
            on_all_known: called once, with the pid of each rank, when all have registered.
        """
        self.pids: dict[int, int] = {}
        self.deaths: list[tuple[int, int]] = []
        """(rank, wall clock in ns), the first death first."""
        self._files = dict(pid_files)
        self._on_all_known = on_all_known
        self._stop = threading.Event()
        self._open: dict[int, int] = {}  # pidfd -> rank
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take in the deaths that have happened by now, then stop watching."""
        self._stop.set()
        self._thread.join()
        for fd in self._open:
            os.close(fd)

    def _watch(self) -> None:
        poller = select.poll()
        while True:
            stopping = self._stop.is_set()
            self._register_new(poller)
            everybody = not self._files
            timeout_s = 0.0 if stopping else (0.2 if everybody else _REGISTRATION_POLL_S)
            for fd, _ in poller.poll(timeout_s * 1000):
                self.deaths.append((self._open.pop(fd), time.time_ns()))
                poller.unregister(fd)
                os.close(fd)
            if stopping:
                return

    def _register_new(self, poller: select.poll) -> None:
        for rank, path in list(self._files.items()):
            if not path.exists():
                continue
            self.pids[rank] = int(path.read_text())
            del self._files[rank]
            try:
                fd = os.pidfd_open(self.pids[rank])
            except ProcessLookupError:
                self.deaths.append((rank, time.time_ns()))
                continue
            self._open[fd] = rank
            poller.register(fd, select.POLLIN)
            if not self._files:
                self._on_all_known(dict(self.pids))
