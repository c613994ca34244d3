"""What a fleet costs before anything is created: the machine that fits, what idles, and the alternatives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from ..errors import PreflightError
from .catalogue import MAX_AGE_DAYS, Catalogue, Machine, Price
from .disks import DiskPrice
from .spec import FleetSpec

WEEKEND_H = 60
"""Friday evening to Monday morning: what a fleet costs when it is forgotten and its TTL were off."""

ONE_CARD_GBIT_S = 100
"""What an AWS machine is sold with beyond this is mostly of several network cards with EFA: 32 in a p5.48xlarge."""


@dataclass(frozen=True)
class Offer:
    """One machine type for every node of a fleet.

    Attributes:
        per_node: dollars per node and hour; None where the catalogue does not know.
        at_least: what is known of it where the whole is not.
        bound: true when `per_node` is a ceiling (the on-demand price of a spot node).
        disk_per_node: dollars per node and hour of its disk; None where the catalogue does not know.
        idle_gpus: GPUs of each node that nobody uses and that are paid for.
    """

    machine: Machine
    region: str
    nodes: int
    per_node: Decimal | None
    at_least: Decimal | None
    bound: bool
    disk_per_node: Decimal | None
    idle_gpus: int
    source: str
    dated: date | None
    note: str = ""

    @property
    def per_hour(self) -> Decimal | None:
        """Dollars of the whole fleet, with its disks where their price is known."""
        return None if self.per_node is None else (self.per_node + (self.disk_per_node or 0)) * self.nodes

    @property
    def idle_per_hour(self) -> Decimal | None:
        """The share of the fleet's price that goes to idle GPUs."""
        if self.per_node is None or not self.machine.gpus:
            return None
        return self.per_node * self.nodes * self.idle_gpus / self.machine.gpus

    def to_json(self) -> dict[str, Any]:
        return {
            "machine": self.machine.id,
            "gpu": self.machine.gpu,
            "gpus_per_node": self.machine.gpus,
            "idle_gpus_per_node": self.idle_gpus,
            "vcpus_per_node": self.machine.vcpus,
            "region": self.region,
            "nodes": self.nodes,
            "usd_per_node_hour": _number(self.per_node),
            "usd_per_node_hour_at_least": _number(self.at_least),
            "usd_per_node_hour_of_disk": _number(self.disk_per_node),
            "usd_per_hour": _number(self.per_hour),
            "idle_usd_per_hour": _number(self.idle_per_hour),
            "is_ceiling": self.bound,
            "price_date": self.dated.isoformat() if self.dated else None,
            "price_source": self.source,
            "note": self.note,
        }


@dataclass(frozen=True)
class Quote:
    """The offer that `apply` would take, and what else there is."""

    spec: FleetSpec
    chosen: Offer | None
    alternatives: tuple[Offer, ...]
    warnings: tuple[str, ...]
    disk: DiskPrice | None = None
    """What the nodes' disks cost there; None where nobody knows, or nothing is billed."""

    @property
    def network(self) -> str:
        """What the nodes of a rented fleet talk over, in words; empty where there is nothing to go over."""
        if self.chosen is None or self.spec.nodes == 1:
            return ""
        if self.spec.cloud != "aws":
            return "TCP over one interface"
        sold = float(self.chosen.machine.gbit_s or 0)
        more = f": perhaps far below the {sold:g} Gbit/s that it is sold with" if sold > ONE_CARD_GBIT_S else ""
        return f"TCP over one interface, no EFA{more}"

    @property
    def per_hour(self) -> Decimal | None:
        return Decimal(0) if self.chosen is None else self.chosen.per_hour

    def cost_of(self, hours: Decimal) -> Decimal | None:
        return None if self.per_hour is None else self.per_hour * hours

    @property
    def for_ttl(self) -> Decimal | None:
        return self.cost_of(Decimal(self.spec.ttl_s) / 3600)

    @property
    def for_weekend(self) -> Decimal | None:
        return self.cost_of(Decimal(WEEKEND_H))

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "fleet": self.spec.to_json(),
            "chosen": self.chosen.to_json() if self.chosen else None,
            "usd_per_hour": _number(self.per_hour),
            "ttl_hours": self.spec.ttl_s / 3600,
            "usd_for_ttl": _number(self.for_ttl),
            "usd_for_weekend_60h": _number(self.for_weekend),
            "alternatives": [offer.to_json() for offer in self.alternatives],
            "disk": {
                "gb_per_node": self.spec.disk_gb,
                "kind": self.disk.kind,
                "usd_per_gb_month": _number(self.disk.usd_per_gb_month),
                "price_date": self.disk.dated.isoformat(),
                "price_source": self.disk.source,
            }
            if self.disk
            else None,
            "network": self.network,
            "warnings": list(self.warnings),
        }


