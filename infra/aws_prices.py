"""Today's prices of AWS: on demand from its price list, spot from what its zones ask for now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from .aws_api import Api
from .catalogue import Machine, Price
from .disks import KINDS, DiskPrice

SOURCE = "AWS price list (GetProducts)"
SPOT_SOURCE = f"{SOURCE}; spot: the dearest zone (DescribeSpotPriceHistory)"
# The price list itself lives in few regions, and this one knows all others' prices.
_ASKED_IN = "us-east-1"


def prices(machines: Sequence[Machine], region: str) -> Iterator[Price]:
    """The price of each machine that has one in a region."""
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


def disk_price(region: str) -> DiskPrice | None:
    """The one price of the disks that nodes boot from; None where there is not exactly one."""
    wanted = {"productFamily": "Storage", "volumeApiName": KINDS["aws"], "regionCode": region}
    found = _prices(wanted, "GB-Mo")
    if len(found) != 1:
        return None
    return DiskPrice("aws", KINDS["aws"], region, found.pop(), datetime.now(UTC).date(), SOURCE)


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
    found = _prices(wanted, "Hrs")
    return found.pop() if len(found) == 1 else None


def _prices(wanted: Mapping[str, str], unit: str) -> set[Decimal]:
    """Every price in that unit of the products with those attributes."""
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    listed = Api(_ASKED_IN).pages("pricing", "get_products", "PriceList", ServiceCode="AmazonEC2", Filters=filters)
    return {price for product in listed for price in _of_unit(json.loads(str(product)), unit)}


def _of_unit(product: dict[str, Any], unit: str) -> Iterator[Decimal]:
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            price = Decimal(dimension["pricePerUnit"].get("USD", "0"))
            if dimension["unit"] == unit and price > 0:
                yield price.normalize()


def _spot(machines: Sequence[Machine], region: str) -> dict[str, Decimal]:
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
