"""The local fleet end to end: real Terraform, real engine, real SSH."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlb.errors import Interrupted, Locked, NodeNotReady, PreflightError, UsageError
from mlb.infra import by_tag, commands, ssh
from mlb.infra.docker import Docker
from mlb.infra.folder import FleetFolder, FleetLock
from mlb.infra.stack import Outcome
from mlb.infra.watcher import Limits, Watcher
from mlb.results.process import start_ticks

from .docker_engine import BASE

pytestmark = [pytest.mark.system]
LIMITS = Limits(apply_s=120, destroy_s=120, ready_s=60)


def apply(home: Path, watcher: Watcher | None = None, **given: Any) -> Outcome:
    asked = commands.request({"cloud": "docker", "name": "t", "image": BASE, **given}, home)
    return commands.apply(asked, LIMITS, watcher or Watcher())


def destroy(home: Path, name: str = "t") -> None:
    commands.destroy(name, "docker", "", LIMITS, Watcher(), home)


def docker(*args: str) -> list[str]:
    return subprocess.run(["docker", *args], capture_output=True, text=True, check=True).stdout.split()


def ours(fleet_id: str) -> list[str]:
    by = ("--filter", f"label=mlb.fleet-id={fleet_id}")
    return [x for kind in (["ps", "-aq"], ["network", "ls", "-q"], ["volume", "ls", "-q"]) for x in docker(*kind, *by)]


@pytest.fixture
def home(tmp_path: Path, engine: object, terraform_env: None, docker_host: str) -> Iterator[Path]:
    yield tmp_path / "state"
    for fleet in Docker().fleets():
        by_tag.collect(Docker(), fleet)


def test_apply_again_grow_repair_shrink_destroy(home: Path) -> None:
    made = apply(home, nodes=4)
    assert [n.name for n in made.fleet.nodes] == ["t-0", "t-1", "t-2", "t-3"]
    assert made.fleet.status == "ready"
    assert all(not c["problems"] for c in made.fleet.checks)
    fleet_id = made.fleet.blueprint.fleet_id

    assert not apply(home).plan, "a second apply has nothing to do"

    grown = apply(home, nodes=6)
    assert sorted(a for a, _ in grown.plan.changes) == ["create", "create"]
    assert [n.ssh_port for n in grown.fleet.nodes[:4]] == [n.ssh_port for n in made.fleet.nodes]

    docker("rm", "--force", grown.fleet.nodes[2].id)
    state = commands.status(FleetFolder(home, "t"))
    assert [n.state for n in state.nodes] == ["running", "running", "gone", "running", "running", "running"]
    assert state.drifted
    repaired = apply(home)
    assert [address for _, address in repaired.plan.changes if ".node[" in address] == ['terraform_data.node["002"]']

    assert len(apply(home, nodes=2).fleet.nodes) == 2
    assert len(ours(fleet_id)) == 3
    destroy(home)
    assert ours(fleet_id) == []
    assert not (home / "fleets" / "t").exists()


def test_nodes_reach_each_other_and_only_the_right_key_and_host_are_let_in(home: Path) -> None:
    fleet = apply(home, nodes=2).fleet
    folder = FleetFolder(home, "t")
    first, second = fleet.nodes
    probe = f"python3 -c \"import socket; socket.create_connection(('{second.private_ip}', 22), 5); print('through')\""
    assert ssh.run(folder, first, probe, timeout_s=20).out == "through\n"
    assert ssh.run(folder, first, "getent hosts t-1 | cut -d' ' -f1", timeout_s=20).code == 0

    # The other node's host key under the first one's name: what a machine in between would show.
    wrong = {first.name: ssh.pinned(folder, second), second.name: ssh.pinned(folder, second)}
    ssh.write_known_hosts(folder, fleet.nodes, wrong)
    with pytest.raises(NodeNotReady, match="its host key is not the one that is pinned"):
        apply(home)


def test_files_are_private_and_hold_no_secret_but_the_key(home: Path) -> None:
    apply(home, nodes=1)
    folder = FleetFolder(home, "t")
    for path in [home, *home.rglob("*")]:
        if not path.is_symlink() and ".terraform" not in path.parts:
            assert path.stat().st_mode & 0o077 == 0, path
    private = folder.key.read_text().splitlines()[1]
    for path in folder.path.rglob("*"):
        if path.is_file() and path != folder.key:
            assert private not in path.read_text(errors="replace"), path


def test_a_deadline_ends_the_nodes_without_us(home: Path) -> None:
    asked = commands.request({"cloud": "docker", "name": "t", "image": BASE, "ttl_s": 600}, home)
    soon = replace(asked, blueprint=replace(asked.blueprint, created=int(time.time()) - 600 + 15))
    fleet = commands.apply(soon, LIMITS, Watcher()).fleet
    subprocess.run(["docker", "wait", fleet.nodes[0].id], capture_output=True, timeout=30, check=False)
    assert commands.status(FleetFolder(home, "t")).nodes[0].state == "gone"
    assert [f.name for f in by_tag.expired(Docker(), time.time() + 1)] == ["t"]


def test_destroy_without_a_record_or_with_a_damaged_one(home: Path) -> None:
    fleet_id = apply(home, nodes=2).fleet.blueprint.fleet_id
    (home / "fleets" / "t" / "fleet.json").write_text('{"schema_ver')
    destroy(home)
    assert ours(fleet_id) == []

    fleet_id = apply(home, nodes=1).fleet.blueprint.fleet_id
    (home / "fleets" / "t" / "module" / "terraform.tfstate").write_text("{")
    destroy(home)
    assert ours(fleet_id) == []


def test_a_fleet_is_changed_by_one_process_at_a_time(home: Path) -> None:
    apply(home, nodes=1)
    with FleetLock(FleetFolder(home, "t"), "bench").held(0), pytest.raises(Locked, match="bench by process"):
        destroy(home)


def test_a_run_keeps_its_fleet_until_it_ends_or_force_is_used(home: Path) -> None:
    fleet_id = apply(home, nodes=1).fleet.blueprint.fleet_id
    run = {"run_id": "run-1", "pid": os.getpid(), "start_ticks": start_ticks(os.getpid()), "host": socket.gethostname()}
    FleetFolder(home, "t").held_by.write_text(json.dumps(run))
    assert not apply(home).plan, "looking after the nodes takes none of them"
    with pytest.raises(Locked, match="cannot be changed: the run run-1 goes on there"):
        apply(home, nodes=2)
    with pytest.raises(Locked, match="cannot be destroyed") as error:
        destroy(home)
    assert (error.value.exit_code, "--force" in error.value.fix) == (10, True)
    assert len(ours(fleet_id)) == 2, "a container and a network, as before"
    assert commands.destroy("t", None, "", LIMITS, Watcher(), home, force=True) == 0
    assert ours(fleet_id) == []


def test_what_cannot_be_changed_is_said(home: Path) -> None:
    apply(home, nodes=1)
    with pytest.raises(UsageError, match=r"The fleet t has disk-gb 100, not 200"):
        apply(home, disk_gb=200)
    raw = json.loads((home / "fleets" / "t" / "fleet.json").read_text())
    assert raw["schema_version"] == 1
    assert set(raw["nodes"][0]) >= {"name", "public_ip", "private_ip", "ssh_host", "ssh_port", "ssh_user", "gpus"}


def test_an_engine_elsewhere_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as there:
        there.setenv("DOCKER_HOST", "ssh://example.org")
        with pytest.raises(PreflightError, match="is on another machine"):
            apply(home, nodes=1)


def test_ctrl_c_while_the_nodes_are_checked_leaves_nothing(home: Path) -> None:
    def say(text: str) -> None:
        if text.startswith("Waiting for"):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="Nothing of the fleet is left"):
        apply(home, Watcher(say=say), nodes=1)
    assert Docker().fleets() == []
    made = apply(home, nodes=1).fleet
    with pytest.raises(Interrupted, match="before all nodes were checked"):
        apply(home, Watcher(say=say), nodes=2)
    assert len(ours(made.blueprint.fleet_id)) == 3
    assert len(apply(home).fleet.nodes) == 2
