"""Today's prices of GCP: its price list has no machines, only their parts, which are added up here.

A machine is so many cores, so many GiB of memory and so many GPUs, each a row of its own in each region, on demand and
spot. Rows are told apart by their description; what else is called alike (custom machines, commitments, reservations,
calendar mode) has other words before or after. A disk to boot from has a price of its own; the local SSDs that come
with the largest machines are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from .catalogue import Machine, Price
from .disks import KINDS, DiskPrice

SOURCE = "Cloud Billing Catalog: cores, memory and GPUs, without disks"
DISK_SOURCE = "Cloud Billing Catalog"
_FAMILIES = {"n1": "N1 Predefined Instance", "n2": "N2 Instance", "g2": "G2 Instance", "a2": "A2 Instance"}
_FAMILIES |= {"a3": "A3 Instance"}
_GPUS: Mapping[str, tuple[str, ...]] = {
    "T4": ("Nvidia Tesla T4 GPU",),
    "V100": ("Nvidia Tesla V100 GPU",),
    "L4": ("Nvidia L4 GPU",),
    "A100": ("Nvidia Tesla A100 GPU",),
    "A100 80G": ("Nvidia Tesla A100 80GB GPU",),
    "H100": ("Nvidia H100 80GB GPU",),
}
# One machine has parts of its own; Google itself calls its GPU by three names, one in each region.
_MEGA = "a3-megagpu-8g"
_MEGA_GPUS = ("Nvidia H100 80GB Plus GPU", "Nvidia H100 80GB Mega GPU", "Nvidia H100 Mega 80GB GPU")
_MEGA_FAMILY = "A3Plus Instance"
_UNITS = ("h", "GiBy.h")
_DISK = "Balanced PD Capacity"
_DISK_UNITS = ("GiBy.mo",)

Row = Mapping[str, Any]
"""A row of the price list, as the Cloud Billing Catalog API writes it."""
Rates = Mapping[tuple[str, str], Mapping[str, frozenset[Decimal]]]
"""Dollars per hour by (usage, region) and the first words of a description, in lower case: one price, or it is odd."""


def prices(machines: Sequence[Machine], regions: Sequence[str], rows: Iterable[Row]) -> Iterator[Price]:
    """The price of each machine that has one in some regions, of the rows of the price list."""
    rates = rates_in(rows, regions)
    today = datetime.now(UTC).date()
    for region in regions:
        for machine in machines:
            on_demand = machine_price(machine, rates.get(("OnDemand", region), {}), spot=False)
            if on_demand is None:
                continue
            spot = machine_price(machine, rates.get(("Preemptible", region), {}), spot=True)
            bid = spot if spot is not None and spot <= on_demand else None
            yield Price("gcp", machine.id, region, on_demand, bid, None, today, SOURCE)


def disk_prices(regions: Sequence[str], rows: Iterable[Row]) -> Iterator[DiskPrice]:
    """The price of the disks that nodes boot from, in each of some regions that has exactly one.

    The row of the Americas is called `Balanced PD Capacity` alone, others end with ` in` and their place; what is kept
    twice has `Regional` before it.
    """
    found: dict[str, set[Decimal]] = {region: set() for region in regions}
    for row in rows:
        what, _, _ = row.get("description", "").partition(" in ")
        price = _price(row, _DISK_UNITS) if what == _DISK else None
        if price is not None:
            for region in set(regions).intersection(row.get("serviceRegions", ())):
                found[region].add(price)
    today = datetime.now(UTC).date()
    for region, offered in found.items():
        if len(offered) == 1:
            yield DiskPrice("gcp", KINDS["gcp"], region, offered.pop().normalize(), today, DISK_SOURCE)


def rates_in(rows: Iterable[Row], regions: Sequence[str]) -> Rates:
    """What the rows of the price list say of some regions."""
    found: dict[tuple[str, str], dict[str, set[Decimal]]] = {}
    for row in rows:
        what, running, _ = row.get("description", "").casefold().partition(" running in ")
        here = set(regions).intersection(row.get("serviceRegions", ()))
        price = _price(row, _UNITS) if here and running else None
        if price is None:
            continue
        usage = row.get("category", {}).get("usageType", "")
        for region in here:
            found.setdefault((usage, region), {}).setdefault(what, set()).add(price)
    return {place: {what: frozenset(prices) for what, prices in by.items()} for place, by in found.items()}


def machine_price(machine: Machine, rates: Mapping[str, frozenset[Decimal]], *, spot: bool) -> Decimal | None:
    """Dollars per hour of all parts of a machine; None where a part has no price, or more than one."""
    family, gpus = _parts_of(machine)
    before = "Spot Preemptible " if spot else ""
    after = " attached to Spot Preemptible VMs" if spot else ""
    parts = [
        (machine.vcpus, [f"{before}{family} Core"]),
        (machine.gib, [f"{before}{family} Ram"]),
        (machine.gpus, [f"{gpu}{after}" for gpu in gpus]),
    ]
    total = Decimal(0)
    for count, names in parts:
        offered = {price for name in names for price in rates.get(name.casefold(), ())}
        if count and len(offered) != 1:
            return None
        total += count * next(iter(offered), Decimal(0))
    return total.normalize()


def _parts_of(machine: Machine) -> tuple[str, tuple[str, ...]]:
    """What Google calls the family, and the names that the GPUs may have; empty where it is not known here."""
    if machine.id == _MEGA:
        return _MEGA_FAMILY, _MEGA_GPUS
    return _FAMILIES.get(machine.machine_type.partition("-")[0], ""), _GPUS.get(machine.gpu, ())


def _price(row: Row, units: Sequence[str]) -> Decimal | None:
    """The newest price of a row in dollars per one of `units`; None for one in steps, in another unit, or free."""
    try:
        expression = row["pricingInfo"][-1]["pricingExpression"]
        (rate,) = expression["tieredRates"]
        money = rate["unitPrice"]
        price = Decimal(money.get("units") or 0) + Decimal(money.get("nanos") or 0) / 10**9
    except (KeyError, IndexError, ValueError):
        return None
    usual = expression.get("usageUnit") in units and money.get("currencyCode") == "USD"
    return price if usual and price > 0 else None
