"""What a run cost: on the clock of the nodes it used, and as the whole fleet was billed; and its energy."""

from __future__ import annotations

from collections.abc import Mapping
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
    spent_usd: float | None = None
    """What it had cost from its beginning to `as_of_unix_s`, by its ledger; None where that is not known."""
    as_of_unix_s: float | None = None
    """From then on it is billed at `usd_per_hour`."""
    is_ceiling: bool = False
    """Whether `usd_per_hour` is the most that it can be."""
    spent_is_ceiling: bool = False
    """The same of `spent_usd`."""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Rent:
        """Reads what this or an earlier version wrote, which took a fleet to have cost the same since `created_unix_s`.

        Raises:
            TypeError: it was edited.
        """
        if "created_unix_s" not in raw:
            return cls(**raw)
        known = {name: value for name, value in raw.items() if name != "created_unix_s"}
        created = raw["created_unix_s"]
        return cls(**known, spent_usd=None if created is None else 0.0, as_of_unix_s=created)


@dataclass(frozen=True)
class Cost:
    """Of one run, in US dollars at list price, without traffic; None where that is not known."""

    rent: Rent
    clock_usd: float
    """The nodes used, from the launch to the end."""
    billed_usd: float | None
    """The whole fleet, from its beginning to the run's end: provisioning, idling and idle nodes included."""
    target_clock_usd: float | None
    """As `clock_usd`, up to the evaluation that met the target."""
    target_billed_usd: float | None
    clock_is_ceiling: bool = False
    """Whether what is on the clock is the most that it can be."""
    billed_is_ceiling: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def cost_of(metrics: Metrics) -> Cost | None:
    """The cost of a run on a fleet with a price; None where there is none."""
    rent, wall_s, nodes = metrics.spec.rent, metrics.split.wall_s, metrics.spec.nodes
    if rent is None or not rent.usd_per_hour or not wall_s:
        return None
    per_s = rent.usd_per_hour / 3600
    share = nodes / rent.nodes if rent.nodes >= nodes else 1.0
    before_s = None if rent.as_of_unix_s is None else metrics.launched_unix_ns / 1e9 - rent.as_of_unix_s
    target_s = metrics.time_to_target_from_launch_s

    def billed(until_s: float | None) -> float | None:
        if until_s is None or before_s is None or before_s < 0 or rent.spent_usd is None:
            return None
        return rent.spent_usd + per_s * (before_s + until_s)

    return Cost(
        rent=rent,
        clock_usd=per_s * share * wall_s,
        billed_usd=billed(wall_s),
        target_clock_usd=None if target_s is None else per_s * share * target_s,
        target_billed_usd=billed(target_s),
        clock_is_ceiling=rent.is_ceiling,
        billed_is_ceiling=rent.is_ceiling or rent.spent_is_ceiling,
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
    billed = _billed_words(cost, cost.billed_usd, "billed from the fleet's beginning to its end")
    rate = f"{at_most(cost.clock_is_ceiling)}${cost.rent.usd_per_hour:.2f} an hour"
    return f"{_clock_words(cost, cost.clock_usd)}{billed} ({rate}, {cost.rent.source}; without traffic)"


def target_words_of(metrics: Metrics) -> str:
    """The cost to the target in a line; empty where it is not known."""
    cost = cost_of(metrics)
    if cost is None or cost.target_clock_usd is None:
        return ""
    return _clock_words(cost, cost.target_clock_usd) + _billed_words(cost, cost.target_billed_usd, "billed by then")


def _clock_words(cost: Cost, clock_usd: float) -> str:
    return f"{at_most(cost.clock_is_ceiling)}{usd(clock_usd)} on the clock"


def _billed_words(cost: Cost, billed_usd: float | None, what: str) -> str:
    return "" if billed_usd is None else f", {at_most(cost.billed_is_ceiling)}{usd(billed_usd)} {what}"


def at_most(is_ceiling: bool) -> str:
    """What stands before an amount of money that is a ceiling."""
    return "at most " if is_ceiling else ""


def usd(amount: float) -> str:
    """Cents, and more digits below ten of them."""
    return f"${amount:,.2f}" if amount >= 0.1 else f"${amount:.2g}"
