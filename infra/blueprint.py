"""A spec with everything decided: what the templates print, and what `fleet.json` keeps."""

from __future__ import annotations

import getpass
import hashlib
import re
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from .catalogue import Machine
from .spec import FleetSpec


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """One fleet, decided; it stays the same over the fleet's life except for `spec.nodes` and the ports.

    Attributes:
        fleet_id: eight hexadecimal digits, in every name and tag: what is destroyed must carry them.
        zone: where the nodes are; empty where there are no zones.
        created: seconds since 1970, of the first apply; the deadline counts from it.
        account: AWS account or GCP project that the fleet belongs to; empty if it was not asked (a dry run).
        image_id: what the image's name stood for at the first apply; None before that.
        subnet: network of a Docker fleet, such as `10.211.7`; its nodes are at .10 and up.
        ports: loopback ports of a Docker fleet's nodes, in their order.
    """

    spec: FleetSpec
    fleet_id: str
    machine: Machine | None
    zone: str
    created: int
    owner: str
    version: str
    public_key: str
    account: str = ""
    image_id: str | None = None
    subnet: str = ""
    ports: tuple[int, ...] = ()

    @property
    def resource_name(self) -> str:
        """The name of everything in the cloud: at most 45 characters, plain."""
        return f"mlb-{self.spec.name}-{self.fleet_id}"

    @property
    def expires_epoch(self) -> int:
        return self.created + self.spec.ttl_s

    @property
    def expires_at(self) -> str:
        return iso(self.expires_epoch)

    @property
    def is_rented(self) -> bool:
        """Whether the machines end with the fleet; hosts that exist go on without it."""
        return self.spec.cloud != "ssh"

    @property
    def ends_itself(self) -> bool:
        """Whether a node ends by a timer of its own: GCP ends its machines itself, hosts that exist go on."""
        return self.spec.cloud in ("aws", "docker")

    def node_name(self, index: int) -> str:
        return f"{self.spec.name}-{index}"

    def at(self, zone: str) -> Blueprint:
        return replace(self, zone=zone)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "spec": self.spec.to_json(), "ports": list(self.ports)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Blueprint:
        """Reads what this or an earlier version wrote."""
        known = {f.name: raw[f.name] for f in fields(cls) if f.name in raw}
        known["spec"] = FleetSpec.from_json(raw["spec"])
        known["machine"] = None if raw["machine"] is None else Machine(**raw["machine"])
        known["ports"] = tuple(raw.get("ports", ()))
        return cls(**known)


def this_owner() -> str:
    """Who rents from here, as the tags say it: `ada@lab-1`."""
    return f"{getpass.getuser()}@{socket.gethostname()}"[:120]


def iso(epoch: int) -> str:
    """`2026-11-24T04:00:00Z`."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def label(text: str) -> str:
    """A text as GCP's labels allow it: lower case letters, digits, '-' and '_', at most 63."""
    return re.sub(r"[^a-z0-9_-]", "-", text.casefold())[:63]


def digest(*texts: str) -> str:
    """Twelve hexadecimal digits of some texts, for names that change with their content."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
