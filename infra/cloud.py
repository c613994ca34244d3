"""What the stack asks a place itself, beside Terraform: is there room, who are the hosts, what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .blueprint import Blueprint
from .fleet import Node


@dataclass(frozen=True)
class Leftover:
    """Something with a fleet's tag that still exists."""

    kind: str
    id: str
    place: str = ""
    bills: bool = False


@dataclass(frozen=True)
class TaggedFleet:
    """A fleet as its tags show it, without any file of ours."""

    name: str
    fleet_id: str
    owner: str
    region: str
    expires_epoch: int | None
    resources: int


@dataclass(frozen=True)
class Place:
    """What the preflight found out: whose account it is, and the zones to try, best first."""

    account: str
    zones: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Cloud(Protocol):
    """One per place; every method asks the place itself, none asks Terraform.

    Attributes:
        no_host_key: what it means that a node shows no host key.
    """

    no_host_key: str

    def preflight(self, blueprint: Blueprint, adding: int) -> Place:
        """Credentials, quota for `adding` more nodes, zones; raises PreflightError with need, limit and use."""

    def prepare(self, blueprint: Blueprint) -> Blueprint:
        """Decide what only the place can say (ports, a free network)."""

    def lost(self, blueprint: Blueprint) -> Sequence[str]:
        """Addresses of resources that are gone although Terraform cannot see it."""

    def host_keys(self, nodes: Sequence[Node], deadline_s: float) -> Mapping[str, Sequence[str]]:
        """Public host keys by node name (`ssh-ed25519 AAAA...`), by another way than SSH itself.

        A node that shows none by the deadline has none, and costs the others nothing.
        """

    def alive(self, blueprint: Blueprint) -> Mapping[str, str]:
        """State of the fleet's machines by id (`running`, ...)."""

    def left(self, fleet_id: str) -> Sequence[Leftover]:
        """Everything that carries the fleet's tag and exists."""

    def remove(self, leftovers: Sequence[Leftover]) -> Sequence[str]:
        """Delete them in the right order; returns what stood in the way, one sentence each."""

    def fleets(self) -> Sequence[TaggedFleet]:
        """All fleets that can be seen by tag."""
