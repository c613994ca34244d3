"""Checks for what costs money or holds a machine and should not: fleets past their deadline, runs without a word."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from ..errors import MlbError
from ..infra import fleet as fleets
from ..infra.folder import FleetFolder
from ..provisioner.runs import all_runs, state_of
from ..results.cost import at_most
from .finding import Finding, Place, fail, ok, warn

_LOST_SHOWN: Final = 3
_RECENT_S: Final = 7 * 24 * 3600


def rented(place: Place) -> Iterator[Finding]:
    """The fleets on record: which should be gone, which were never finished, which cannot be read."""
    now, running = time.time(), []
    for name in fleets.names(FleetFolder(place.state_home, "x")):
        destroy = f"mlb infra destroy --name {name}"
        try:
            fleet = fleets.load(FleetFolder(place.state_home, name))
        except MlbError as error:
            yield fail(f"fleet {name}", error.what, error.fix)
            continue
        if fleet is None:
            continue
        blueprint = fleet.blueprint
        late_min = (now - blueprint.expires_epoch) / 60
        if blueprint.is_rented and late_min > 0:
            what = f"its deadline passed {late_min:,.0f} minutes ago ({blueprint.expires_at}) and it is still on record"
            yield fail(f"fleet {name}", what, f"Make sure that it is gone, and costs nothing: {destroy}")
        elif fleet.status in ("creating", "destroying"):
            yield warn(f"fleet {name}", f"it is half-way: {fleet.status}", f"If no command works on it: {destroy}")
        else:
            rate = fleet.usd_per_hour_now
            price = f", {at_most(fleet.is_ceiling_now)}${rate:.2f} per hour" if rate else ""
            running.append(f"{name} ({blueprint.spec.cloud}{price})")
    if running:
        yield ok("fleets", f"applied: {', '.join(running)}")


def runs(place: Place) -> Iterator[Finding]:
    """Runs that are going on, and runs of the last days whose processes vanished."""
    lost, going, broken = [], [], []
    recent = time.time() - _RECENT_S
    for folder in all_runs(place.runs_dir):
        if folder.spec.stat().st_mtime < recent:
            continue
        try:
            state = state_of(folder).state
        except MlbError:
            broken.append(folder.run_id)
            continue
        if state == "lost":
            lost.append(folder.run_id)
        elif state in ("starting", "running"):
            going.append(folder.run_id)
    for name, found, what, fix in (
        ("runs lost", lost, "ended without a word: killed, or the machine went down", "What it logged: mlb report RUN"),
        ("runs unreadable", broken, "cannot be read", "Remove the folder, or restore it: mlb runs"),
        ("runs going on", going, "going on: times measured beside them are not their own", "mlb bench stop RUN"),
    ):
        if found:
            yield warn(name, f"{', '.join(found[-_LOST_SHOWN:])} ({len(found)}): {what}", fix)
