"""Today's prices from AWS's own price list, kept beside the fleets: they take the place of those that ship with mlb."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from ..errors import PreflightError, UsageError
from . import catalogue
from .aws_api import Api
from .catalogue import Catalogue, Machine, Price
from .folder import write_private
from .places import REGIONS
from .spec import did_you_mean

SOURCE = "AWS price list (GetProducts)"
SPOT_SOURCE = f"{SOURCE}; spot: the dearest zone (DescribeSpotPriceHistory)"
# The price list itself lives in few regions, and this one knows all others' prices.
_ASKED_IN = "us-east-1"
_COLUMNS = ("cloud", "id", "region", "on_demand", "spot", "at_least", "date", "source")


@dataclass(frozen=True)
class Refreshed:
    """What a refresh came to: the file, the new rows, and the machines that the list has no price for."""

    file: Path
    prices: tuple[Price, ...]
    changed: tuple[tuple[Price, Price], ...]
    without: tuple[str, ...]


def refresh(cloud: str, regions: Iterable[str], home: Path) -> Refreshed:
    """Ask for the price of every machine of the catalogue in some regions, check the whole, then keep it.

    Raises:
        UsageError: an unknown region, a place without a price list, or prices that fail the catalogue's checks.
        PreflightError: no credentials, no connection, or not one price.
    """
    if cloud != "aws":
        raise UsageError(
            f"Prices of {cloud} cannot be refreshed yet: only AWS's price list is read.", fix="Use --cloud aws."
        )
    for region in regions:
        if region not in REGIONS["aws"]:
            raise UsageError(f"There is no region {region!r}.", fix=did_you_mean(region, REGIONS["aws"]))
    before = catalogue.load(home)
    machines = [m for m in before.machines if m.cloud == "aws"]
    found = [price for region in regions for price in _prices(machines, region)]
    if not found:
        raise PreflightError("AWS's price list has no price for any machine of the catalogue there.")
    kept = _merged(catalogue.own_prices(home), found)
    text = _csv(kept)
    after = catalogue.parse_with_own(text)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(catalogue.own_file(home), text)
    return Refreshed(
        catalogue.own_file(home),
        tuple(found),
        tuple(_changes(before, after, found)),
        tuple(sorted({m.id for m in machines} - {p.id for p in found})),
    )


def _prices(machines: list[Machine], region: str) -> Iterator[Price]:
    spot = _spot(machines, region)
    today = datetime.now(UTC).date()
    for machine in machines:
        on_demand = _on_demand(machine, region)
        if on_demand is None:
            continue
        cheapest = spot.get(machine.machine_type)
        # A spot price above the list price is a zone without machines, not an offer.
        bid = cheapest if cheapest is not None and cheapest <= on_demand else None
        source = SPOT_SOURCE if bid is not None else SOURCE
        yield Price("aws", machine.id, region, on_demand, bid, None, today, source)


def _on_demand(machine: Machine, region: str) -> Decimal | None:
    """The one price per hour of a machine with Linux and nothing else on it; None where there is not exactly one."""
    wanted = {
        "instanceType": machine.machine_type,
        "regionCode": region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    listed = Api(_ASKED_IN).pages("pricing", "get_products", "PriceList", ServiceCode="AmazonEC2", Filters=filters)
    found = {price for product in listed for price in _hourly(json.loads(str(product)))}
    return found.pop() if len(found) == 1 else None


def _hourly(product: dict[str, Any]) -> Iterator[Decimal]:
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            price = Decimal(dimension["pricePerUnit"].get("USD", "0"))
            if dimension["unit"] == "Hrs" and price > 0:
                yield price.normalize()


def _spot(machines: list[Machine], region: str) -> dict[str, Decimal]:
    """The dearest zone's spot price now, by machine type: a fleet may end up in any of them."""
    asked = {"InstanceTypes": [m.machine_type for m in machines], "ProductDescriptions": ["Linux/UNIX"]}
    rows = Api(region).pages(
        "ec2", "describe_spot_price_history", "SpotPriceHistory", StartTime=datetime.now(UTC), **asked
    )
    latest: dict[tuple[str, str], tuple[datetime, Decimal]] = {}
    for row in rows:
        place = (row["InstanceType"], row["AvailabilityZone"])
        here = (row["Timestamp"], Decimal(row["SpotPrice"]).normalize())
        latest[place] = max(here, latest.get(place, here))
    found: dict[str, Decimal] = {}
    for (machine_type, _), (_, price) in latest.items():
        found[machine_type] = max(price, found.get(machine_type, price))
    return found


def _merged(old: Iterable[Price], new: Iterable[Price]) -> list[Price]:
    by_place = {(p.cloud, p.id, p.region): p for p in (*old, *new)}
    return sorted(by_place.values(), key=lambda p: (p.cloud, p.id, p.region))


def _csv(prices: Iterable[Price]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for p in prices:
        dollars = ["" if value is None else format(value, "f") for value in (p.on_demand, p.spot, p.at_least)]
        writer.writerow([p.cloud, p.id, p.region, *dollars, p.dated.isoformat() if p.dated else "", p.source])
    return out.getvalue()


def _changes(before: Catalogue, after: Catalogue, found: Iterable[Price]) -> Iterator[tuple[Price, Price]]:
    machines = {m.id: m for m in after.machines if m.cloud == "aws"}
    for price in found:
        old = before.price(machines[price.id], price.region)
        if old is not None and old.on_demand != price.on_demand:
            yield old, price
