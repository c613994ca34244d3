"""Who uses a fleet: a run writes its mark into the fleet's folder, and what would take nodes from it is refused.

The mark is `held-by.json`: `{"run_id", "pid", "start_ticks", "host"}`. It holds as long as its process lives; a
process on another machine cannot be looked at, and counts as alive.
"""

from __future__ import annotations

from ..errors import Locked
from ..results.holder import Holder as Holder
from ..results.holder import holder_in
from .folder import FleetFolder


def holder_of(folder: FleetFolder) -> Holder | None:
    """The run that holds the fleet and lives."""
    return holder_in(folder.path)


def refuse_if_held(folder: FleetFolder, what: str, *, force: bool = False) -> None:
    """Raises Locked while a run uses the fleet; `what` says what it would be: destroyed, changed."""
    holder = holder_of(folder)
    if holder is None or force:
        return
    who = f"Process {holder.pid}" if holder.pid else "Its agent"
    where = "here" if holder.is_here else f"on {holder.host}"
    raise Locked(
        f"The fleet {folder.name} is in use and cannot be {what}: the run {holder.run_id} goes on there.",
        why=f"{who} {where} holds it; the run would be lost, with all that is on its nodes alone.",
        fix=f"Wait for it (mlb bench attach {holder.run_id}), stop it (mlb bench stop {holder.run_id}), "
        "or add --force: `destroy --force` stops it and brings its files here first, `apply --force` loses it.",
    )
