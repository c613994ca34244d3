"""Fleets on AWS: the real Terraform and provider against moto, machines as network namespaces with SSH servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlb.infra import commands, teardown
from mlb.infra.aws import Aws
from mlb.infra.folder import FleetFolder
from mlb.infra.stack import Limits, Outcome, Watcher

from .conftest import need
from .netns_hosts import Hosts, available

moto = pytest.importorskip("moto", reason="moto is not installed")
from .moto_cloud import Cloud, running_moto  # noqa: E402

pytestmark = [
    pytest.mark.system,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
LIMITS = Limits(apply_s=120, destroy_s=120, ready_s=60)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    need("netns", available())
    made = Hosts(tmp_path_factory.mktemp("hosts"))
    made.up()
    yield made
    made.down()


@pytest.fixture(scope="module")
def server(hosts: Hosts) -> Iterator[Cloud]:
    with running_moto() as cloud:

        def launch(instance: Any, key: str) -> None:
            cloud.consoles[instance.id] = hosts.start(instance.id, instance.public_ip, key, gpus=2)

        cloud.on_launch = launch
        cloud.on_end = hosts.kill
        yield cloud


@pytest.fixture
def cloud(server: Cloud, engine: object, aws_provider: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "testing")
    for key in ("AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(teardown, "SWEEP_PAUSE_S", 0.05)
    server.reset()
    yield server
    server.reset()
    for fleet in Aws("us-east-1").fleets():
        commands.collect(Aws("us-east-1"), fleet)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "state"


def request(home: Path, **given: Any) -> commands.Request:
    options = {"cloud": "aws", "allow_cidr": "10.77.0.1/32", "ssh_user": "root", **given}
    return commands.request(options, home)


def apply(home: Path, watcher: Watcher | None = None, limits: Limits = LIMITS, **given: Any) -> Outcome:
    return commands.apply(request(home, **given), limits, watcher or Watcher())


def destroy(home: Path, name: str = "aws") -> None:
    commands.destroy(name, None, "", LIMITS, Watcher(), home)


def left() -> int:
    return sum(fleet.resources for fleet in Aws("us-east-1").fleets())


def test_apply_again_grow_status_destroy(home: Path, cloud: Cloud) -> None:
    made = apply(home, gpus=2, nodes=4).fleet
    assert made.blueprint.machine is not None
    assert made.blueprint.machine.id == "g7.12xlarge"
    assert made.status == "ready"
    assert {c["gpus"] for c in made.checks} == {2}
    assert made.blueprint.image_id == "ami-1e749f67"

    assert not apply(home).plan, "a second apply has nothing to do"
    grown = apply(home, nodes=6)
    assert [action for action, _ in grown.plan.changes] == ["create", "create"]
    assert [n.id for n in grown.fleet.nodes[:4]] == [n.id for n in made.nodes]

    Aws("us-east-1").api.call("ec2", "terminate_instances", InstanceIds=[made.nodes[1].id])
    state = commands.status(FleetFolder(home, "aws"))
    assert [n.state for n in state.nodes] == ["running", "terminated", "running", "running", "running", "running"]

    destroy(home)
    assert left() == 0
    assert not (home / "fleets" / "aws").exists()
