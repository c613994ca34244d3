"""Who uses a fleet: the mark that a run leaves in the fleet's folder, `held-by.json`, as all who read it see it."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path

from .process import is_running


@dataclass(frozen=True)
class Holder:
    """The run that uses a fleet, and the process that stands for it."""

    run_id: str
    pid: int
    """0 where the process is the run's agent on a node: nobody here knows its number."""
    start_ticks: int
    host: str

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()

    @property
    def lives(self) -> bool:
        """Whether the mark is worth anything; a process on another machine cannot be looked at, and counts as alive."""
        return not self.is_here or is_running(self.pid, self.start_ticks)


def mark_in(fleet_folder: Path) -> Path:
    """The mark's file."""
    return fleet_folder / "held-by.json"


def holder_in(fleet_folder: Path) -> Holder | None:
    """The run that holds the fleet and lives; a mark that cannot be read counts as none, since no run wrote it."""
    try:
        raw = json.loads(mark_in(fleet_folder).read_text(encoding="utf-8"))
        found = Holder(str(raw["run_id"]), int(raw["pid"]), int(raw["start_ticks"]), str(raw["host"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.lives else None
