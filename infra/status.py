"""A fleet as it was made, and as it is now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import PreflightError
from . import existing
from . import fleet as fleets
from .by_tag import cloud_for
from .fleet import Fleet
from .folder import FleetFolder
from .spec import did_you_mean


@dataclass(frozen=True)
class NodeState:
    """A node of the record beside what the place says of it."""

    name: str
    id: str
    ssh_host: str
    state: str


@dataclass(frozen=True)
class FleetStatus:
    """A fleet as it is recorded, and as it is."""

    fleet: Fleet
    nodes: tuple[NodeState, ...]

    @property
    def drifted(self) -> bool:
        return any(node.state != "running" for node in self.nodes)


def status(folder: FleetFolder) -> FleetStatus:
    """The record and the place side by side."""
    fleet = known_fleet(folder)
    if fleet.blueprint.spec.cloud == "ssh":
        alive: Mapping[str, str] = existing.states(folder, fleet.nodes)
    else:
        alive = cloud_for(fleet.blueprint.spec).alive(fleet.blueprint)
    nodes = tuple(NodeState(n.name, n.id, n.ssh_host, alive.get(n.id, "gone")) for n in fleet.nodes)
    return FleetStatus(fleet, nodes)


def known_fleet(folder: FleetFolder) -> Fleet:
    """The fleet's record; raises PreflightError, which names those there are, when there is none."""
    known = fleets.load(folder)
    if known is None:
        raise PreflightError(f"There is no fleet {folder.name} on this machine.", fix=names_hint(folder))
    return known


def names_hint(folder: FleetFolder) -> str:
    """What to say to somebody who named a fleet that is not there."""
    names = fleets.names(folder)
    return did_you_mean(folder.name, names) if names else "There are none; `mlb infra apply` makes one."
