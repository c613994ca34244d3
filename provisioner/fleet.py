"""A fleet as `fleet.json` has it: where its nodes are, and the files that let one in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import NodeNotReady, ResultsInvalid, UsageError
from ..results.cost import Rent
from ..results.ledger import Ledger, is_ceiling, ledger_of, usd_until

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class FleetNode:
    """One machine, as every cloud's module puts it out."""

    name: str
    ssh_host: str
    ssh_port: int
    ssh_user: str
    private_ip: str
    """The address that the other nodes know it by."""
    gpus: int
    """GPUs that were asked for."""
    ssh_key: str = ""
    """Path of the private key that lets one in; empty for the fleet's own."""


@dataclass(frozen=True)
class Fleet:
    """A fleet on which a run can be launched."""

    name: str
    cloud: str
    status: str
    expires_at: str | None
    """When its machines end by themselves, ISO 8601 in UTC; None for machines that nobody rented."""
    usd_per_hour: float | None
    """What the whole fleet costs; None where nobody knows, or nothing is billed."""
    nodes: tuple[FleetNode, ...]
    folder: Path
    """Holds `fleet.json`, the key and the pinned host keys."""
    price_source: str = ""
    ledger: Ledger = ()
    """What it has cost so far; empty where its file does not say."""

    @property
    def key(self) -> Path:
        return self.folder / "id_ed25519"

    def key_of(self, node: FleetNode) -> Path:
        """The private key that lets one into a node."""
        return Path(node.ssh_key) if node.ssh_key else self.key

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def expires_unix_s(self) -> float:
        """The deadline as seconds since 1970; infinite without one."""
        return datetime.fromisoformat(self.expires_at).timestamp() if self.expires_at else math.inf

    def rent(self, unix_s: float) -> Rent:
        """What it costs from a moment on, and has cost until then.

        The ledger's last word counts: after a change that was cut short it knows of machines that the list of nodes
        does not.
        """
        if not self.ledger:
            return Rent(self.usd_per_hour, self.price_source, len(self.nodes))
        now = self.ledger[-1]
        return Rent(
            usd_per_hour=now.usd_per_hour,
            source=self.price_source,
            nodes=now.nodes,
            spent_usd=usd_until(self.ledger, unix_s),
            as_of_unix_s=unix_s,
            is_ceiling=now.is_ceiling,
            spent_is_ceiling=is_ceiling(self.ledger),
        )


def load(fleets_dir: Path, name: str) -> Fleet:
    """The fleet called `name` among the folders of `fleets_dir`.

    Raises:
        UsageError: there is no such fleet.
        NodeNotReady: it is there, but was not found ready.
        ResultsInvalid: its file cannot be read.
    """
    folder = fleets_dir / name
    try:
        fleet = _parse(json.loads((folder / "fleet.json").read_text(encoding="utf-8")), folder)
    except FileNotFoundError:
        raise UsageError(f"There is no fleet {name} on this machine.", fix=_known(fleets_dir)) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsInvalid(
            f"{folder / 'fleet.json'} is damaged.",
            why=f"{type(error).__name__}: {error}",
            fix="`mlb infra status` says more.",
        ) from None
    if fleet.status != "ready" or not fleet.nodes:
        raise NodeNotReady(
            f"The fleet {name} is not ready: {fleet.status}.",
            fix=f"`mlb infra apply --name {name}` goes on from what there is; `mlb infra status` shows it.",
        )
    return fleet


def names(fleets_dir: Path) -> list[str]:
    """The fleets on this machine, sorted."""
    return sorted(path.parent.name for path in fleets_dir.glob("[!.]*/fleet.json"))


def _parse(raw: Mapping[str, Any], folder: Path) -> Fleet:
    if raw["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"it has format {raw['schema_version']!r}; this version of mlb reads {SCHEMA_VERSION}")
    price = raw.get("usd_per_hour")
    fleet = Fleet(
        name=raw["name"],
        cloud=raw["cloud"],
        status=raw["status"],
        expires_at=raw["expires_at"],
        usd_per_hour=None if price is None else float(price),
        nodes=tuple(_node(node) for node in raw["nodes"]),
        folder=folder,
        price_source=str(raw.get("price_source", "")),
        ledger=ledger_of(raw),
    )
    _ = fleet.expires_unix_s  # a date that is none is found here
    return fleet


def _node(raw: Mapping[str, Any]) -> FleetNode:
    values = {f.name: raw[f.name] for f in fields(FleetNode) if f.name != "ssh_key"}
    values["ssh_key"] = raw.get("ssh_key") or ""
    return FleetNode(**{**values, "ssh_port": int(values["ssh_port"]), "gpus": int(values["gpus"])})


def _known(fleets_dir: Path) -> str:
    there = names(fleets_dir)
    return f"Fleets here: {', '.join(there)}." if there else "Make one: mlb infra apply --cloud docker --nodes 4"
