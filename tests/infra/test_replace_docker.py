"""Bad nodes of a local fleet, made bad and replaced for real: other containers, and the good ones untouched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlb.errors import NodeNotReady
from mlb.infra import by_tag, commands, ssh
from mlb.infra.docker import Docker
from mlb.infra.folder import FleetFolder
from mlb.infra.stack import Outcome
from mlb.infra.watcher import Limits, Watcher
from support import Mlb

from .docker_engine import BASE

pytestmark = [pytest.mark.system]
LIMITS = Limits(apply_s=120, destroy_s=120, ready_s=10)
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch"
BROKEN = f"#!/bin/sh\necho '{MISMATCH}'\nexit 18\n"
ONE = 'terraform_data.node["001"]'


def apply(home: Path, watcher: Watcher | None = None, *, replace_bad: bool = True, **given: Any) -> Outcome:
    options = {"cloud": "docker", "name": "b", "image": BASE, **given}
    asked = commands.request(options, home, replace_bad=replace_bad)
    return commands.apply(asked, LIMITS, watcher or Watcher())


def docker(*args: str, stdin: str = "") -> str:
    return subprocess.run(["docker", *args], capture_output=True, text=True, check=True, input=stdin).stdout.strip()


def containers(names: Sequence[str]) -> list[str]:
    return [docker("inspect", "--format", "{{.Id}}", name) for name in names]


def break_driver(name: str) -> None:
    """A driver that does not fit its library, as nvidia-smi tells of it."""
    program = "/usr/local/bin/nvidia-smi"
    docker("exec", "--interactive", name, "sh", "-c", f"cat >{program} && chmod +x {program}", stdin=BROKEN)


@pytest.fixture
def home(tmp_path: Path, engine: object, terraform_env: None, docker_host: str) -> Iterator[Path]:
    yield tmp_path / "state"
    for fleet in Docker().fleets():
        by_tag.collect(Docker(), fleet)


@pytest.mark.timeout(300)
def test_nodes_that_go_bad_later_are_replaced_and_the_good_one_is_not(home: Path) -> None:
    made = apply(home, nodes=3).fleet
    assert made.replaced == (), "nothing is bad, so nothing is replaced"
    names = [node.id for node in made.nodes]
    before = containers(names)
    docker("exec", names[0], "touch", "/root/kept")
    break_driver(names[1])
    docker("exec", names[2], "pkill", "-x", "sshd")

    with pytest.raises(NodeNotReady, match=r"2 of 3 nodes are not ready: b-1, b-2\.") as error:
        apply(home, replace_bad=False)
    assert f"b-1: nvidia-smi failed: {MISMATCH}" in error.value.why
    assert "b-2: no answer by SSH" in error.value.why
    assert "--replace-bad-nodes" in error.value.fix
    assert containers(names) == before

    told: list[str] = []
    asked: list[str] = []
    mended = apply(home, Watcher(warn=told.append, check=lambda check: asked.append(check.node)))
    assert [text.splitlines()[0] for text in told] == ["Replacing 2 of 3 nodes (attempt 1 of 2), keeping 1:"]
    assert "Nothing of it is billed" in told[0]
    assert sorted(asked) == ["b-0", "b-1", "b-1", "b-2", "b-2"], "the good one is asked once"
    assert sorted(mended.plan.changes) == [("replace", ONE), ("replace", ONE.replace("001", "002"))]
    after = containers(names)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, False]
    assert docker("exec", names[0], "ls", "/root/kept")
    assert mended.fleet.status == "ready"
    assert [gone.node for gone in mended.fleet.replaced] == ["b-1", "b-2"]
    for node in mended.fleet.nodes:
        assert ssh.run(FleetFolder(home, "b"), node, "true", timeout_s=20).code == 0, "its new host key is pinned"
    assert not apply(home).plan, "and then there is nothing to do"


@pytest.mark.timeout(300)
def test_a_node_that_stays_bad_is_replaced_twice_and_then_named(home: Path) -> None:
    made: list[str] = []

    def event(event: Any) -> None:
        """Whatever machine takes the second node's place has the same fault."""
        if event["type"] != "apply_complete" or event["hook"]["action"] != "create":
            return
        if event["hook"]["resource"]["addr"] == ONE:
            name = next(row for row in docker("ps", "--format", "{{.Names}}").split() if row.endswith("-1"))
            made.extend(containers([name]))
            break_driver(name)

    with pytest.raises(NodeNotReady, match="1 of 2 nodes are not ready: b-1") as error:
        apply(home, Watcher(event=event), nodes=2)
    assert len(made) == len(set(made)) == 3, "one machine, and two in its place"
    assert "Nodes were replaced 2 times, the most that one apply does." in error.value.why
    known = commands.status(FleetFolder(home, "b"))
    assert (known.fleet.status, len(known.fleet.replaced), known.drifted) == ("not-ready", 2, False)
    good = containers([known.fleet.nodes[0].id])
    mended = apply(home).fleet
    assert (mended.status, len(mended.replaced)) == ("ready", 3)
    assert containers([mended.nodes[0].id]) == good


@pytest.mark.timeout(300)
def test_the_command_says_what_it_replaces_and_shows_it_in_json(home: Path, tmp_path: Path) -> None:
    mlb = Mlb(tmp_path, tmp_path)
    options = ("--cloud", "docker", "--image", BASE, "--yes")
    made = mlb.json("infra", "apply", *options, "--nodes", "2", "--replace-bad-nodes")
    assert made["replaced"] == []
    break_driver(made["nodes"][1]["id"])
    done = mlb("infra", "apply", "--yes", "--json", "--replace-bad-nodes")
    assert done.returncode == 0, done.stderr
    assert "Replacing 1 of 2 nodes (attempt 1 of 2), keeping 1:" in done.stderr, "however quiet the rest is"
    assert MISMATCH in done.stderr
    answer = json.loads(done.stdout)
    assert answer["changes"] == [{"action": "replace", "resource": ONE}]
    assert [(one["node"], MISMATCH in one["problems"][0]) for one in answer["replaced"]] == [("docker-1", True)]
    assert mlb.json("infra", "status")["replaced"] == answer["replaced"]
    again = mlb("infra", "apply", "--yes")
    assert "Machines that were replaced:\n  docker-1" in again.stdout
    assert mlb("infra", "destroy", "--yes").returncode == 0
