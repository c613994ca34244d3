"""Runs on fleets are watched over SSH while a page is open: their files grow here, and their end is seen."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterable
from typing import Final

from .home import Home

RUNS: Final = 10
"""Watched at once; one run holds a fleet, so more would take as many fleets."""
_AGAIN_AFTER_S: Final = 60.0
"""Until a run is watched again whose watching ended by itself: its fleet cannot be reached, say."""
_PATIENCE_S: Final = 5.0


class Attendants:
    """A `mlb bench attach` each. Two that bring the same run's files write the same bytes, so others may do it too."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ending: list[subprocess.Popen[bytes]] = []
        """Those of runs that have ended: they bring the last of the files, write the run's numbers down, and go."""
        self._ended_s: dict[str, float] = {}

    def attend(self, going_on: Iterable[str]) -> None:
        """Watch the first `RUNS` of these runs; what watches one that has ended may finish with it."""
        going_on = list(going_on)
        wanted = going_on[:RUNS]
        self._ending += [self._processes.pop(run) for run in self._processes.keys() - set(going_on)]
        self._let_go([run for run in self._processes if run not in wanted])
        self._ending = [process for process in self._ending if process.poll() is None]
        now_s = time.monotonic()
        for run in [run for run, process in self._processes.items() if process.poll() is not None]:
            del self._processes[run]
            self._ended_s[run] = now_s
        for run in wanted:
            if run not in self._processes and now_s - self._ended_s.get(run, -_AGAIN_AFTER_S) >= _AGAIN_AFTER_S:
                self._processes[run] = subprocess.Popen(
                    [*self._home.command, "bench", "attach", run],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )

    def let_go(self) -> None:
        """Watch nothing any more; the runs go on."""
        self._let_go(list(self._processes))

    def _let_go(self, runs: Iterable[str]) -> None:
        processes = [self._processes.pop(run) for run in runs]
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
