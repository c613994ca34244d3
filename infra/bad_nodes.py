"""Nodes that fail their checks get another machine: exactly those, twice at most, while the others are left alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..errors import MlbError
from . import ssh
from .blueprint import Blueprint, iso
from .deadline import MIN_LEFT_S
from .failures import short
from .fleet import Fleet, Replacement
from .folder import FleetFolder
from .gate import Checked, Gate
from .render import node_address
from .terraform import Plan, TerraformFailed
from .watcher import Watcher

ATTEMPTS = 2
"""Rounds of replacement in one apply: a third machine in a row that fails tells of its image or place."""


@dataclass(frozen=True)
class BadNodes:
    """Replaces what does not pass the gate.

    Attributes:
        plan: a saved plan of the fleet that makes the resources at some addresses anew.
        apply: applies it.
    """

    folder: FleetFolder
    watcher: Watcher
    gate: Gate
    plan: Callable[[Blueprint, Sequence[str]], Plan]
    apply: Callable[[Blueprint, Plan], None]

    def replaced(self, checked: Checked) -> Checked:
        """The fleet with other machines in place of its bad ones, as far as that goes; its note says how far."""
        for attempt in range(1, ATTEMPTS + 1):
            reason = _reason_not_to(checked)
            if reason or not checked.bad:
                return replace(checked, note=reason)
            bad = [i for i, check in enumerate(checked.checks) if check.problems]
            addresses = [node_address(checked.fleet.blueprint.spec.cloud, i) for i in bad]
            try:
                plan = self.plan(checked.fleet.blueprint, addresses)
                beyond = plan.beyond(addresses)
                if beyond:
                    return replace(checked, note=f"Nothing was replaced: that would also {', '.join(beyond)}.")
                self.watcher.warn(announcement(checked, attempt))
                fleet = _written_down(checked).save(self.folder)
                # First, not afterwards: whoever is killed in between finds no key of a machine that is gone.
                ssh.unpin(self.folder, [fleet.nodes[i] for i in bad])
                self.apply(fleet.blueprint, plan)
            except MlbError as error:
                said = short(error) if isinstance(error, TerraformFailed) else error.what
                return replace(checked, note=f"Their replacement failed: {said}")
            good = [check for check in checked.checks if not check.problems]
            after = self.gate.check(fleet, plan, good)
            both = Plan(plan.file, (*checked.plan.changes, *plan.changes))
            checked = replace(after, plan=both)
        again = f"Nodes were replaced {ATTEMPTS} times, the most that one apply does."
        return replace(checked, note=again if checked.bad else "")


def announcement(checked: Checked, attempt: int) -> str:
    """What is replaced, why, and what that costs: to be read before it is done."""
    fleet, bad = checked.fleet, checked.bad
    ids = {node.name: node.id for node in fleet.nodes}
    kept = len(checked.checks) - len(bad)
    return "\n".join(
        [
            f"Replacing {len(bad)} of {len(checked.checks)} nodes (attempt {attempt} of {ATTEMPTS}), keeping {kept}:",
            *(f"    {check.node} ({ids[check.node]}): {'; '.join(check.problems)}" for check in bad),
            f"    {_cost(fleet, len(bad))}",
        ]
    )


def _cost(fleet: Fleet, count: int) -> str:
    if fleet.usd_per_hour == 0:
        return "Nothing of it is billed."
    if fleet.usd_per_hour is None:
        return "The price of the new machines is as unknown as that of the old ones, which end first."
    new = fleet.usd_per_hour / fleet.blueprint.spec.nodes * count
    return (
        f"New machines: ${new:,.2f} per hour, as much as the old ones, which end first; the fleet stays at "
        f"${fleet.usd_per_hour:,.2f}. What the old ones ran is billed, and of each new one a minute at least."
    )


def _reason_not_to(checked: Checked) -> str:
    """Why nothing is replaced although nodes are bad; empty where nothing speaks against it."""
    blueprint = checked.fleet.blueprint
    if not checked.bad:
        return ""
    if checked.all_bad:
        return (
            f"Nothing was replaced: all {len(checked.checks)} nodes fail, so the cause is likely one that they share."
        )
    if blueprint.expires_epoch - time.time() < MIN_LEFT_S:
        return f"Nothing was replaced: the fleet ends at {blueprint.expires_at}."
    return ""


def _written_down(checked: Checked) -> Fleet:
    """The record with what is given up, and why: once it is gone nobody else knows."""
    ids = {node.name: node.id for node in checked.fleet.nodes}
    at = iso(int(time.time()))
    gone = (Replacement(check.node, ids[check.node], check.problems, at) for check in checked.bad)
    return checked.fleet.changed(replaced=(*checked.fleet.replaced, *gone))
