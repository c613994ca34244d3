"""What the nodes' disks cost: dated prices by cloud and region, from `disks.csv` beside this file or refreshed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

HOURS_PER_MONTH = 730
"""A month as both clouds' price calculators count it; what is billed is a share of the true month's hours."""
KINDS: Mapping[str, str] = {"aws": "gp3", "gcp": "pd-balanced"}
"""The kind of disk that each cloud's template asks for."""
SANE_MAX_PER_GB_MONTH = Decimal(1)
COLUMNS = ("cloud", "kind", "region", "usd_per_gb_month", "date", "source")


@dataclass(frozen=True)
class DiskPrice:
    """One row of `disks.csv`: US dollars per GB and month."""

    cloud: str
    kind: str
    region: str
    usd_per_gb_month: Decimal
    dated: date
    source: str

    @property
    def place(self) -> tuple[str, str, str]:
        """What there is one price of."""
        return self.cloud, self.kind, self.region

    def per_hour(self, size_gb: int) -> Decimal:
        """US dollars per hour of one disk."""
        return self.usd_per_gb_month * size_gb / HOURS_PER_MONTH


def parse_row(row: Mapping[str, str]) -> DiskPrice:
    """A row of the file; raises ValueError, InvalidOperation or KeyError for one that makes no sense."""
    price = Decimal(row["usd_per_gb_month"])
    if not price.is_finite() or not 0 < price <= SANE_MAX_PER_GB_MONTH:
        raise ValueError(f"{price} $ per GB and month is a placeholder, not a price")
    if KINDS.get(row["cloud"]) != row["kind"]:
        raise ValueError(f"no node of {row['cloud']} boots from {row['kind']}")
    if not row["source"]:
        raise ValueError("no source")
    dated = date.fromisoformat(row["date"])
    return DiskPrice(row["cloud"], row["kind"], row["region"], price, dated, row["source"])


def own_file(home: Path) -> Path:
    """Where refreshed prices of disks are kept."""
    return home / "disks.csv"


def cells(price: DiskPrice) -> tuple[str, ...]:
    """The row of a price, by `COLUMNS`."""
    dollars = format(price.usd_per_gb_month, "f")
    return price.cloud, price.kind, price.region, dollars, price.dated.isoformat(), price.source
