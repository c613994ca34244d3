"""Machines and dated prices: three CSV files beside this one, checked row by row when they are read."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from ..errors import UsageError
from . import disks
from .disks import KINDS, DiskPrice
from .spec import FleetSpec, did_you_mean

T = TypeVar("T")

MAX_AGE_DAYS = 30
SANE_MAX_PER_HOUR = Decimal(400)
"""Placeholders such as 700.0 and 9999 occur in public catalogues; the dearest real machine is at 142."""


@dataclass(frozen=True)
class Machine:
    """One row of `machines.csv`; `id` is unique in its cloud, `machine_type` is what the cloud calls it.

    `gbit_s` is what the cloud sells it with, all its network cards together; a fleet's node has one interface.
    """

    cloud: str
    id: str
    machine_type: str
    gpu: str
    gpus: int
    gpu_mib: int
    vcpus: int
    gib: int
    gbit_s: str
    arch: str
    accelerator: str

    @property
    def is_bare_metal(self) -> bool:
        """Whether it is a whole server without a hypervisor, which takes far longer to boot than a virtual machine."""
        return self.cloud == "aws" and ".metal" in self.machine_type


@dataclass(frozen=True)
class Price:
    """One row of `prices.csv`: US dollars per machine and hour.

    `at_least` is what is known where the whole is not (the GPUs without their host); `dated` is None where
    the source does not say its day.
    """

    cloud: str
    id: str
    region: str
    on_demand: Decimal | None
    spot: Decimal | None
    at_least: Decimal | None
    dated: date | None
    source: str

    @property
    def place(self) -> tuple[str, str, str]:
        """What there is one price of."""
        return self.cloud, self.id, self.region

    def age_days(self, today: date) -> int | None:
        return None if self.dated is None else (today - self.dated).days

    def is_old(self, today: date) -> bool:
        age = self.age_days(today)
        return age is None or age > MAX_AGE_DAYS


P = TypeVar("P", Price, DiskPrice)


@dataclass(frozen=True)
class Catalogue:
    """All machines, their prices and those of their disks."""

    machines: tuple[Machine, ...]
    prices: tuple[Price, ...]
    disks: tuple[DiskPrice, ...] = ()
    _by_place: dict[tuple[str, str, str], Price] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._by_place.update({p.place: p for p in self.prices})

    def disk_price(self, cloud: str, region: str) -> DiskPrice | None:
        """The price of the disks that nodes boot from there; None where it is not known."""
        wanted = (cloud, KINDS.get(cloud), region)
        return next((disk for disk in self.disks if disk.place == wanted), None)

    def price(self, machine: Machine, region: str) -> Price | None:
        return self._by_place.get((machine.cloud, machine.id, region))

    def price_elsewhere(self, machine: Machine) -> Price | None:
        """The machine's cheapest known price in any region."""
        known = [p for p in self.prices if (p.cloud, p.id) == (machine.cloud, machine.id) and p.on_demand]
        return min(known, key=lambda p: p.on_demand or 0, default=None)

    def fitting(self, spec: FleetSpec) -> list[Machine]:
        """Machines that could serve the spec, in the catalogue's order; raises UsageError when none can."""
        here = [m for m in self.machines if m.cloud == spec.cloud]
        if spec.instance_type:
            return _of_type(here, spec)
        if spec.gpus == 0:
            return [m for m in here if m.gpus == 0]
        gpu = _gpu_name(here, spec.gpu_type) if spec.gpu_type else None
        # ARM machines need other images and wheels: only for those who name such a GPU or machine.
        fits = [m for m in here if m.gpus >= spec.gpus and (m.gpu == gpu if gpu else m.arch == "x86_64")]
        if not fits:
            most = max((m.gpus for m in here if gpu in (None, m.gpu)), default=0)
            raise UsageError(
                f"No {spec.cloud} machine has {spec.gpus} {gpu or ''} GPUs.".replace("  ", " "),
                fix=f"The most is {most}; use more nodes with fewer GPUs each.",
            )
        return fits


def _of_type(machines: list[Machine], spec: FleetSpec) -> list[Machine]:
    wanted = spec.instance_type or ""
    found = [m for m in machines if wanted.casefold() in (m.id.casefold(), m.machine_type.casefold())]
    if not found:
        names = {m.id for m in machines}
        raise UsageError(
            f"There is no {spec.cloud} machine type {wanted!r} in the catalogue.",
            fix=did_you_mean(wanted, names),
        )
    gpu = _gpu_name(machines, spec.gpu_type) if spec.gpu_type else None
    fits = [m for m in found if m.gpus >= spec.gpus and gpu in (None, m.gpu)]
    if not fits:
        has = ", ".join(f"{m.gpus} {m.gpu}".strip() for m in found)
        raise UsageError(f"{wanted} has {has} GPUs, not {spec.gpus} {gpu or ''}".rstrip() + ".")
    return fits


def _gpu_name(machines: Iterable[Machine], wanted: str) -> str:
    names = {m.gpu.casefold(): m.gpu for m in machines if m.gpu}
    if wanted.casefold() not in names:
        raise UsageError(f"There is no GPU type {wanted!r} here.", fix=did_you_mean(wanted, set(names.values())))
    return names[wanted.casefold()]


def load(home: Path | None = None) -> Catalogue:
    """The catalogue that ships with mlb, with the prices that `mlb catalog refresh` left in `home`, if any.

    Raises:
        UsageError: a row is wrong.
    """
    own = [_text(file) for file in (own_file(home), disks.own_file(home))] if home else []
    return parse_with_own(*own)


