"""Which machines a command means: never this one in silence while a fleet may be billed."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from mlb.cli import fleets as chosen_by
from mlb.errors import NodeNotReady, ResultsInvalid
from mlb.infra.blueprint import Blueprint
from mlb.infra.fleet import Fleet, Node
from mlb.infra.folder import FleetFolder, current_name, state_home
from mlb.infra.spec import FleetSpec
from support import Mlb

NODE = Node("aws-0", "i-1", "198.51.100.1", "10.0.0.4", "198.51.100.1", 22, "ubuntu", 8)
DRY = ("bench", "task3a", "--goal", "smoke", "--data", "synthetic", "--dry-run")


def recorded(home: Path, status: str = "not-ready", usd_per_hour: float | None = 110.08) -> FleetFolder:
    """A fleet of two rented machines on record, the current one."""
    folder = FleetFolder(home / "state", "aws")
    folder.create()
    blueprint = Blueprint(
        spec=FleetSpec(name="aws", cloud="aws", nodes=2, gpus=8, max_price=Decimal(200)),
        fleet_id="0a1b2c3d",
        machine=None,
        zone="us-east-1a",
        created=1_795_500_000,
        owner="ada",
        version="0.1.0",
        public_key="ssh-ed25519 AAAA",
    )
    Fleet(blueprint, status, (NODE, NODE), usd_per_hour=usd_per_hour).save(folder)  # type: ignore[arg-type]  # a table
    folder.make_current()
    return folder


def test_a_fleet_that_is_not_ready_is_not_this_machine(mlb: Mlb) -> None:
    recorded(mlb.home)
    done = mlb(*DRY)
    assert done.returncode == 6, done.stdout
    assert "The fleet aws is not ready: not-ready." in done.stderr
    assert "2 machines are still billed at $110.08 an hour" in done.stderr
    assert "--fleet local" in done.stderr
    assert mlb(*DRY, "--fleet", "local").returncode == 0


@pytest.mark.parametrize("status", ["creating", "destroying"])
def test_a_fleet_on_its_way_is_not_this_machine_either(mlb_home: Path, status: str) -> None:
    recorded(mlb_home, status, None)
    with pytest.raises(NodeNotReady, match=status) as error:
        chosen_by.chosen(None)
    assert "billed at a price that nobody knows" in error.value.why


def test_a_damaged_record_is_not_this_machine(mlb_home: Path) -> None:
    recorded(mlb_home).fleet_json.write_text("{")
    with pytest.raises(ResultsInvalid, match="damaged") as error:
        chosen_by.chosen(None)
    for words in ("may still be billed", "mlb infra destroy --name aws", "--fleet local"):
        assert words in error.value.fix


def test_a_record_that_is_lost_is_not_this_machine(mlb_home: Path) -> None:
    recorded(mlb_home).fleet_json.unlink()
    with pytest.raises(NodeNotReady, match="The record of the current fleet aws is gone") as error:
        chosen_by.chosen(None)
    for words in ("may still be billed", f"remove {state_home() / 'current'}", "--fleet local"):
        assert words in error.value.fix


def test_without_a_fleet_it_is_this_machine(mlb_home: Path) -> None:
    assert chosen_by.chosen(None) is None
    folder = recorded(mlb_home, "ready")
    fleet = chosen_by.chosen(None)
    assert fleet is not None
    assert fleet.name == "aws"
    folder.remove()  # as `destroy` does once nothing is left
    assert current_name() is None
    assert chosen_by.chosen(None) is None


def test_efa_is_refused_where_mlb_gives_none(mlb: Mlb) -> None:
    """Before a node is asked anything: these nodes do not even exist."""
    recorded(mlb.home, "ready")
    for options in ((), ("--dry-run",)):
        done = mlb(*DRY[:-1], *options, "--require-transport", "efa")
        assert done.returncode == 3, done.stderr
        assert "The fleet aws has no EFA" in done.stderr
        assert "one plain network interface" in done.stderr
    assert mlb(*DRY, "--require-transport", "tcp").returncode == 0
    assert mlb(*DRY, "--require-transport", "efa", "--nodes", "1").returncode == 0, "there is nothing to go over"


def test_another_fleet_that_goes_leaves_the_current_one(mlb_home: Path) -> None:
    recorded(mlb_home, "ready")
    other = FleetFolder(mlb_home / "state", "b")
    other.create()
    other.fleet_json.write_text("{}")
    other.remove()
    assert current_name() == "aws"
