"""Who uses a fleet: a run writes its mark into the fleet's folder, and what would take nodes from it is refused.

The mark is `held-by.json`: `{"run_id", "pid", "start_ticks", "host"}`. It holds as long as its process lives; a
process on another machine cannot be looked at, and counts as alive.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass

from ..errors import Locked
from ..results.process import is_running
from .folder import FleetFolder


@dataclass(frozen=True)
class Holder:
    """The run that uses a fleet."""

    run_id: str
    pid: int
    start_ticks: int
    host: str

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()

    @property
    def lives(self) -> bool:
        return not self.is_here or is_running(self.pid, self.start_ticks)


def holder_of(folder: FleetFolder) -> Holder | None:
    """The run that holds the fleet and lives; a mark that cannot be read counts as none, since no run wrote it."""
    try:
        raw = json.loads(folder.held_by.read_text(encoding="utf-8"))
        found = Holder(str(raw["run_id"]), int(raw["pid"]), int(raw["start_ticks"]), str(raw["host"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.lives else None


def refuse_if_held(folder: FleetFolder, what: str, *, force: bool = False) -> None:
    """Raises Locked while a run uses the fleet; `what` says what it would be: destroyed, changed."""
    holder = holder_of(folder)
    if holder is None or force:
        return
    where = "here" if holder.is_here else f"on {holder.host}"
    raise Locked(
        f"The fleet {folder.name} is in use and cannot be {what}: the run {holder.run_id} goes on there.",
        why=f"Process {holder.pid} {where} holds it; the run would be lost, with all that is on its nodes alone.",
        fix=f"Wait for it (mlb bench attach {holder.run_id}), stop it (mlb bench stop {holder.run_id}), "
        "or add --force to lose it.",
    )
