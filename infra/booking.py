"""What a change of a fleet's machines costs, written into its record: before they are asked for, and when it is over.

The record on the disk is what counts: whoever is killed in between leaves the dearer of the two numbers there.
"""

from __future__ import annotations

import time

from ..results import ledger as ledgers
from ..results.ledger import Charge, Ledger
from . import fleet as fleets
from .fleet import Fleet
from .folder import FleetFolder


def booked(folder: FleetFolder) -> Ledger:
    """The ledger of the record."""
    known = fleets.load(folder)
    return known.ledger if known else ()


def begin(folder: FleetFolder, wanted: Fleet) -> None:
    """Write down that the machines are about to be made those of `wanted`; raises DiskFull where that cannot be."""
    known = fleets.load(folder)
    if known:
        known.changed(ledger=ledgers.begun(known.ledger, wanted.charge(int(time.time())))).save(folder)


def settle(folder: FleetFolder, fleet: Fleet) -> Fleet:
    """`fleet`, whose machines are those that there are now, with the ledger up to now; nothing is written."""
    return fleet.changed(ledger=ledgers.settled(booked(folder), fleet.charge(int(time.time()))))


def end(folder: FleetFolder, fleet: Fleet) -> Fleet:
    """`fleet`, of whose machines none is left, with the ledger up to now; nothing is written."""
    return fleet.changed(ledger=ledgers.settled(booked(folder), Charge(int(time.time()), 0, 0.0)))
