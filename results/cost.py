"""What a run cost: on the clock of the nodes it used, and as the whole fleet was billed; and its energy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .metrics import Metrics


@dataclass(frozen=True)
class Rent:
    """What a fleet costs, as known when a run on it was asked for."""

    usd_per_hour: float | None = None
    """List price of all its nodes; 0 where nothing is rented, None where nobody knows."""
    source: str = ""
    nodes: int = 0
    created_unix_s: float | None = None
    """When it was begun: from then on it is billed."""


@dataclass(frozen=True)
class Cost:
    """Of one run, in US dollars at list price, without disks and traffic; None where that is not known."""

    rent: Rent
    clock_usd: float
    """The nodes used, from the launch to the end."""
    billed_usd: float | None
    """The whole fleet, from its beginning to the run's end: provisioning, idling and idle nodes included."""
    target_clock_usd: float | None
    """As `clock_usd`, up to the evaluation that met the target."""
    target_billed_usd: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def cost_of(metrics: Metrics) -> Cost | None:
    """The cost of a run on a fleet with a price; None where there is none."""
    rent, wall_s, nodes = metrics.spec.rent, metrics.split.wall_s, metrics.spec.nodes
    if rent is None or not rent.usd_per_hour or not wall_s:
        return None
    per_s = rent.usd_per_hour / 3600
    share = nodes / rent.nodes if rent.nodes >= nodes else 1.0
    before_s = None if rent.created_unix_s is None else metrics.launched_unix_ns / 1e9 - rent.created_unix_s
    target_s = metrics.time_to_target_from_launch_s

    def billed(until_s: float | None) -> float | None:
        return None if until_s is None or before_s is None or before_s < 0 else per_s * (before_s + until_s)

    return Cost(
        rent=rent,
        clock_usd=per_s * share * wall_s,
        billed_usd=billed(wall_s),
        target_clock_usd=None if target_s is None else per_s * share * target_s,
        target_billed_usd=billed(target_s),
    )


def energy_j_of(metrics: Metrics) -> float | None:
    """Of all GPUs of all nodes while they were sampled, by their own counters; None where one has none."""
    nodes = metrics.resources
    known = [node.energy_j for node in nodes if node.energy_j is not None]
    return sum(known) if known and len(known) == len(nodes) == metrics.spec.nodes else None


def words_of(metrics: Metrics) -> str:
    """The cost in a line."""
    rent, cost = metrics.spec.rent, cost_of(metrics)
    if metrics.spec.fleet == "local" or (rent is not None and rent.usd_per_hour == 0):
        return "nothing was rented"
    if cost is None:
        return "not known: the fleet had no price"
    billed = "" if cost.billed_usd is None else f", {usd(cost.billed_usd)} billed from the fleet's beginning to its end"
    return (
        f"{usd(cost.clock_usd)} on the clock{billed} "
        f"(${rent.usd_per_hour if rent else 0:.2f} an hour, {cost.rent.source}; without disks and traffic)"
    )


def target_words_of(metrics: Metrics) -> str:
    """The cost to the target in a line; empty where it is not known."""
    cost = cost_of(metrics)
    if cost is None or cost.target_clock_usd is None:
        return ""
    billed = "" if cost.target_billed_usd is None else f", {usd(cost.target_billed_usd)} billed by then"
    return f"{usd(cost.target_clock_usd)} on the clock{billed}"


def usd(amount: float) -> str:
    """Cents, and more digits below ten of them."""
    return f"${amount:,.2f}" if amount >= 0.1 else f"${amount:.2g}"
