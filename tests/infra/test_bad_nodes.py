"""`--replace-bad-nodes` without a cloud: how often, what it leaves alone, what it refuses, what it says first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlb.errors import Locked, NodeNotReady, UsageError
from mlb.infra import commands, existing, readiness
from mlb.infra import fleet as fleets
from mlb.infra.bad_nodes import ATTEMPTS
from mlb.infra.blueprint import Blueprint
from mlb.infra.cloud import Place
from mlb.infra.engine import Engine
from mlb.infra.fleet import Fleet, Node, Replacement
from mlb.infra.folder import FleetFolder
from mlb.infra.readiness import Check
from mlb.infra.render import node_address
from mlb.infra.spec import FleetSpec
from mlb.infra.stack import Outcome, Stack
from mlb.infra.terraform import Plan, Terraform, TerraformFailed
from mlb.infra.watcher import Limits, Watcher

from .test_parts import BLUEPRINT, NODE, Stubborn, folder, with_state

__all__ = ["folder"]  # a fixture
EVIDENCE = "1 GPUs instead of 2: Tesla T4, 550"
ONE = 'terraform_data.node["001"]'


class Roomy(Stubborn):
    """A place that has room, and shows a host key of every node but the `silent` ones."""

    silent: tuple[str, ...] = ()

    def preflight(self, blueprint: Blueprint, adding: int) -> Place:
        return Place("", ("",))

    def host_keys(self, nodes: Sequence[Node], deadline_s: float) -> dict[str, Sequence[str]]:
        return {node.name: [f"ssh-ed25519 {node.id}"] for node in nodes if node.name not in self.silent}


@dataclass
class Machines:
    """Four machines of which some are bad; a replacement is a machine with the next number."""

    bad: list[str]
    asked: list[list[str]] = field(default_factory=list)
    applied: list[tuple[tuple[str, str], ...]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    beyond: tuple[tuple[str, str], ...] = ()
    error: Exception | None = None
    ids: list[str] = field(default_factory=lambda: [f"i-{i}" for i in range(4)])

    @property
    def nodes(self) -> list[Node]:
        return [replace(NODE, name=f"a-{i}", id=id_, ssh_port=2200 + i) for i, id_ in enumerate(self.ids)]

    def check(self, _folder: object, nodes: Sequence[Node], *_: object, **__: object) -> tuple[Check, ...]:
        self.asked.append([node.id for node in nodes])
        return tuple(Check(node.name, (EVIDENCE,) if node.id in self.bad else (), 1.0) for node in nodes)

    def plan(self, _blueprint: Blueprint, bad: Sequence[str] = ()) -> Plan:
        changes = [("replace", address) for address in bad]
        return Plan(Path("saved.plan"), (*changes, *(self.beyond if bad else ())))

    def apply(self, _blueprint: Blueprint, plan: Plan) -> None:
        self.applied.append(plan.changes)
        if self.error:
            raise self.error
        for _, address in plan.changes:
            index = int(address[-5:-2])
            self.ids[index] = f"{self.ids[index]}'"


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Machines:
    made = Machines(["i-1"])
    monkeypatch.setattr(readiness, "check_all", made.check)
    monkeypatch.setattr(Stack, "_plan", lambda _self, blueprint, bad=(): made.plan(blueprint, bad))
    monkeypatch.setattr(Stack, "_apply", lambda _self, blueprint, plan: made.apply(blueprint, plan))
    outputs = SimpleNamespace(output=lambda _: [asdict(node) for node in made.nodes])
    monkeypatch.setattr(Stack, "terraform", lambda _self: outputs)
    return made


def apply(folder: FleetFolder, machines: Machines, place: Roomy | None = None, **options: Any) -> Outcome:
    """A second `apply` on a fleet of four that was ready before."""
    price = options.pop("price", 8.0)
    blueprint = replace(BLUEPRINT, spec=replace(BLUEPRINT.spec, nodes=4), created=options.pop("created", _now()))
    if not folder.fleet_json.exists():
        Fleet(blueprint, "ready", tuple(machines.nodes)).save(folder)
    with_state(folder)
    stack = Stack(folder, place or Roomy(-1), Limits(), Watcher(warn=machines.told.append), Engine(("false",), "", ""))
    quote = SimpleNamespace(per_hour=price, chosen=None)
    return stack.apply(blueprint, quote, **{"replace_bad": True, **options})  # type: ignore[arg-type]


def _now() -> int:
    return int(time.time())


def test_the_bad_one_is_replaced_and_only_the_new_one_is_asked(folder: FleetFolder, machines: Machines) -> None:
    done = apply(folder, machines)
    assert machines.applied == [(("replace", ONE),)]
    assert machines.asked == [["i-0", "i-1", "i-2", "i-3"], ["i-1'"]]
    assert [node.id for node in done.fleet.nodes] == ["i-0", "i-1'", "i-2", "i-3"]
    assert done.fleet.status == "ready"
    assert done.plan.changes == (("replace", ONE),)
    gone = done.fleet.replaced[0]
    assert (gone.node, gone.id, gone.problems) == ("a-1", "i-1", (EVIDENCE,))
    known = fleets.load(folder)
    assert known
    assert known.replaced == done.fleet.replaced, "the record has it, too"
    pinned = folder.known_hosts.read_text()
    assert "i-1'" in pinned
    assert len(pinned.splitlines()) == 4


def test_it_is_said_first_with_the_price(folder: FleetFolder, machines: Machines) -> None:
    machines.error = TerraformFailed("terraform apply failed.", ["InsufficientInstanceCapacity"])
    with pytest.raises(NodeNotReady):
        apply(folder, machines)
    assert machines.told[0].splitlines()[:2] == [
        "Replacing 1 of 4 nodes (attempt 1 of 2), keeping 3:",
        f"    a-1 (i-1): {EVIDENCE}",
    ]
    assert "New machines: $2.00 per hour, as much as the old ones, which end first" in machines.told[0]
    assert "the fleet stays at $8.00" in machines.told[0]


@pytest.mark.parametrize(("price", "words"), [(0.0, "Nothing of it is billed"), (None, "is as unknown as")])
def test_what_it_costs_where_no_price_is(
    folder: FleetFolder, machines: Machines, price: float | None, words: str
) -> None:
    apply(folder, machines, price=price)
    assert words in machines.told[0]


def test_no_more_often_than_that(folder: FleetFolder, machines: Machines) -> None:
    machines.bad = ["i-1", "i-1'", "i-1''", "i-1'''"]
    with pytest.raises(NodeNotReady, match="1 of 4 nodes are not ready: a-1") as error:
        apply(folder, machines)
    assert len(machines.applied) == ATTEMPTS == 2
    assert error.value.why.splitlines() == [
        f"a-1: {EVIDENCE}",
        "Nodes were replaced 2 times, the most that one apply does.",
    ]
    assert "mlb infra destroy --name a" in error.value.fix
    known = fleets.load(folder)
    assert known
    assert ([r.id for r in known.replaced], known.status) == (["i-1", "i-1'"], "not-ready")
    machines.bad = []
    assert len(apply(folder, machines).fleet.replaced) == 2, "what was replaced stays on record"


def test_without_the_option_nothing_is_replaced(folder: FleetFolder, machines: Machines) -> None:
    with pytest.raises(NodeNotReady, match="1 of 4 nodes are not ready: a-1") as error:
        apply(folder, machines, replace_bad=False)
    assert (machines.applied, machines.told) == ([], [])
    assert "--replace-bad-nodes" in error.value.fix


def test_what_all_nodes_have_is_no_fault_of_any(folder: FleetFolder, machines: Machines) -> None:
    machines.bad = list(machines.ids)
    with pytest.raises(NodeNotReady, match="4 of 4 nodes") as error:
        apply(folder, machines)
    with pytest.raises(NodeNotReady) as plain:
        apply(folder, machines, replace_bad=False)
    assert "--replace-bad-nodes" not in plain.value.fix, "that would not help"
    assert machines.applied == []
    assert "all 4 nodes fail, so the cause is likely one that they share" in error.value.why


def test_a_plan_that_would_touch_a_good_node_is_not_applied(folder: FleetFolder, machines: Machines) -> None:
    machines.beyond = (("delete", 'terraform_data.node["000"]'),)
    with pytest.raises(NodeNotReady) as error:
        apply(folder, machines)
    assert (machines.applied, machines.told) == ([], [])
    assert 'that would also delete terraform_data.node["000"]' in error.value.why


def test_a_replacement_that_fails_leaves_the_fleet_on_record(folder: FleetFolder, machines: Machines) -> None:
    machines.error = TerraformFailed("terraform apply failed.", ["InsufficientInstanceCapacity: none left"])
    with pytest.raises(NodeNotReady, match="1 of 4 nodes are not ready: a-1") as error:
        apply(folder, machines)
    assert "Their replacement failed: InsufficientInstanceCapacity: none left" in error.value.why
    assert EVIDENCE in error.value.why
    known = fleets.load(folder)
    assert known
    assert (known.status, len(known.nodes), known.replaced[0].id) == ("not-ready", 4, "i-1")
    keys = folder.known_hosts.read_text()
    assert ("i-0" in keys, "i-1" in keys) == (True, False), "another machine may get its address"


def test_a_fleet_at_its_end_gets_no_new_machines(folder: FleetFolder, machines: Machines) -> None:
    with pytest.raises(NodeNotReady) as error:
        apply(folder, machines, created=_now() - 4 * 3600 + 60)
    assert machines.applied == []
    assert "Nothing was replaced: the fleet ends at" in error.value.why


def test_a_node_without_a_host_key_is_bad_alone(folder: FleetFolder, machines: Machines) -> None:
    machines.bad = []
    place = Roomy(-1)
    place.silent = ("a-2",)
    with pytest.raises(NodeNotReady, match="1 of 4 nodes are not ready: a-2") as error:
        apply(folder, machines, place, replace_bad=False)
    assert error.value.why == "a-2: it shows no host key"
    assert machines.asked == [["i-0", "i-1", "i-3"]]


def test_a_run_that_uses_the_fleet_keeps_its_machines(
    folder: FleetFolder, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(_folder: object, _what: str, *, force: bool) -> None:
        if not force:
            raise Locked("The fleet a is in use.")

    monkeypatch.setattr("mlb.infra.stack.refuse_if_held", held)
    with pytest.raises(Locked):
        apply(folder, machines)
    assert machines.asked == []
    assert apply(folder, machines, force=True).fleet.status == "ready"


def test_hosts_that_exist_are_not_replaced(folder: FleetFolder) -> None:
    with pytest.raises(UsageError, match="--replace-bad-nodes is not for hosts that exist") as error:
        commands.request({"cloud": "ssh", "name": "lab"}, folder.home, existing.Hosts(), replace_bad=True)
    assert "mlb infra apply --name lab --hosts FILE" in error.value.fix
    blueprint = replace(BLUEPRINT, spec=FleetSpec(name="a", cloud="ssh"))
    Fleet(blueprint, "ready", (NODE,)).save(folder)
    with pytest.raises(UsageError, match="not for hosts that exist"):
        commands.request({"name": "a"}, folder.home, replace_bad=True)


def test_the_record_of_what_was_replaced_comes_back(folder: FleetFolder) -> None:
    gone = Replacement("a-0", "i-0", (EVIDENCE, "its clock is 9 s off"), "2026-11-24T04:00:00Z")
    made = Fleet(BLUEPRINT, "ready", (NODE,), replaced=(gone,)).save(folder)
    assert fleets.load(folder) == made


@pytest.mark.parametrize(("cloud", "address"), [("aws", "aws_instance.node[1]"), ("docker", ONE)])
def test_what_terraform_calls_a_node(cloud: str, address: str) -> None:
    assert node_address(cloud, 1) == address


@pytest.mark.parametrize("address", ["-destroy", "module.x.aws_instance.node", "aws_instance.node[1] -destroy", ""])
def test_only_a_resource_of_the_module_can_be_replaced(address: str, folder: FleetFolder) -> None:
    terraform = Terraform(folder.module, Engine(("false",), "terraform", "1.9.0"))
    with pytest.raises(ValueError, match="is no address of a resource"):
        terraform.plan(folder.plan_file, deadline_s=1, replace=[address])
