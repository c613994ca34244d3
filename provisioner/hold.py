"""Who uses a fleet: a run leaves its mark in the fleet's folder, and a second one is refused, or waits.

`held-by.json` is `{"run_id", "pid", "start_ticks", "host"}`. While a run is launched, the process is this one, and the
mark is worth as much as it lives. From then on it is the agent of the run's first node, which nobody here can look at:
such a mark holds until the run was seen to be over.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..results.process import is_running, start_ticks
from ..results.run import write_json


@dataclass(frozen=True)
class Holder:
    """The run that uses a fleet, and the process that stands for it."""

    run_id: str
    pid: int
    start_ticks: int
    host: str

    @property
    def is_stale(self) -> bool:
        """Whether it is a process of this machine that has ended: a launch that was killed."""
        return self.host == socket.gethostname() and not is_running(self.pid, self.start_ticks)


def path_in(fleet_folder: Path) -> Path:
    """The mark's file."""
    return fleet_folder / "held-by.json"


def holder_of(fleet_folder: Path) -> Holder | None:
    """The run that holds the fleet; None if none does, or what is there was left by a launch that was killed."""
    try:
        raw = json.loads(path_in(fleet_folder).read_text(encoding="utf-8"))
        found = Holder(str(raw["run_id"]), int(raw["pid"]), int(raw["start_ticks"]), str(raw["host"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if found.is_stale else found


def take(fleet_folder: Path, run_id: str) -> bool:
    """Mark the fleet as used by this process for a run; False if another run holds it."""
    mine = Holder(run_id, os.getpid(), start_ticks(os.getpid()), socket.gethostname())
    with _alone_in(fleet_folder):
        if holder_of(fleet_folder) is not None:
            return False
        _write(fleet_folder, mine)
    return True


def hand_over(fleet_folder: Path, run_id: str, host: str, pid: int = 0, ticks: int = 0) -> None:
    """Let the agent on `host` stand for the run from now on."""
    found = holder_of(fleet_folder)
    if found is not None and found.run_id == run_id:
        _write(fleet_folder, Holder(run_id, pid, ticks, host))


def give_up(fleet_folder: Path, run_id: str) -> None:
    """Take this process's own mark away; one that was handed over stays."""
    found = holder_of(fleet_folder)
    if found is not None and (found.run_id, found.pid, found.host) == (run_id, os.getpid(), socket.gethostname()):
        path_in(fleet_folder).unlink(missing_ok=True)


def release(fleet_folder: Path, run_id: str) -> None:
    """Take the mark away, if it is of this run."""
    found = holder_of(fleet_folder)
    if found is not None and found.run_id == run_id:
        path_in(fleet_folder).unlink(missing_ok=True)


@contextmanager
def _alone_in(fleet_folder: Path) -> Iterator[None]:
    """Of two processes that find a mark that is worth nothing, one may replace it."""
    handle = os.open(fleet_folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(fleet_folder: Path, holder: Holder) -> None:
    write_json(path_in(fleet_folder), holder)
