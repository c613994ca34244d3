"""Fleets on AWS: the real Terraform and provider against moto, machines as network namespaces with SSH servers."""

from __future__ import annotations

import shutil
import signal
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from mlb.errors import CapacityError, Interrupted, NodeNotReady, PreflightError, TeardownIncomplete
from mlb.infra import commands
from mlb.infra.aws import Aws
from mlb.infra.folder import FleetFolder
from mlb.infra.stack import Outcome
from mlb.infra.watcher import Limits, Watcher
from netns_hosts import Hosts

from .conftest import need

need("moto", find_spec("moto"), module=True)
from .moto_cloud import Cloud, Fault  # noqa: E402

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
LIMITS = Limits(apply_s=120, destroy_s=120, ready_s=60)


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


def test_no_capacity_on_node_three_moves_the_fleet_to_the_next_zone(home: Path, cloud: Cloud) -> None:
    cloud.faults.append(Fault("RunInstances", "InsufficientInstanceCapacity", after=2, zone="us-east-1a"))
    made = apply(home, gpus=2, nodes=4).fleet
    assert made.blueprint.zone == "us-east-1b"
    assert [a.zone for a in made.attempts] == ["us-east-1a"]
    assert "InsufficientInstanceCapacity" in made.attempts[0].outcome
    assert made.attempts[0].seconds < LIMITS.apply_s
    api = Aws("us-east-1").api
    running = [i for r in api.pages("ec2", "describe_instances", "Reservations") for i in r["Instances"]]
    alive = [i for i in running if i["State"]["Name"] == "running"]
    assert {i["Placement"]["AvailabilityZone"] for i in alive} == {"us-east-1b"}
    assert len(alive) == 4
    # From the first second of each: the end of life is in the call that makes the machine.
    for launch in cloud.launches:
        assert launch["end"] == "terminate"
        tags = {t["Key"] for s in launch["tags"] if s["ResourceType"] in ("instance", "volume") for t in s["Tags"]}
        assert {"mlb:fleet-id", "mlb:expires-at", "mlb:owner"} <= tags


def test_no_capacity_anywhere_leaves_nothing(home: Path, cloud: Cloud) -> None:
    cloud.faults.append(Fault("RunInstances", "InsufficientInstanceCapacity", after=1))
    with pytest.raises(CapacityError, match=r"us-east-1a: aws_instance.node\[\d\]: .*InsufficientInstanceCapacity"):
        apply(home, gpus=2, nodes=2, zone="us-east-1a")
    assert left() == 0
    assert not (home / "fleets" / "aws").exists()


def stop_at(*moments: tuple[str, str]) -> Watcher:
    """Ctrl-C at the first event of each kind and resource, in turn."""
    waiting = list(moments)

    def event(event: Any) -> None:
        if waiting and event["type"] == waiting[0][0] and waiting[0][1] in event["@message"]:
            waiting.pop(0)
            signal.raise_signal(signal.SIGINT)

    return Watcher(event=event)


def test_ctrl_c_once_cleans_up_and_twice_leaves_with_a_list(home: Path, cloud: Cloud) -> None:
    created = ("apply_complete", "aws_security_group.fleet: Creation complete")
    with pytest.raises(Interrupted, match="Nothing of the fleet is left"):
        apply(home, stop_at(created), gpus=2, nodes=2)
    assert left() == 0

    with pytest.raises(TeardownIncomplete, match=r"aws_vpc\.fleet vpc-"):
        apply(home, stop_at(created, ("apply_start", "Destroying")), gpus=2, nodes=2)
    assert left() > 0
    destroy(home)
    assert left() == 0


def test_refusals_before_anything_is_written(home: Path, cloud: Cloud) -> None:
    cloud.quota = 96 + 88
    with pytest.raises(PreflightError, match=r"Needed: 192 vCPUs; in use: 0; allowed: 184; short by 8\."):
        apply(home, gpus=2, nodes=4)
    cloud.quota = 10_000
    with pytest.raises(PreflightError, match="is not offered in us-east-1z"):
        apply(home, gpus=2, zone="us-east-1z")
    with pytest.raises(PreflightError, match="more than --max-price 5"):
        apply(home, gpus=2, max_price=Decimal(5))
    with pytest.raises(PreflightError, match="is not in the catalogue"):
        apply(home, gpus=8, instance_type="p5e.48xlarge")
    assert "RunInstances" not in cloud.calls
    assert left() == 0


def test_a_lost_record_and_state_still_allow_to_destroy_by_tag(home: Path, cloud: Cloud) -> None:
    apply(home, gpus=2)
    shutil.rmtree(home / "fleets")
    with pytest.raises(PreflightError, match="found by its tags"):
        destroy(home)
    swept = commands.destroy("aws", "aws", "us-east-1", LIMITS, Watcher(), home)
    assert swept > 5
    assert left() == 0


def test_a_machine_in_between_and_a_missing_gpu_are_seen(home: Path, cloud: Cloud, hosts: Hosts) -> None:
    real = cloud.on_launch

    def launch(instance: Any, key: str) -> None:
        # Another key on the console than on port 22, as if somebody answered in the node's place.
        hosts.start(instance.id, instance.public_ip, key, gpus=1)

    cloud.on_launch = launch
    try:
        with pytest.raises(NodeNotReady, match="aws-0: its host key is not the one that is pinned"):
            apply(home, gpus=2)
        folder = FleetFolder(home, "aws")
        key = (hosts.folder / next(iter(hosts.processes)) / "hostkey.pub").read_text().split()
        pattern = folder.known_hosts.read_text().split()[0]
        folder.known_hosts.write_text(f"{pattern} {key[0]} {key[1]}\n")
        with pytest.raises(NodeNotReady, match="aws-0: 1 GPUs instead of 2: Tesla T4"):
            apply(home)
        node = next(iter(hosts.processes))
        hosts.stop_timer(node)
        with pytest.raises(NodeNotReady, match="aws-0: no deadline timer is armed"):
            apply(home)
    finally:
        cloud.on_launch = real
    # No private key, no secret in anything that was written; user data holds no secret at all.
    private = folder.key.read_text().splitlines()[1]
    for path in home.rglob("*"):
        if path.is_file() and path != folder.key:
            text = path.read_text(errors="replace")
            assert private not in text, path
            assert "s3cret-of-a-test" not in text, path
    destroy(home)
    assert left() == 0


def test_a_machine_deleted_behind_our_back_is_seen_and_replaced(home: Path, cloud: Cloud) -> None:
    made = apply(home, gpus=2, nodes=2).fleet
    Aws("us-east-1").api.call("ec2", "terminate_instances", InstanceIds=[made.nodes[1].id])
    assert commands.status(FleetFolder(home, "aws")).drifted
    repaired = apply(home)
    assert repaired.plan.changes == (("create", "aws_instance.node[1]"),)
    assert repaired.fleet.nodes[0] == made.nodes[0]
    assert repaired.fleet.nodes[1].id != made.nodes[1].id
    assert not commands.status(FleetFolder(home, "aws")).drifted
