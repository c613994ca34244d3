"""Today's prices from the clouds' own price lists, kept beside the fleets: they take the place of those that ship."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import PreflightError, UsageError
from . import catalogue, disks
from .catalogue import Catalogue, Machine, P, Price
from .disks import DiskPrice
from .folder import write_private
from .places import REGIONS, default_region
from .spec import did_you_mean

_COLUMNS = ("cloud", "id", "region", "on_demand", "spot", "at_least", "date", "source")


@dataclass(frozen=True)
class Refreshed:
    """What a refresh came to: the file, the new rows, and the machines that the list has no price for."""

    file: Path
    prices: tuple[Price, ...]
    disks: tuple[DiskPrice, ...]
    changed: tuple[tuple[Price, Price], ...]
    without: tuple[str, ...]


def refresh(cloud: str, regions: Sequence[str], home: Path, project: str = "") -> Refreshed:
    """Ask for the price of every machine of the catalogue in some regions, and of disks; check the whole, keep it.

    Args:
        regions: none means the cloud's default region.
        project: the Google Cloud project that the question is asked from; empty is the login's.

    Raises:
        UsageError: an unknown region, a place without a price list, or prices that fail the catalogue's checks.
        PreflightError: no credentials, no connection, or not one price.
    """
    if cloud not in REGIONS:
        raise UsageError(f"There is no price list of {cloud!r}.", fix=did_you_mean(cloud, REGIONS))
    regions = list(dict.fromkeys(regions)) or [default_region(cloud, None)]
    for region in regions:
        if region not in REGIONS[cloud]:
            raise UsageError(f"There is no region {region!r}.", fix=did_you_mean(region, REGIONS[cloud]))
    before = catalogue.load(home)
    machines = [m for m in before.machines if m.cloud == cloud]
    found, of_disks = _asked(cloud, machines, regions, project)
    if not found:
        raise PreflightError(f"The price list of {cloud} has no price for any machine of the catalogue there.")
    text = _csv(_COLUMNS, map(_cells, _merged(catalogue.own_prices(home), found)))
    disks_text = _csv(disks.COLUMNS, map(disks.cells, _merged(catalogue.own_disks(home), of_disks)))
    after = catalogue.parse_with_own(text, disks_text)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(catalogue.own_file(home), text)
    write_private(disks.own_file(home), disks_text)
    return Refreshed(
        catalogue.own_file(home),
        tuple(found),
        tuple(of_disks),
        tuple(_changes(before, after, found)),
        tuple(sorted({m.id for m in machines} - {p.id for p in found})),
    )


def _asked(
    cloud: str, machines: Sequence[Machine], regions: Sequence[str], project: str
) -> tuple[list[Price], list[DiskPrice]]:
    """Imports the cloud's library here and nowhere earlier."""
    if cloud == "gcp":
        from . import gcp_api, gcp_prices

        rows = list(gcp_api.price_list(project))
        return list(gcp_prices.prices(machines, regions, rows)), list(gcp_prices.disk_prices(regions, rows))
    from . import aws_prices

    found = [price for region in regions for price in aws_prices.prices(machines, region)]
    return found, [disk for region in regions if (disk := aws_prices.disk_price(region))]


def _merged(old: Iterable[P], new: Iterable[P]) -> list[P]:
    merged = {p.place: p for p in old}
    merged.update((p.place, p) for p in new)
    return [merged[place] for place in sorted(merged)]


def _csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()


def _cells(p: Price) -> tuple[str, ...]:
    dollars = ["" if value is None else format(value, "f") for value in (p.on_demand, p.spot, p.at_least)]
    return p.cloud, p.id, p.region, *dollars, p.dated.isoformat() if p.dated else "", p.source


def _changes(before: Catalogue, after: Catalogue, found: Iterable[Price]) -> Iterator[tuple[Price, Price]]:
    machines = {(m.cloud, m.id): m for m in after.machines}
    for price in found:
        old = before.price(machines[price.cloud, price.id], price.region)
        if old is not None and old.on_demand != price.on_demand:
            yield old, price
