"""Who uses a fleet: a run leaves its mark in the fleet's folder, and a second one is refused, or waits.

`held-by.json` is `{"run_id", "pid", "start_ticks", "host"}`. While a run is launched, the process is this one, and the
mark is worth as much as it lives. From then on it is the agent of the run's first node, which nobody here can look at:
such a mark holds until the run was seen to be over.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..results.holder import Holder, holder_in, mark_in
from ..results.process import start_ticks
from ..results.run import write_json


def take(fleet_folder: Path, run_id: str) -> bool:
    """Mark the fleet as used by this process for a run; False if another run holds it."""
    mine = Holder(run_id, os.getpid(), start_ticks(os.getpid()), socket.gethostname())
    with _alone_in(fleet_folder):
        if holder_in(fleet_folder) is not None:
            return False
        _write(fleet_folder, mine)
    return True


def hand_over(fleet_folder: Path, run_id: str, host: str, pid: int = 0, ticks: int = 0) -> None:
    """Let the agent on `host` stand for the run from now on."""
    found = holder_in(fleet_folder)
    if found is not None and found.run_id == run_id:
        _write(fleet_folder, Holder(run_id, pid, ticks, host))


def give_up(fleet_folder: Path, run_id: str) -> None:
    """Take this process's own mark away; one that was handed over stays."""
    found = holder_in(fleet_folder)
    if found is not None and (found.run_id, found.pid, found.host) == (run_id, os.getpid(), socket.gethostname()):
        mark_in(fleet_folder).unlink(missing_ok=True)


def release(fleet_folder: Path, run_id: str) -> None:
    """Take the mark away, if it is of this run."""
    found = holder_in(fleet_folder)
    if found is not None and found.run_id == run_id:
        mark_in(fleet_folder).unlink(missing_ok=True)


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
    write_json(mark_in(fleet_folder), holder)
