"""What makes two series the same: the fleet that they were asked for on."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlb.cli import matrix_run
from mlb.cli.request import Request
from mlb.provisioner.fleet import Fleet, FleetNode
from mlb.results.ledger import Charge
from mlb.results.matrix import write_matrix

REQUEST = Request("task3a", goal="smoke", fleet="f")


def node(name: str, host: str) -> FleetNode:
    return FleetNode(name, host, 22, "u", "10.0.0.1", 0)


@pytest.fixture
def ask(mlb_home: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Whether the series that the same command began on one fleet is gone on with on another."""
    monkeypatch.setattr(matrix_run, "refuse_what_cannot_be", lambda *_: None)

    def goes_on(before: Fleet, now: Fleet) -> bool:
        found = []
        for fleet in (before, now):
            monkeypatch.setattr(matrix_run, "chosen", lambda _, fleet=fleet: fleet)
            folder, matrix = matrix_run.matrix_for("compare", REQUEST, [{}], 2)
            write_matrix(folder, matrix)
            found.append(folder)
        return found[0] == found[1]

    return goes_on


def test_a_series_goes_on_only_on_the_fleet_it_was_begun_on(ask: object, tmp_path: Path) -> None:
    assert callable(ask)
    nodes = (node("a", "10.1.0.1"), node("b", "10.1.0.2"))
    hosts = Fleet("hosts", "ssh", "ready", None, None, nodes, tmp_path)
    assert ask(hosts, hosts)
    assert not ask(hosts, replace(hosts, nodes=nodes[:1]))
    assert not ask(hosts, replace(hosts, nodes=(nodes[0], node("b", "10.1.0.9")))), "another host of the same name"

    rented = replace(hosts, name="rented", cloud="aws", ledger=(Charge(1.0, 2, 3.0),))
    put_back = replace(rented, nodes=(nodes[0], node("b", "10.1.0.9")))
    assert ask(rented, put_back), "a machine that was replaced is the fleet's"
    assert not ask(rented, replace(rented, ledger=(Charge(2.0, 2, 3.0),))), "made anew"
    assert not ask(rented, replace(rented, nodes=nodes[:1])), "of another size"