def own_file(home: Path) -> Path:
    """Where refreshed prices are kept."""
    return home / "prices.csv"


def own_prices(home: Path) -> tuple[Price, ...]:
    """The refreshed prices alone; rows that are wrong are left out, since the next refresh replaces them."""
    return tuple(_rows(_text(own_file(home)), _price, own_file(home).name, []))


def own_disks(home: Path) -> tuple[DiskPrice, ...]:
    """As `own_prices`, of disks."""
    return tuple(_rows(_text(disks.own_file(home)), disks.parse_row, disks.own_file(home).name, []))


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def parse_with_own(own_csv: str = "", own_disks_csv: str = "") -> Catalogue:
    """The shipped catalogue, each price replaced by one of `own_csv` or `own_disks_csv` that is not older."""
    here = files("mlb.infra")
    names = ("machines.csv", "prices.csv", "disks.csv")
    machines, prices, of_disks = (here.joinpath(name).read_text(encoding="utf-8") for name in names)
    return parse(machines, prices, own_csv, of_disks, own_disks_csv)


def parse(
    machines_csv: str, prices_csv: str, own_csv: str = "", disks_csv: str = "", own_disks_csv: str = ""
) -> Catalogue:
    """A catalogue from the text of its files; raises UsageError with all wrong rows."""
    faults: list[str] = []
    machines = tuple(_rows(machines_csv, _machine, "machines.csv", faults))
    prices = tuple(_rows(prices_csv, _price, "prices.csv", faults))
    own = tuple(_rows(own_csv, _price, "refreshed prices.csv", faults))
    prices = _newest(prices, own)
    shipped = tuple(_rows(disks_csv, disks.parse_row, "disks.csv", faults))
    refreshed = tuple(_rows(own_disks_csv, disks.parse_row, "refreshed disks.csv", faults))
    faults += _wrong_ids(machines, prices) + _odd_ones_out(prices)
    if faults:
        raise UsageError(
            "The price catalogue is wrong.",
            why="\n".join(faults),
            fix="Nothing is rented with it; correct these rows, or fetch new ones: mlb catalog refresh.",
        )
    return Catalogue(machines, prices, _newest(shipped, refreshed))


def _newest(shipped: Iterable[P], own: Iterable[P]) -> tuple[P, ...]:
    kept = {p.place: p for p in shipped}
    for price in own:
        other = kept.get(price.place)
        if other is None or other.dated is None or (price.dated and price.dated >= other.dated):
            kept[price.place] = price
    return tuple(kept.values())


def _rows(text: str, make: Callable[[dict[str, str]], T], name: str, faults: list[str]) -> Iterator[T]:
    for number, row in enumerate(csv.DictReader(io.StringIO(text), strict=True), start=2):
        try:
            yield make(row)
        except (ValueError, InvalidOperation, TypeError, KeyError) as error:
            faults.append(f"{name}, line {number} ({row.get('id') or row.get('kind')}): {error}")


def _machine(row: dict[str, str]) -> Machine:
    numbers = {key: int(row[key]) for key in ("gpus", "gpu_mib", "vcpus", "gib")}
    machine = Machine(**{**row, **numbers})  # type: ignore[arg-type]
    if machine.vcpus <= 0 or machine.gpus < 0 or (machine.gpus > 0) != bool(machine.gpu):
        raise ValueError("counts of CPUs or GPUs make no sense")
    return machine


def _price(row: dict[str, str]) -> Price:
    on_demand, spot, at_least = (_dollars(row[key]) for key in ("on_demand", "spot", "at_least"))
    if on_demand is None and at_least is None:
        raise ValueError("no price at all")
    if on_demand is not None and spot is not None and spot > on_demand:
        raise ValueError(f"spot {spot} is dearer than on demand {on_demand}")
    dated = date.fromisoformat(row["date"]) if row["date"] else None
    if not row["source"]:
        raise ValueError("no source")
    return Price(row["cloud"], row["id"], row["region"], on_demand, spot, at_least, dated, row["source"])


def _dollars(text: str) -> Decimal | None:
    if not text:
        return None
    value = Decimal(text)
    if not value.is_finite() or not 0 < value <= SANE_MAX_PER_HOUR:
        raise ValueError(f"{text} $/h is a placeholder, not a price")
    return value


def _wrong_ids(machines: Iterable[Machine], prices: Iterable[Price]) -> list[str]:
    counts = Counter((m.cloud, m.id) for m in machines)
    twice = [f"machines.csv: {name} of {cloud} is there twice" for (cloud, name), n in counts.items() if n > 1]
    return twice + [
        f"prices.csv: {p.id} in {p.region} is no machine of {p.cloud}" for p in prices if (p.cloud, p.id) not in counts
    ]


def _odd_ones_out(prices: Iterable[Price]) -> list[str]:
    """No machine costs twice as much in another region; such a row is of something else."""
    faults = []
    known = sorted((p for p in prices if p.on_demand), key=lambda p: (p.cloud, p.id))
    for (_, machine_id), group in groupby(known, key=lambda p: (p.cloud, p.id)):
        by_price = sorted(group, key=lambda p: p.on_demand or 0)
        low, high = by_price[0], by_price[-1]
        if (high.on_demand or 0) > 2 * (low.on_demand or 0):
            here, there = f"{low.on_demand} in {low.region}", f"{high.on_demand} in {high.region}"
            faults.append(f"prices.csv: {machine_id} costs {here} but {there}")
    return faults


def utc_today() -> date:
    return datetime.now(UTC).date()
