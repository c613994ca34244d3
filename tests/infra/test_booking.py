"""What the record says a fleet has cost, through changes that succeed, fail, and are cut short; without a cloud."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlb.cli.infra_view import fleet_rows, status_text
from mlb.errors import CapacityError, DiskFull, NodeNotReady
from mlb.infra import fleet as fleets
from mlb.infra import readiness
from mlb.infra.cloud import Place
from mlb.infra.engine import Engine
from mlb.infra.fleet import Fleet, Node
from mlb.infra.folder import FleetFolder
from mlb.infra.readiness import Check
from mlb.infra.stack import Stack
from mlb.infra.status import FleetStatus
from mlb.infra.terraform import Plan, TerraformFailed
from mlb.infra.watcher import Limits, Watcher
from mlb.provisioner import fleet as seen
from mlb.results.cost import Rent
from mlb.results.ledger import Charge

from .test_bad_nodes import Roomy
from .test_parts import BLUEPRINT, NODE, folder, with_state

__all__ = ["folder"]  # a fixture
H = 3600
T = BLUEPRINT.created
NONE_LEFT = TerraformFailed("terraform apply failed.", ["InsufficientInstanceCapacity: none left"])


class Killed(BaseException):
    """What no clean-up sees."""


class Place2(Roomy):
    """A place of some zones."""

    zones: tuple[str, ...] = ("",)

    def preflight(self, blueprint: Any, adding: int) -> Place:
        return Place("", self.zones)


class Rented:
    """A fleet of which each node costs $12 an hour; every apply lasts ten minutes."""

    def __init__(self, folder: FleetFolder) -> None:
        self.folder, self.place, self.nodes, self.now = folder, Place2(-1), 0, float(T)
        self.errors: list[BaseException | None] = []
        self.during: list[tuple[Charge, ...]] = []
        """The ledger on the disk while each apply went on."""
        self.unchanged = False

    def plan(self, *_: object) -> Plan:
        return Plan(Path("saved.plan"), () if self.unchanged else (("create", "x.node[0]"),))

    def apply(self, blueprint: Any, _plan: Plan) -> None:
        self.during.append(self.ledger)
        with_state(self.folder)
        self.now += 600
        if error := self.errors.pop(0) if self.errors else None:
            raise error
        self.nodes = blueprint.spec.nodes

    def make(self, nodes: int, price: float | None = 12.0, *, bound: bool = False) -> Fleet:
        """`mlb infra apply --nodes`."""
        wanted = replace(BLUEPRINT, spec=replace(BLUEPRINT.spec, nodes=nodes))
        total = None if price is None else price * nodes
        quote: Any = SimpleNamespace(per_hour=total, chosen=SimpleNamespace(source="a list", bound=bound))
        stack = Stack(self.folder, self.place, Limits(), Watcher(), Engine(("false",), "", ""))
        return stack.apply(wanted, quote).fleet

    @property
    def ledger(self) -> tuple[Charge, ...]:
        return self.record.ledger

    @property
    def record(self) -> Fleet:
        known = fleets.load(self.folder)
        assert known
        return known

    @property
    def rent(self) -> Rent:
        """What a run that is asked for now is told."""
        return seen.load(self.folder.path.parent, self.folder.name).rent(self.now)


@pytest.fixture
def rented(folder: FleetFolder, monkeypatch: pytest.MonkeyPatch) -> Rented:
    made = Rented(folder)

    def good(_folder: object, nodes: Sequence[Node], *_: object, **__: object) -> tuple[Check, ...]:
        return tuple(Check(node.name, (), 1.0) for node in nodes)

    def nodes(_name: str) -> list[dict[str, Any]]:
        return [asdict(replace(NODE, name=f"a-{i}", id=f"i-{i}")) for i in range(made.nodes)]

    def gone(*_: object, **__: object) -> None:
        made.nodes = 0

    monkeypatch.setattr("mlb.infra.booking.time", SimpleNamespace(time=lambda: made.now))
    monkeypatch.setattr(readiness, "check_all", good)
    monkeypatch.setattr(Stack, "_plan", lambda _self, *_: made.plan())
    monkeypatch.setattr(Stack, "_apply", lambda _self, blueprint, plan: made.apply(blueprint, plan))
    monkeypatch.setattr(Stack, "terraform", lambda _self: SimpleNamespace(output=nodes, destroy=gone))
    return made


def test_a_fleet_that_is_made_larger(rented: Rented) -> None:
    """One node for ten hours, then eight for six minutes: $129.60, not 10.1 h of eight ($969.60)."""
    rented.make(1)
    assert rented.ledger == (Charge(T, 1, 12.0),), "from when it was asked for, not from when it answered"
    rented.now = T + 10 * H
    rented.make(8)
    assert rented.ledger == (Charge(T, 1, 12.0), Charge(T + 10 * H, 8, 96.0))
    assert rented.during[1][1:] == (Charge(T + 10 * H, 8, 96.0, is_ceiling=True),), "written down before it was asked"
    rented.now = T + 10 * H + 360
    rent = rented.rent
    assert (rent.usd_per_hour, rent.nodes, rent.as_of_unix_s) == (96.0, 8, rented.now)
    assert rent.spent_usd == pytest.approx(129.60)
    assert (rent.is_ceiling, rent.spent_is_ceiling) == (False, False)


def test_a_fleet_that_is_made_smaller_is_billed_until_the_others_have_ended(rented: Rented) -> None:
    rented.make(8)
    rented.now = T + 10 * H
    rented.make(1)
    assert rented.ledger == (Charge(T, 8, 96.0), Charge(T + 10 * H + 600, 1, 12.0))
    rented.now = T + 11 * H + 600
    assert rented.rent.spent_usd == pytest.approx(96 * (10 + 1 / 6) + 12)


def test_an_apply_without_a_change_adds_nothing_but_a_new_price(rented: Rented) -> None:
    rented.make(1)
    rented.unchanged, rented.now = True, T + H
    rented.make(1)
    assert rented.ledger == (Charge(T, 1, 12.0),)
    rented.make(1, 13.0)
    assert rented.ledger == (Charge(T, 1, 12.0), Charge(T + H, 1, 13.0))


def test_a_change_that_failed_is_in_it_as_the_most_it_can_have_been(rented: Rented) -> None:
    rented.make(1)
    rented.now, rented.errors = T + H, [NONE_LEFT]
    with pytest.raises(CapacityError):
        rented.make(8)
    # Ten minutes until it failed, ten more to put it back.
    assert rented.ledger == (Charge(T, 1, 12.0), Charge(T + H, 8, 96.0, True), Charge(T + H + 1200, 1, 12.0))
    assert (rented.record.status, rented.record.usd_per_hour_now) == ("ready", 12.0)
    assert (rented.rent.is_ceiling, rented.rent.spent_is_ceiling) == (False, True)


def test_a_zone_that_failed_is_in_it_until_it_was_empty(rented: Rented) -> None:
    rented.place.zones, rented.errors = ("z1", "z2"), [NONE_LEFT]
    rented.make(2)
    asked, empty, made = rented.ledger
    assert (asked, empty, made) == (Charge(T, 2, 24.0, True), Charge(T + 600, 0, 0.0), Charge(T + 600, 2, 24.0))


def test_a_change_that_was_cut_short_is_billed_as_what_was_asked_for(rented: Rented) -> None:
    rented.make(1)
    rented.now, rented.errors = T + H, [Killed()]
    with pytest.raises(Killed):
        rented.make(8)
    record, rent = rented.record, rented.rent
    assert (len(record.nodes), record.usd_per_hour, record.usd_per_hour_now, record.is_ceiling_now) == (1, 12, 96, True)
    assert (rent.usd_per_hour, rent.nodes, rent.is_ceiling) == (96.0, 8, True)
    rented.now = T + 2 * H
    rented.make(8)
    assert [charge.from_unix_s for charge in rented.ledger] == [T, T + H, T + 2 * H]
    assert [charge.is_ceiling for charge in rented.ledger] == [False, True, False]


def test_what_could_not_be_put_back_stays_at_what_was_asked_for(rented: Rented) -> None:
    rented.make(1)
    rented.now, rented.errors = T + H, [NONE_LEFT, NONE_LEFT]
    with pytest.raises(Exception, match="neither be changed nor put back"):
        rented.make(8)
    assert rented.record.status == "not-ready"
    assert rented.ledger[-1] == Charge(T + H, 8, 96.0, is_ceiling=True)


def test_nothing_is_asked_for_that_cannot_be_written_down(rented: Rented, monkeypatch: pytest.MonkeyPatch) -> None:
    rented.make(1)

    def full(*_: object) -> None:
        raise DiskFull("full")

    monkeypatch.setattr(fleets, "write_private", full)
    with pytest.raises(DiskFull):
        rented.make(8)
    assert len(rented.during) == 1


def test_spot_without_a_spot_price_is_said_to_be_a_ceiling(rented: Rented) -> None:
    fleet = rented.make(2, bound=True)
    assert rented.record.price_is_ceiling
    assert (rented.rent.is_ceiling, rented.rent.spent_is_ceiling) == (True, True)
    assert "at most $24.00 per hour; at most $48.00 so far" in status_text(FleetStatus(fleet, ()), T + 2 * H)
    assert fleet_rows([fleet], None, T)[0][5] == "at most $24.00"


def test_status_says_what_the_ledger_says(rented: Rented) -> None:
    rented.make(1)
    rented.now = T + H
    fleet = rented.make(8)
    assert "$96.00 per hour; about $60.00 so far, at list price" in status_text(FleetStatus(fleet, ()), T + 1.5 * H)
    late = status_text(FleetStatus(fleet, ()), fleet.blueprint.expires_epoch + 9 * H)
    assert "about $300.00 so far" in late, "machines end with the deadline: one hour of one, three of eight"


def test_a_price_that_was_not_known_at_first(rented: Rented) -> None:
    rented.make(1, None)
    rented.now = T + H
    fleet = rented.make(2)
    assert "$24.00 per hour; what it has cost so far is not known" in status_text(FleetStatus(fleet, ()), T + 2 * H)
    assert (rented.rent.usd_per_hour, rented.rent.spent_usd) == (24.0, None)


def test_the_record_of_an_earlier_version_begins_with_what_it_knows(rented: Rented) -> None:
    rented.make(1)
    raw = rented.record.to_json()
    del raw["ledger"], raw["price_is_ceiling"]
    rented.folder.fleet_json.write_text(json.dumps(raw))
    rented.now = T + H
    assert rented.rent.spent_usd == pytest.approx(12)
    rented.make(8)
    assert rented.ledger == (Charge(T, 1, 12.0), Charge(T + H, 8, 96.0))


def test_machines_that_fail_their_checks_are_billed(rented: Rented, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = (Check("a-0", ("no driver",), 1.0),)
    monkeypatch.setattr(readiness, "check_all", lambda *_, **__: bad)
    with pytest.raises(NodeNotReady):
        rented.make(1)
    assert rented.ledger == (Charge(T, 1, 12.0),)