def make_quote(spec: FleetSpec, catalogue: Catalogue, today: date) -> Quote:
    """The quote for a spec; raises UsageError when no machine can serve it."""
    if spec.cloud in ("docker", "ssh"):
        return Quote(spec, None, (), ())
    offers = sorted((_offer(spec, m, catalogue) for m in catalogue.fitting(spec)), key=_rank)
    chosen, rest = offers[0], _one_a_gpu(offers[1:])
    disk = catalogue.disk_price(spec.cloud, spec.region)
    return Quote(spec, chosen, rest, tuple(_warnings(spec, chosen, rest, today)), disk)


def refuse_if_over(quote: Quote) -> None:
    """Raises PreflightError for a price above `--max-price`."""
    limit = quote.spec.max_price
    if limit is None or quote.chosen is None:
        return
    if quote.per_hour is None:
        raise PreflightError("--max-price cannot be kept: the price is unknown.", fix="Choose a machine with a price.")
    if quote.disk is None:
        raise PreflightError(
            f"--max-price cannot be kept: the price of disks in {quote.chosen.region} is unknown.",
            fix=f"`{_refresh(quote.chosen)}` asks for it.",
        )
    if quote.per_hour > limit:
        raise PreflightError(
            f"The fleet costs {dollars(quote.per_hour)} per hour, more than --max-price {limit}.",
            fix="Use fewer nodes, smaller disks (--disk-gb), another --gpu-type (see `mlb infra quote`), or a higher "
            "--max-price.",
        )


def refuse_if_unknown(quote: Quote) -> None:
    """Raises PreflightError for a price that nobody knows, unless that was accepted by name."""
    chosen = quote.chosen
    if chosen is None or chosen.per_node is not None or quote.spec.unknown_price_ok:
        return
    raise PreflightError(
        f"The price of {chosen.machine.id} in {chosen.region} is not in the catalogue.",
        why=chosen.note,
        fix=f"Choose a machine with a price, or accept this one with --accept-unknown-price.{_price_hint(chosen)}",
    )


def dollars(value: Decimal | None) -> str:
    """`$28.51`, or `unknown`."""
    return "unknown" if value is None else f"${value:,.2f}"


def _offer(spec: FleetSpec, machine: Machine, catalogue: Catalogue) -> Offer:
    price, disk = catalogue.price(machine, spec.region), catalogue.disk_price(spec.cloud, spec.region)
    per_node, bound = _node_price(price, spot=spec.spot)
    return Offer(
        machine=machine,
        region=spec.region,
        nodes=spec.nodes,
        per_node=per_node,
        at_least=price.at_least if price else None,
        bound=bound,
        disk_per_node=disk.per_hour(spec.disk_gb) if disk else None,
        idle_gpus=machine.gpus - spec.gpus,
        source=price.source if price else "",
        dated=price.dated if price else None,
        note=_note(machine, price, catalogue),
    )


def _node_price(price: Price | None, *, spot: bool) -> tuple[Decimal | None, bool]:
    """Spot is never dearer than on demand in either cloud, so the one bounds the other."""
    if price is None:
        return None, False
    if spot and price.spot is not None:
        return price.spot, False
    return price.on_demand, spot


