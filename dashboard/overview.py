"""All fleets and runs in a few words each; what cannot change any more is read once."""

from __future__ import annotations

import json
import math
import threading
import time
from typing import Any, Final

from ..errors import MlbError
from ..infra import fleet as fleets
from ..infra.folder import FleetFolder
from ..provisioner.runs import all_runs, fleet_of, state_of
from ..results.ledger import is_ceiling
from ..results.metrics import compute
from ..results.run import RunFolder
from ..results.text import sanitise
from .home import Home

RUNS_SHOWN: Final = 500
UNREAD: Final = "reading"
_METRICS_LIMIT: Final = 64 << 20


class Overview:
    """Rows for the page."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._over: dict[str, dict[str, Any]] = {}
        """Runs that are over, by id."""
        self._lock = threading.Lock()
        self.unread = 0
        """Runs of the last look that there was no time to read."""
        self.live_on_fleets: list[str] = []
        """Ids of the runs of the last look that go on on a fleet, the newest first."""

    def to_json(self, budget_s: float = math.inf) -> dict[str, Any]:
        """Fleets, and runs with the newest first.

        Args:
            budget_s: runs that are not read by then are named alone; the next call goes on with them.
        """
        until_s = time.monotonic() + budget_s
        with self._lock:
            folders = all_runs(self.home.runs_dir)
            shown = folders[-RUNS_SHOWN:][::-1]
            self._over = {f.run_id: self._over[f.run_id] for f in shown if f.run_id in self._over}
            runs = [self.run(f) if f.run_id in self._over or time.monotonic() < until_s else _named(f) for f in shown]
            going_on = [f for f, row in zip(shown, runs, strict=True) if row["live"]]
            self.live_on_fleets = [f.run_id for f in going_on if fleet_of(f)]
            self.unread = sum(row["state"] == UNREAD for row in runs)
        return {"fleets": self.fleets(), "runs": runs, "more": len(folders) - len(shown)}

    def run(self, folder: RunFolder) -> dict[str, Any]:
        """One run's row."""
        if folder.run_id in self._over:
            return self._over[folder.run_id]
        try:
            spec, state = folder.read_spec(), state_of(folder)
        except MlbError as error:
            return {"run": sanitise(folder.run_id), "state": "unreadable", "live": False, "result": sanitise(error.why)}
        row = {
            "run": folder.run_id,
            "task": sanitise(spec.task),
            "goal": sanitise(spec.goal),
            "kind": "comparable" if spec.comparable else sanitise(spec.division),
            "ranks": f"{spec.ranks} x {sanitise(spec.backend)}",
            "fleet": sanitise(spec.fleet),
            "seed": spec.seed,
            "created": spec.created_unix_ns // 1_000_000_000,
            "state": state.state,
            "live": not state.over,
            "result": "",
        }
        if state.over:
            row["result"] = _result(folder, state.state, spec.resumed_run)
            self._over[folder.run_id] = row
        return row

    def fleets(self) -> list[dict[str, Any]]:
        """What is on record; money is list price."""
        now, rows = time.time(), []
        for name in fleets.names(FleetFolder(self.home.state_home, "x")):
            try:
                fleet = fleets.load(FleetFolder(self.home.state_home, name))
            except MlbError as error:
                rows.append({"name": sanitise(name), "status": "unreadable", "why": sanitise(error.what)})
                continue
            if fleet:
                rows.append(_fleet_row(fleet, now))
        return rows


def _named(folder: RunFolder) -> dict[str, Any]:
    return {"run": sanitise(folder.run_id), "state": UNREAD, "live": False, "result": ""}


def _claimed(folder: RunFolder) -> bytes:
    with folder.metrics.open("rb") as file:
        return file.read(_METRICS_LIMIT)


def _fleet_row(fleet: fleets.Fleet, now: float) -> dict[str, Any]:
    blueprint = fleet.blueprint
    spent = fleet.usd_so_far(now)
    return {
        "name": fleet.name,
        "cloud": blueprint.spec.cloud,
        "zone": sanitise(blueprint.zone),
        "status": fleet.status,
        "nodes": [sanitise(node.name) for node in fleet.nodes],
        "machine": _machine(fleet),
        "usd_per_hour": fleet.usd_per_hour_now,
        # To the cent, so that an idle page is not redrawn for a fraction of it.
        "usd_so_far": None if spent is None else round(spent, 2),
        "usd_per_hour_is_ceiling": fleet.is_ceiling_now,
        "usd_so_far_is_ceiling": is_ceiling(fleet.ledger),
        "minutes_left": round((blueprint.expires_epoch - now) / 60) if blueprint.is_rented else None,
    }


def _machine(fleet: fleets.Fleet) -> str:
    """What a node is, in words; empty where nothing of it is on record."""
    machine, gpus = fleet.blueprint.machine, {node.gpus for node in fleet.nodes}
    if machine:
        has = f", {machine.gpus} x {machine.gpu}" if machine.gpus else ""
        return sanitise(f"{machine.machine_type}: {machine.vcpus} vCPUs, {machine.gib} GiB{has}")
    used = " to ".join(str(number) for number in sorted({min(gpus), max(gpus)})) if gpus else ""
    return f"{used} GPUs on each" if used not in ("", "0") else ""


def _result(folder: RunFolder, state: str, resumed_run: str) -> str:
    """The headline of a run that is over; a resumed one has no time of a whole training."""
    try:
        # Of a run that nobody attended to its end there is no metrics.json; its logs say the same, once.
        metrics = json.loads(_claimed(folder)) if folder.metrics.exists() else compute(folder, state=state).to_json()
        status, seconds = metrics["status"], metrics.get("time_to_target_s")
    except (OSError, ValueError, KeyError, TypeError, RecursionError, MlbError) as error:
        return sanitise(f"unreadable: {error}", 80)
    if resumed_run:
        return sanitise(f"{status}, resumed from {resumed_run}", 120)
    time_said = f" in {seconds:.1f} s" if isinstance(seconds, int | float) else ""
    return sanitise(f"{status}{time_said}", 80)
