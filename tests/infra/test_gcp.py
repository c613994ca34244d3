"""Fleets on GCP: real Terraform with a stand-in provider against a fake Compute Engine, machines as namespaces."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from mlb.errors import CapacityError, NodeNotReady, PreflightError, ProvisionFailed, TeardownIncomplete
from mlb.infra import commands, teardown
from mlb.infra.folder import FleetFolder
from mlb.infra.gcp import Gcp
from mlb.infra.stack import Outcome
from mlb.infra.watcher import Limits, Watcher

from .conftest import need
from .netns_hosts import Hosts, available

need("google-stand-in", find_spec("tf"), module=True)
from .fake_gce import PROJECT, Fault, Gce  # noqa: E402
from .gce_http import running_gce  # noqa: E402
from .google_mirror import installed, key_file  # noqa: E402

pytestmark = [pytest.mark.system]
LIMITS = Limits(apply_s=120, destroy_s=120, ready_s=60)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    need("netns", available())
    made = Hosts(tmp_path_factory.mktemp("hosts"), bridge="mlbgce0", gateway="10.78.0.1/16")
    made.up()
    yield made
    made.down()


@pytest.fixture(scope="module")
def server(hosts: Hosts) -> Iterator[Gce]:
    with running_gce() as gce:

        def launch(instance: dict[str, Any]) -> str:
            metadata = {item["key"]: item["value"] for item in instance["metadata"]["items"]}
            address = instance["networkInterfaces"][0]["accessConfigs"][0]["natIP"]
            key = metadata["ssh-keys"].partition(":")[2]
            return hosts.start(f"i-{instance['id']}", address, key, gpus=2)

        gce.on_launch = launch
        gce.on_end = lambda instance: hosts.kill(f"i-{instance['id']}")
        yield gce


@pytest.fixture(scope="module")
def login(server: Gce, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    terraform = shutil.which("terraform") or shutil.which("tofu")
    need("terraform", terraform)
    folder = tmp_path_factory.mktemp("google")
    return {
        "TF_CLI_CONFIG_FILE": str(installed(folder, str(terraform))),
        "GOOGLE_APPLICATION_CREDENTIALS": str(key_file(folder, PROJECT, server.url)),
        "GOOGLE_COMPUTE_CUSTOM_ENDPOINT": f"{server.url}/compute/v1/",
        "NO_GCE_CHECK": "true",
    }


@pytest.fixture
def cloud(server: Gce, login: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Gce]:
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "GCLOUD_", "CLOUDSDK_"))]:
        monkeypatch.delenv(name)
    for name, value in login.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(teardown, "SWEEP_PAUSE_S", 0.05)
    server.reset()
    yield server
    server.reset()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "state"


def request(home: Path, **given: Any) -> commands.Request:
    options = {"cloud": "gcp", "allow_cidr": "10.78.0.1/32", "ssh_user": "root", **given}
    return commands.request(options, home)


def apply(home: Path, watcher: Watcher | None = None, limits: Limits = LIMITS, **given: Any) -> Outcome:
    return commands.apply(request(home, **given), limits, watcher or Watcher())


def destroy(home: Path, name: str = "gcp") -> None:
    commands.destroy(name, None, "", LIMITS, Watcher(), home)


def left() -> int:
    return sum(fleet.resources for fleet in Gcp().fleets())


def test_apply_again_grow_shrink_status_destroy(home: Path, cloud: Gce) -> None:
    made = apply(home, gpus=2, nodes=2).fleet
    assert made.status == "ready"
    assert made.blueprint.account == PROJECT
    assert {c["gpus"] for c in made.checks} == {2}
    assert str(made.blueprint.image_id).endswith("/global/images/common-cu128-v20261101")
    for instance in (x for x in cloud.inserted if x["kind"] == "instances"):
        # From the first second of each: the end of life is in the call that makes the machine.
        assert instance["scheduling"]["instanceTerminationAction"] == "DELETE"
        assert 0 < int(instance["scheduling"]["maxRunDuration"]["seconds"]) <= 4 * 3600
        assert {"mlb-fleet-id", "mlb-expires-at", "mlb-owner"} <= set(instance["labels"])
        assert instance["disks"][0]["initializeParams"]["labels"] == instance["labels"]
        assert instance["serviceAccounts"] == []

    assert not apply(home).plan, "a second apply has nothing to do"
    grown = apply(home, nodes=3)
    assert grown.plan.changes == (("create", "google_compute_instance.node[2]"),)
    assert grown.fleet.nodes[:2] == made.nodes
    shrunk = apply(home, nodes=1)
    assert sorted(action for action, _ in shrunk.plan.changes) == ["delete", "delete"]
    assert shrunk.fleet.nodes == made.nodes[:1]
    assert [n.state for n in commands.status(FleetFolder(home, "gcp")).nodes] == ["running"]

    destroy(home)
    assert left() == 0
    assert not (home / "fleets" / "gcp").exists()
