"""What a fleet has cost by list price: how many of its machines were billed from when on, and at what price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Charge:
    """What a fleet costs from a moment on, until the next one of its ledger."""

    from_unix_s: float
    nodes: int
    usd_per_hour: float | None
    """Of all these nodes together; None where nobody knows."""
    is_ceiling: bool = False
    """Whether that is the most it can be: the on-demand price of spot machines, or a change that did not succeed, of
    which some of the machines may never have been there."""


Ledger = tuple[Charge, ...]
"""In order of time; empty before the first machine is asked for."""


def ledger_of(record: Mapping[str, Any]) -> Ledger:
    """The ledger in a fleet's record (`fleet.json`).

    The record of an earlier version has none: as far as it knows the fleet has always been as it is now.

    Raises:
        KeyError, TypeError, ValueError: the record is damaged.
    """
    if "ledger" in record:
        return tuple(
            Charge(float(one["from_unix_s"]), int(one["nodes"]), _price(one["usd_per_hour"]), bool(one["is_ceiling"]))
            for one in record["ledger"]
        )
    created = (record.get("blueprint") or {}).get("created")
    return (
        () if created is None else (Charge(float(created), len(record["nodes"]), _price(record.get("usd_per_hour"))),)
    )


def usd_until(ledger: Sequence[Charge], unix_s: float) -> float | None:
    """US dollars from the beginning to a moment; None where a price on the way is not known."""
    ends = [after.from_unix_s for _, after in pairwise(ledger)] + [unix_s]
    total = 0.0
    for charge, end in zip(ledger, ends, strict=False):
        # A clock that was set back makes a stretch of less than nothing.
        hours = max(0.0, min(end, unix_s) - charge.from_unix_s) / 3600
        if hours and charge.usd_per_hour is None:
            return None
        total += hours * (charge.usd_per_hour or 0.0)
    return total


def is_ceiling(ledger: Sequence[Charge]) -> bool:
    """Whether what it adds up to is the most that it can be."""
    return any(charge.is_ceiling for charge in ledger)


def begun(ledger: Ledger, charge: Charge) -> Ledger:
    """The ledger when machines are about to be asked for or replaced: what is asked for counts from here on.

    Until that has succeeded it is the most that it can be. Machines that are to end are billed until they have.
    """
    if ledger and charge.nodes < ledger[-1].nodes:
        return ledger
    return (*ledger, Charge(charge.from_unix_s, charge.nodes, charge.usd_per_hour, charge.usd_per_hour != 0))


def settled(ledger: Ledger, charge: Charge) -> Ledger:
    """The ledger when the machines are as `charge` has them, be it by what was begun or by nothing at all."""
    if ledger and (ledger[-1].nodes, ledger[-1].usd_per_hour) == (charge.nodes, charge.usd_per_hour):
        since = Charge(ledger[-1].from_unix_s, charge.nodes, charge.usd_per_hour, charge.is_ceiling)
        return (*ledger[:-1], since)
    return (*ledger, charge)


def _price(usd_per_hour: Any) -> float | None:
    return None if usd_per_hour is None else float(usd_per_hour)
