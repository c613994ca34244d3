"""Fleets on GCP: real Terraform with a stand-in provider against a fake Compute Engine, machines as namespaces."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import support
from mlb.errors import (
    CapacityError,
    Interrupted,
    NodeNotReady,
    PreflightError,
    ProvisionFailed,
    TeardownIncomplete,
    UsageError,
)
from mlb.infra import by_tag, commands, gcp, stack, teardown
from mlb.infra.folder import FleetFolder
from mlb.infra.gcp import Gcp
from mlb.infra.render import render
from mlb.infra.stack import Outcome
from mlb.infra.watcher import Limits, Watcher
from netns_hosts import NVIDIA_SMI, Hosts
from support import Mlb

from .fake_gce import PROJECT, Fault, Gce
from .gce_http import running_gce
from .google_mirror import login_file

pytestmark = [pytest.mark.system]
LIMITS = Limits(apply_s=120, destroy_s=120, ready_s=60)


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
def login(server: Gce, google_config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {
        "TF_CLI_CONFIG_FILE": str(google_config),
        "GOOGLE_APPLICATION_CREDENTIALS": str(login_file(tmp_path_factory.mktemp("login"))),
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "GOOGLE_COMPUTE_CUSTOM_ENDPOINT": f"{server.url}/compute/v1/",
        "NO_GCE_CHECK": "true",
        # Whatever the login library would ask of Google ends here, at once.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }


@pytest.fixture
def cloud(server: Gce, login: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Gce]:
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "GCLOUD_", "CLOUDSDK_"))]:
        monkeypatch.delenv(name)
    for name, value in login.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(teardown, "SWEEP_PAUSE_S", 0.05)
    monkeypatch.setattr(gcp, "GUEST_POLL_S", 0.05)
    server.reset()
    yield server
    server.reset()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "state"


def request(home: Path, **given: Any) -> commands.Request:
    options = {"cloud": "gcp", "gpu_type": "A100", "allow_cidr": "10.77.0.1/32", "ssh_user": "root", **given}
    return commands.request(options, home)


def apply(home: Path, watcher: Watcher | None = None, limits: Limits = LIMITS, **given: Any) -> Outcome:
    return commands.apply(request(home, **given), limits, watcher or Watcher())


def destroy(home: Path, name: str = "gcp") -> None:
    commands.destroy(name, None, "", LIMITS, Watcher(), home)


def left() -> int:
    return sum(fleet.resources for fleet in Gcp().fleets())


@pytest.mark.slow
def test_apply_again_grow_shrink_status_destroy(home: Path, cloud: Gce) -> None:
    made = apply(home, gpus=2, nodes=2).fleet
    assert made.status == "ready"
    assert made.blueprint.account == PROJECT
    assert {c["gpus"] for c in made.checks} == {2}
    assert str(made.blueprint.image_id).endswith("/global/images/common-cu128-v20261101")
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


@pytest.fixture
def mlb(cloud: Gce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mlb:
    """The command itself, with time enough for a machine that does much else."""
    monkeypatch.setattr(support, "DEADLINE_S", 280.0)
    return Mlb(tmp_path / "home", tmp_path)


MACHINES = ("--cloud", "gcp", "--gpus", "2", "--gpu-type", "A100")
WHERE = (*MACHINES, "--allow-cidr", "10.77.0.1/32", "--ssh-user", "root", "--yes")


@pytest.mark.timeout(900)
def test_apply_status_resize_destroy_as_a_user_types_them(mlb: Mlb, cloud: Gce) -> None:
    made = mlb("infra", "apply", *WHERE, "--nodes", "2")
    assert made.returncode == 0, made.stderr
    assert "never on a real account" in made.stderr
    assert "Plan: 7 to create, 0 to change, 0 to destroy." in made.stderr
    assert "Fleet gcp: 2 nodes in us-central1-a, ready." in made.stdout
    assert json.loads(mlb("infra", "status", "--json").stdout)["states"] == {"gcp-0": "running", "gcp-1": "running"}
    assert "Plan: 1 to create, 0 to change, 0 to destroy." in mlb("infra", "apply", "--nodes", "3", "--yes").stderr
    gone = mlb("infra", "destroy", "--yes")
    assert (gone.returncode, gone.stdout) == (0, "Fleet gcp: 0 left.\n")
    assert left() == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_other_commands_as_a_user_types_them(mlb: Mlb, cloud: Gce) -> None:
    assert mlb("infra", "apply", *WHERE, "--nodes", "2").returncode == 0
    assert "No changes" in mlb("infra", "apply", "--yes").stdout
    assert mlb("infra", "ssh", "1", "nvidia-smi").stdout.count("Tesla T4") == 2
    assert "Plan: 0 to create, 0 to change, 1 to destroy." in mlb("infra", "apply", "--nodes", "1", "--yes").stderr
    (seen,) = json.loads(mlb("infra", "ls", "--cloud", "gcp", "--json").stdout)["fleets"]
    assert (seen["name"], seen["region"], seen["resources"]) == ("gcp", "us-central1", 7)
    assert "0 fleets past their deadline" in mlb("infra", "gc", "--cloud", "gcp").stdout
    assert mlb("infra", "destroy", "--yes").stdout == "Fleet gcp: 0 left.\n"


def test_no_capacity_on_node_three_moves_the_fleet_to_the_next_zone(home: Path, cloud: Gce) -> None:
    cloud.faults.append(Fault("POST", "instances", "ZONE_RESOURCE_POOL_EXHAUSTED", after=2, zone="us-central1-a"))
    made = apply(home, gpus=2, nodes=3, gpu_type="T4", spot=True).fleet
    assert made.blueprint.zone == "us-central1-b"
    assert {x["scheduling"]["provisioningModel"] for x in cloud.all("instances")} == {"SPOT"}
    assert {g["acceleratorCount"] for x in cloud.all("instances") for g in x["guestAccelerators"]} == {2}
    assert [a.zone for a in made.attempts] == ["us-central1-a"]
    assert "ZONE_RESOURCE_POOL_EXHAUSTED" in made.attempts[0].outcome
    assert {x["zone"].rpartition("/")[2] for x in cloud.all("instances")} == {"us-central1-b"}
    assert len(cloud.all("instances")) == len(cloud.all("disks")) == 3
    for instance in (x for x in cloud.inserted if x["kind"] == "instances"):
        # From the first second of each: the end of life is in the call that makes the machine.
        assert instance["scheduling"]["instanceTerminationAction"] == "DELETE"
        assert 0 < int(instance["scheduling"]["maxRunDuration"]["seconds"]) <= 4 * 3600
        assert {"mlb-fleet-id", "mlb-expires-at", "mlb-owner"} <= set(instance["labels"])
        assert instance["disks"][0]["initializeParams"]["labels"] == instance["labels"]
        assert instance["serviceAccounts"] == []


@pytest.mark.slow
def test_no_capacity_anywhere_leaves_nothing(home: Path, cloud: Gce) -> None:
    cloud.faults.append(Fault("POST", "instances", "ZONE_RESOURCE_POOL_EXHAUSTED", after=1))
    with pytest.raises(CapacityError, match=r"(?s)us-central1-a: .*us-central1-b: .*ZONE_RESOURCE_POOL_EXHAUSTED"):
        apply(home, gpus=2, nodes=2)
    assert left() == 0
    assert not (home / "fleets" / "gcp").exists()


@pytest.mark.slow
def test_a_quota_that_only_the_creation_meets_is_not_a_lack_of_capacity(home: Path, cloud: Gce) -> None:
    cloud.faults.append(Fault("POST", "instances", "QUOTA_EXCEEDED", after=1))
    with pytest.raises(ProvisionFailed, match="nothing of it is left") as error:
        apply(home, gpus=2, nodes=2)
    assert "higher quota" in error.value.fix
    assert left() == 0


@pytest.mark.slow
def test_a_machine_that_is_gone_or_stopped_is_seen_and_replaced(home: Path, cloud: Gce) -> None:
    made = apply(home, gpus=2, nodes=3).fleet
    cloud.lose(made.nodes[1].id)
    cloud.set_status(made.nodes[2].id, "TERMINATED")
    assert [n.state for n in commands.status(FleetFolder(home, "gcp")).nodes] == ["running", "gone", "terminated"]
    old = (home / "fleets" / "gcp" / "known_hosts").read_text().splitlines()
    repaired = apply(home)
    assert set(repaired.plan.changes) == {
        ("create", "google_compute_instance.node[1]"),
        ("replace", "google_compute_instance.node[2]"),
    }
    assert repaired.fleet.nodes[0] == made.nodes[0]
    assert not commands.status(FleetFolder(home, "gcp")).drifted
    new = (home / "fleets" / "gcp" / "known_hosts").read_text().splitlines()
    assert new[0] == old[0]
    assert not set(new[1:]) & set(old), "a new machine has a new host key"


def test_a_bad_machine_is_replaced_by_one_that_ends_with_the_fleet(
    home: Path, cloud: Gce, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = apply(home, gpus=2, nodes=2).fleet
    machines = {x["name"]: x for x in cloud.all("instances")}
    ends = {name: int(x["scheduling"]["maxRunDuration"]["seconds"]) for name, x in machines.items()}
    hosts.program(f"i-{machines[made.nodes[1].id]['id']}", "nvidia-smi", NVIDIA_SMI.format(count=1))
    # An hour later.
    monkeypatch.setattr(stack, "render", lambda blueprint, now: render(blueprint, now + 3600))
    asked = commands.request({"cloud": "gcp"}, home, replace_bad=True)
    mended = commands.apply(asked, LIMITS, Watcher())
    assert mended.plan.changes == (("replace", "google_compute_instance.node[1]"),)
    assert mended.fleet.replaced[0].problems == ("1 GPUs instead of 2: Tesla T4, 550.54.15, Disabled",)
    now = {x["name"]: x for x in cloud.all("instances")}
    assert now[made.nodes[0].id] == machines[made.nodes[0].id]
    assert now[made.nodes[1].id]["id"] != machines[made.nodes[1].id]["id"]
    left_s = int(now[made.nodes[1].id]["scheduling"]["maxRunDuration"]["seconds"])
    assert left_s <= ends[made.nodes[1].id] - 3600, "it has the fleet's deadline, not its predecessor's whole time"


@pytest.mark.slow
def test_another_door_changes_the_rule_and_nothing_else(home: Path, cloud: Gce) -> None:
    apply(home, gpus=2)
    changed = apply(home, allow_cidr="10.77.0.0/16")
    assert changed.plan.changes == (("update", "google_compute_firewall.ssh"),)
    rules = {rule["name"].rpartition("-")[2]: rule for rule in cloud.all("firewalls")}
    assert rules["ssh"]["sourceRanges"] == ["10.77.0.0/16"]
    assert rules["nodes"]["sourceRanges"] == []


def test_a_lost_record_and_state_still_allow_to_destroy_by_label(home: Path, cloud: Gce) -> None:
    apply(home, gpus=2, region="europe-west4", instance_type="a2-highgpu-2g", unknown_price_ok=True)
    shutil.rmtree(home / "fleets")
    with pytest.raises(PreflightError, match="found by its tags"):
        destroy(home)
    # No region is needed: one question is answered for all of the project.
    assert commands.destroy("gcp", "gcp", "", LIMITS, Watcher(), home) == 7
    assert left() == 0
    with pytest.raises(PreflightError, match="No fleet gcp of yours is to be found in the project"):
        commands.destroy("gcp", "gcp", "", LIMITS, Watcher(), home)
    assert not cloud.all("networks")
    assert not cloud.all("resourcePolicies")


@pytest.mark.slow
def test_gc_finds_what_is_past_its_deadline_and_honours_a_region(home: Path, cloud: Gce) -> None:
    made = apply(home, gpus=2).fleet
    cloud.lose(made.nodes[0].id)  # as Google does at the deadline; the network and its rules stay
    assert not by_tag.expired(Gcp(), time.time())
    later = made.blueprint.expires_epoch + 1
    (elsewhere,) = by_tag.places("gcp", "us-east4", everywhere=False)
    assert not by_tag.expired(elsewhere[1], later)
    ((_, place),) = by_tag.places("gcp", "us-central1", everywhere=True)
    (fleet,) = by_tag.expired(place, later)
    assert (fleet.name, fleet.fleet_id, fleet.resources) == ("gcp", made.blueprint.fleet_id, 5)
    by_tag.collect(place, fleet)
    assert left() == 0


@pytest.mark.slow
def test_what_cannot_be_removed_is_named_with_what_it_costs(home: Path, cloud: Gce) -> None:
    made = apply(home, gpus=2).fleet
    foreign = {"name": "db", "network": cloud.all("networks")[0]["selfLink"], "selfLink": "x/instances/db"}
    cloud.of("zones/us-central1-a", "instances")["db"] = {**foreign, "zone": "x", "needs": {}, "disks": []}
    cloud.faults.append(Fault("DELETE", "instances", "forbidden", http=403))
    with pytest.raises(TeardownIncomplete) as error:
        destroy(home)
    said = str(error.value)
    assert f"instance {made.nodes[0].id} us-central1-a (is billed)" in said
    assert "at most $7.36 per hour" in said
    assert "forbidden" in said
    cloud.faults.clear()
    with pytest.raises(TeardownIncomplete, match="already being used by 'x/instances/db'"):
        destroy(home)
    del cloud.of("zones/us-central1-a", "instances")["db"]
    destroy(home)
    assert left() == 0


@pytest.mark.slow
def test_credentials_that_expire_while_destroying(home: Path, cloud: Gce) -> None:
    apply(home, gpus=2)
    cloud.token_expired = True
    with pytest.raises(TeardownIncomplete, match="credentials do not work"):
        destroy(home)
    with pytest.raises(PreflightError, match="gcloud auth application-default login"):
        commands.status(FleetFolder(home, "gcp"))
    cloud.token_expired = False
    destroy(home)
    assert left() == 0


@pytest.mark.slow
def test_ctrl_c_cleans_up(home: Path, cloud: Gce) -> None:
    def event(event: Any) -> None:
        if event["type"] == "apply_complete" and "google_compute_network.fleet: Creation" in event["@message"]:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="Nothing of the fleet is left"):
        apply(home, Watcher(event=event), gpus=2, nodes=2)
    assert left() == 0


@pytest.mark.slow
def test_a_host_key_that_is_missing_or_another(home: Path, cloud: Gce, monkeypatch: pytest.MonkeyPatch) -> None:
    real = cloud.on_launch
    monkeypatch.setattr(cloud, "on_launch", lambda _: "")
    with pytest.raises(NodeNotReady, match="gcp-0: it has not published its host keys"):
        apply(home, limits=Limits(apply_s=120, ready_s=0.5), gpus=2)
    destroy(home)
    # Another key among the attributes than on port 22, as if somebody answered in the node's place.
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKbZ0mwHk6yq3Wb3mGXJd9Q4mC5rXwq3rJp0f3sPqf1D"
    monkeypatch.setattr(cloud, "on_launch", lambda instance: real(instance) and other)
    with pytest.raises(NodeNotReady, match="gcp-0: its host key is not the one that is pinned"):
        apply(home, gpus=2)
    # The fleet's private key is in no other file of ours, and nothing of the login is in any.
    secret = (home / "fleets" / "gcp" / "id_ed25519").read_text().splitlines()[1]
    for path in (p for p in home.rglob("*") if p.is_file() and p.name != "id_ed25519"):
        text = path.read_text(errors="replace")
        assert secret not in text, path
        assert "of-a-test" not in text, path
        assert "PRIVATE KEY" not in text, path


def test_refusals_before_anything_is_created(home: Path, cloud: Gce) -> None:
    def refused(message: str, **given: Any) -> None:
        with pytest.raises(PreflightError, match=message):
            apply(home, **{"gpus": 2, "nodes": 4, "unknown_price_ok": True, **given})

    cloud.limits |= {"NVIDIA_A100_GPUS": 6, "SSD_TOTAL_GB": 300, "IN_USE_ADDRESSES": 3, "A2_CPUS": 90, "NETWORKS": 0}
    refused(r"NETWORKS in all regions: needed 1, in use 0, allowed 0, short by 1")
    del cloud.limits["NETWORKS"]
    refused(
        r"(?s)IN_USE_ADDRESSES in us-central1: needed 4, in use 0, allowed 3, short by 1.*"
        r"SSD_TOTAL_GB in us-central1: needed 400, .*A2_CPUS in us-central1: needed 96, .*"
        r"NVIDIA_A100_GPUS in us-central1: needed 8, in use 0, allowed 6, short by 2"
    )
    cloud.limits.clear()
    refused(
        r"a2-highgpu-2g is not offered in us-central1-c.\nIn us-central1 it is in us-central1-a", zone="us-central1-c"
    )
    refused("a3-highgpu-2g is not offered in us-east4", gpu_type="H100", region="us-east4")
    refused("image family none of my-project is not to be had", image="my-project/none")
    refused("needs a disk of 50 GB", disk_gb=30)
    refused("The project other-1234 cannot be used", project="other-1234")
    cloud.api_disabled = True
    refused("(?s)has not been used in project.*gcloud services enable compute.googleapis.com --project bench-1234")
    assert not cloud.inserted
    assert not (home / "fleets").exists()


def test_the_project_and_the_login(home: Path, cloud: Gce, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Gcp("named-1234").api.project == "named-1234"
    assert Gcp().api.project == PROJECT, "of the environment"
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
    with pytest.raises(UsageError, match="cannot be the id of a Google Cloud project"):
        request(home, project="My Project")
    with pytest.raises(UsageError, match="A fleet on docker has no project"):
        commands.request({"cloud": "docker", "project": PROJECT}, home)
    monkeypatch.setenv("PATH", str(tmp_path))  # a login of a person names none, and there is no gcloud to ask
    with pytest.raises(PreflightError, match=r"(?s)Which Google Cloud project\?.*--project.*GOOGLE_CLOUD_PROJECT"):
        commands.plan(request(home, gpus=2), LIMITS, Watcher())
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    with pytest.raises(PreflightError, match=r"(?s)no Google Cloud credentials.*application-default login"):
        commands.plan(request(home, gpus=2), LIMITS, Watcher())
    assert not (home / "fleets").exists()