def _note(machine: Machine, price: Price | None, catalogue: Catalogue) -> str:
    notes = ["ARM"] if machine.arch == "arm64" else []
    if machine.is_bare_metal:
        notes.append("bare metal: boots slowly")
    if price is None:
        other = catalogue.price_elsewhere(machine)
        notes.append(f"{dollars(other.on_demand)} in {other.region}" if other else "price not in the catalogue")
    elif price.on_demand is None:
        notes.append(f"at least {dollars(price.at_least)}: GPUs without their host")
    return "; ".join(notes)


def _rank(offer: Offer) -> tuple[bool, bool, bool, Decimal, int]:
    """Exact before idle GPUs, a known price before an unknown one, bare metal last, then the cheapest, the smallest."""
    return (
        offer.idle_gpus > 0,
        offer.per_node is None,
        offer.machine.is_bare_metal,
        offer.per_node or offer.at_least or Decimal(0),
        offer.machine.vcpus,
    )


def _one_a_gpu(offers: list[Offer]) -> tuple[Offer, ...]:
    """The best few of each kind of GPU, cheapest first: nobody reads forty rows."""
    best: dict[tuple[str, bool], Offer] = {}
    for offer in offers:
        best.setdefault((offer.machine.gpu, offer.idle_gpus > 0), offer)
    by_price = sorted(best.values(), key=lambda o: (o.per_node is None, o.per_node or o.at_least or Decimal(0)))
    return tuple(by_price[:8])


def _warnings(spec: FleetSpec, chosen: Offer, rest: tuple[Offer, ...], today: date) -> list[str]:
    found = []
    if chosen.idle_gpus:
        total = chosen.idle_gpus * spec.nodes
        found.append(
            f"{chosen.idle_gpus} of {chosen.machine.gpus} GPUs of each node idle and are paid for: "
            f"{total} GPUs, {dollars(chosen.idle_per_hour)} per hour."
        )
    cheaper = next((o for o in rest if o.per_node and chosen.per_node and o.per_node < chosen.per_node), None)
    if cheaper:
        idle = f", {cheaper.idle_gpus} of {cheaper.machine.gpus} GPUs idle" if cheaper.idle_gpus else ""
        name = f"{cheaper.machine.id} ({cheaper.machine.gpu})"
        found.append(f"Cheaper: {name} at {dollars(cheaper.per_node)} per node{idle}.")
    if chosen.disk_per_node is None:
        disks = f"{spec.nodes} disks of {spec.disk_gb} GB" if spec.nodes > 1 else f"a disk of {spec.disk_gb} GB"
        found.append(f"Without {disks}, whose price there is not known; `{_refresh(chosen)}` asks for it.")
    if chosen.bound:
        found.append("The catalogue has no spot price: the on-demand price shown is the most it can be.")
    if chosen.per_node is not None:
        found += _age_warning(chosen, today)
    else:
        found.append(f"Its price is not known.{_price_hint(chosen)}")
    return found


def _price_hint(chosen: Offer) -> str:
    return f" `{_refresh(chosen)}` asks {chosen.machine.cloud.upper()}'s price list for it."


def _refresh(chosen: Offer) -> str:
    return f"mlb catalog refresh --cloud {chosen.machine.cloud} --region {chosen.region}"


def _age_warning(chosen: Offer, today: date) -> list[str]:
    if chosen.dated is None:
        return [f"The source does not say from which day this price is; `{_refresh(chosen)}` asks for today's."]
    age = (today - chosen.dated).days
    if age <= MAX_AGE_DAYS:
        return []
    return [f"The price is {age} days old (more than {MAX_AGE_DAYS}); `{_refresh(chosen)}` asks for today's."]


def _number(value: Decimal | None) -> float | None:
    return None if value is None else round(float(value), 6)
