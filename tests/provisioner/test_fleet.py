"""fleet.json as the provisioner reads it, work fanned out over nodes, and mlb as a wheel."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
from mlb.errors import DiskFull, NodeNotReady, NodeUnfit, ResultsInvalid, UsageError
from mlb.provisioner import fleet, wheel
from mlb.provisioner.fan_out import fan_out, refuse_if_any_failed
from mlb.provisioner.program import program
from mlb.results.cost import Rent

NODE = {
    "name": "t-0",
    "ssh_host": "10.0.0.1",
    "ssh_port": 22,
    "ssh_user": "root",
    "private_ip": "10.0.0.1",
    "gpus": 0,
    "id": "i-1",
}
RECORD = {
    "schema_version": 1,
    "name": "t",
    "cloud": "aws",
    "status": "ready",
    "expires_at": "2099-01-01T00:00:00Z",
    "usd_per_hour": 1.5,
    "nodes": [NODE],
    "blueprint": {},
}


def write(folder: Path, **changes: Any) -> Path:
    (folder / "t").mkdir(exist_ok=True)
    (folder / "t" / "fleet.json").write_text(json.dumps({**RECORD, **changes}))
    return folder


def test_a_fleet_is_read(tmp_path: Path) -> None:
    made = fleet.load(write(tmp_path), "t")
    assert made.nodes == (fleet.FleetNode("t-0", "10.0.0.1", 22, "root", "10.0.0.1", 0),)
    assert (made.key, made.known_hosts) == (tmp_path / "t" / "id_ed25519", tmp_path / "t" / "known_hosts")
    assert made.expires_unix_s == 4070908800
    assert fleet.names(tmp_path) == ["t"]


def test_a_run_is_told_what_the_fleet_has_cost_and_costs(tmp_path: Path) -> None:
    one = {"from_unix_s": 0, "nodes": 1, "usd_per_hour": 12, "is_ceiling": False}
    eight = {"from_unix_s": 36_000, "nodes": 8, "usd_per_hour": 96, "is_ceiling": True}
    grown = fleet.load(write(tmp_path, ledger=[one, eight], price_source="a list"), "t")
    assert grown.rent(36_360) == Rent(96.0, "a list", 8, pytest.approx(129.60), 36_360, True, True)
    # Earlier versions kept no ledger, the first ones not even when the fleet was made.
    assert fleet.load(write(tmp_path, blueprint={"created": 3600}), "t").rent(7200) == Rent(1.5, "", 1, 1.5, 7200)
    assert fleet.load(write(tmp_path), "t").rent(7200) == Rent(1.5, "", 1)


def test_hosts_that_nobody_rented_have_keys_of_their_own_and_no_deadline(tmp_path: Path) -> None:
    made = fleet.load(write(tmp_path, expires_at=None, nodes=[NODE, {**NODE, "ssh_key": "/keys/mine"}]), "t")
    assert [str(made.key_of(node)) for node in made.nodes] == [str(made.key), "/keys/mine"]
    assert made.expires_unix_s == float("inf")


@pytest.mark.parametrize(
    "change",
    [
        {"nodes": [{}]},
        {"nodes": 1},
        {"expires_at": "soon"},
        {"schema_version": 2},
        {"ledger": [{"from_unix_s": "then"}]},
        {"ledger": None},
    ],
)
def test_a_damaged_record_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ResultsInvalid, match=r"fleet.json is damaged"):
        fleet.load(write(tmp_path, **change), "t")


def test_a_fleet_that_is_not_there_or_not_ready_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Fleets here: t"):
        fleet.load(write(tmp_path), "other")
    with pytest.raises(NodeNotReady, match="not ready: creating"):
        fleet.load(write(tmp_path, status="creating"), "t")


def test_no_node_hides_another() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise DiskFull("full", fix="Make room.")
        return number * 10

    results = fan_out({f"n{i}": i for i in range(5)}, work, parallel=2)
    assert list(results) == ["n0", "n1", "n2", "n3", "n4"]
    assert [r for r in results.values() if isinstance(r, int)] == [0, 10, 30, 40]
    with pytest.raises(DiskFull, match=r"copying failed on 1 of 5 nodes: n2\.\nn2: full\nMake room\."):
        refuse_if_any_failed(results, "copying")
    mixed = {"a": DiskFull("full"), "b": NodeUnfit("old"), "c": 1}
    with pytest.raises(NodeNotReady, match=r"2 of 3 nodes: a, b\.\na: full\nb: old"):
        refuse_if_any_failed(mixed, "copying")


def test_work_is_bounded_and_a_bug_is_raised() -> None:
    at_work: list[int] = []
    most: list[int] = []
    lock = threading.Lock()
    gate = threading.Barrier(3)

    def work(_: int) -> None:
        with lock:
            at_work.append(1)
            most.append(len(at_work))
        gate.wait(60)
        with lock:
            at_work.pop()

    fan_out({i: i for i in range(9)}, work, parallel=3)
    assert max(most) == 3
    with pytest.raises(ZeroDivisionError):
        fan_out({"a": 0}, lambda n: 1 // n)


def test_equal_sources_make_equal_wheels(tmp_path: Path) -> None:
    first, second = wheel.build(tmp_path / "a"), wheel.build(tmp_path / "b")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert wheel.build(tmp_path / "a") == first
    with zipfile.ZipFile(first.path) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"mlb", "mlb-0.1.0.dist-info"}
    assert "mlb/runners/agent.py" in names
    assert "mlb/infra/prices.csv" in names
    assert not [name for name in names if "tests" in name or "__pycache__" in name]


@pytest.mark.system
def test_pip_takes_the_wheel(tmp_path: Path) -> None:
    made = wheel.build(tmp_path).path
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(tmp_path / "site"),
    ]
    subprocess.run([*install, str(made)], check=True, capture_output=True)
    # A second wheel, of an installed mlb and not of a checkout, is the same one.
    assert wheel.build(tmp_path / "again", tmp_path / "site" / "mlb").sha256 == wheel.build(tmp_path).sha256


def test_what_is_sent_to_a_node_needs_nothing_of_ours() -> None:
    from mlb.provisioner import env_on_node, files_on_node, health_on_node

    text = program(env_on_node, files_on_node, health_on_node).decode()
    compile(text, "sent", "exec")
    assert "from .." not in text
    done = subprocess.run(
        [sys.executable, "-IS", "-c", f"{text}\nimport json\nprint(json.dumps(sorted(VERBS)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"start", "pull", "look", "make", "have", "probe_link"} <= set(json.loads(done.stdout))
