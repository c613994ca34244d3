"""`fleet.json`: what was rented, where its nodes are, how it got there. The seam to all that follows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from ..errors import ResultsInvalid, UsageError
from ..results.ledger import Charge, Ledger, is_ceiling, ledger_of, usd_until
from .blueprint import Blueprint
from .folder import FleetFolder, write_private

SCHEMA_VERSION = 1
Status = Literal["creating", "ready", "not-ready", "destroying"]


@dataclass(frozen=True)
class Node:
    """One machine, as every cloud's module puts it out.

    Attributes:
        id: what the cloud calls it.
        image: the image that it booted, resolved.
        ssh_key: the user's own key to log in with; empty where the fleet has a key of its own.
    """

    name: str
    id: str
    public_ip: str
    private_ip: str
    ssh_host: str
    ssh_port: int
    ssh_user: str
    gpus: int
    image: str = ""
    ssh_key: str = ""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Node:
        known = {f.name: raw[f.name] for f in fields(cls) if raw.get(f.name) is not None}
        known["ssh_port"] = int(known["ssh_port"])
        return cls(**known)


@dataclass(frozen=True)
class Attempt:
    """One zone that was tried, and what came of it."""

    zone: str
    outcome: str
    seconds: float


@dataclass(frozen=True)
class Replacement:
    """A machine that failed its checks and had to make room for another one, under the same node's name.

    Attributes:
        id: what the cloud called the one that is gone.
        at: when, as `2026-11-24T04:00:00Z`.
    """

    node: str
    id: str
    problems: tuple[str, ...]
    at: str


@dataclass(frozen=True)
class Fleet:
    """A fleet as this machine knows it; written before the first machine is asked for.

    Attributes:
        usd_per_hour: list price of all its nodes; 0 where nothing is rented, None where nobody knows.
        price_is_ceiling: whether that is the most it can be: spot machines at the on-demand price.
        ledger: what it has cost, change by change.
    """

    blueprint: Blueprint
    status: Status
    nodes: tuple[Node, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    usd_per_hour: float | None = None
    price_source: str = ""
    price_is_ceiling: bool = False
    checks: tuple[Mapping[str, Any], ...] = field(default=())
    replaced: tuple[Replacement, ...] = ()
    ledger: Ledger = ()

    @property
    def name(self) -> str:
        return self.blueprint.spec.name

    def charge(self, unix_s: float) -> Charge:
        """What it costs from a moment on, with the machines of its blueprint."""
        return Charge(unix_s, self.blueprint.spec.nodes, self.usd_per_hour, self.price_is_ceiling)

    @property
    def usd_per_hour_now(self) -> float | None:
        """What is billed an hour, at most; None where nobody knows.

        After a change that was cut short there may be more machines than the record lists.
        """
        rates = [self.usd_per_hour, *(charge.usd_per_hour for charge in self.ledger[-1:])]
        known = [rate for rate in rates if rate is not None]
        return max(known) if len(known) == len(rates) else None

    @property
    def is_ceiling_now(self) -> bool:
        """Whether `usd_per_hour_now` is the most that it can be."""
        return self.price_is_ceiling or is_ceiling(self.ledger[-1:])

    def usd_so_far(self, unix_s: float) -> float | None:
        """What its machines have cost by list price; they end with the deadline. None where a price is not known."""
        return usd_until(self.ledger, min(unix_s, self.blueprint.expires_epoch))

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "fleet_id": self.blueprint.fleet_id,
            "cloud": self.blueprint.spec.cloud,
            "region": self.blueprint.spec.region,
            "zone": self.blueprint.zone,
            "status": self.status,
            "expires_at": self.blueprint.expires_at if self.blueprint.is_rented else None,
            "nodes": [asdict(node) for node in self.nodes],
            "usd_per_hour": self.usd_per_hour,
            "price_source": self.price_source,
            "price_is_ceiling": self.price_is_ceiling,
            "ledger": [asdict(charge) for charge in self.ledger],
            "attempts": [asdict(attempt) for attempt in self.attempts],
            "checks": list(self.checks),
            "replaced": [asdict(one) for one in self.replaced],
            "blueprint": self.blueprint.to_json(),
        }

    def changed(self, **changes: Any) -> Fleet:
        return replace(self, **changes)

    def save(self, folder: FleetFolder) -> Fleet:
        write_private(folder.fleet_json, json.dumps(self.to_json(), indent=2) + "\n")
        return self


def load(folder: FleetFolder) -> Fleet | None:
    """The fleet, or None if there is none; raises ResultsInvalid for a file that cannot be read."""
    try:
        raw = json.loads(folder.fleet_json.read_text(encoding="utf-8"))
        if raw["schema_version"] > SCHEMA_VERSION:
            raise UsageError(
                f"The fleet {folder.name} was made by a later version of mlb ({raw['blueprint']['version']}).",
                fix="Use that version, or destroy the fleet by its tags: mlb infra gc.",
            )
        return _parse(raw)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsInvalid(
            f"{folder.fleet_json} is damaged.",
            why=f"{type(error).__name__}: {error}",
            fix=f"`mlb infra destroy --name {folder.name} --cloud CLOUD` finds the machines by their tags.",
        ) from None


def names(folder_home: FleetFolder) -> list[str]:
    """The names of the fleets that lie on this machine, sorted."""
    home = folder_home.home / "fleets"
    return sorted(p.name for p in home.glob("*") if (p / "fleet.json").exists()) if home.is_dir() else []


def _parse(raw: Mapping[str, Any]) -> Fleet:
    return Fleet(
        blueprint=Blueprint.from_json(raw["blueprint"]),
        status=raw["status"],
        nodes=tuple(Node.from_json(node) for node in raw["nodes"]),
        attempts=tuple(Attempt(**attempt) for attempt in raw.get("attempts", ())),
        usd_per_hour=raw.get("usd_per_hour"),
        price_source=raw.get("price_source", ""),
        price_is_ceiling=raw.get("price_is_ceiling", False),
        checks=tuple(raw.get("checks", ())),
        replaced=tuple(Replacement(**{**one, "problems": tuple(one["problems"])}) for one in raw.get("replaced", ())),
        ledger=ledger_of(raw),
    )
