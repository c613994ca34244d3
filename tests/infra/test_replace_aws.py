"""Bad nodes on AWS: the real Terraform and provider put other instances in their place, and leave the good ones."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from mlb.errors import NodeNotReady
from mlb.infra import aws, commands
from mlb.infra.aws import Aws
from mlb.infra.folder import FleetFolder
from mlb.infra.stack import Outcome
from mlb.infra.watcher import Limits, Watcher
from netns_hosts import NVIDIA_SMI, Hosts

from .conftest import need

need("moto", find_spec("moto"), module=True)
from .moto_cloud import Cloud, Fault  # noqa: E402

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
LIMITS = Limits(apply_s=120, destroy_s=120, ready_s=20)
MISSING = "1 GPUs instead of 2: Tesla T4, 550.54.15, Disabled"


def apply(home: Path, watcher: Watcher | None = None, *, replace_bad: bool = True, **given: Any) -> Outcome:
    options = {"cloud": "aws", "allow_cidr": "10.77.0.1/32", "ssh_user": "root", **given}
    return commands.apply(commands.request(options, home, replace_bad=replace_bad), LIMITS, watcher or Watcher())


def alive() -> dict[str, str]:
    """Subnet addresses of the instances that run, by id."""
    found = Aws("us-east-1").api.pages("ec2", "describe_instances", "Reservations")
    machines = [i for r in found for i in r["Instances"] if i["State"]["Name"] == "running"]
    return {i["InstanceId"]: i["PrivateIpAddress"] for i in machines}


def ids(made: Outcome) -> list[str]:
    return [node.id for node in made.fleet.nodes]


@pytest.fixture
def third_is_bad(cloud: Cloud, hosts: Hosts) -> Iterator[list[str]]:
    """The third machine that is launched lacks a GPU; all that were launched."""
    launched: list[str] = []
    real = cloud.on_launch

    def launch(instance: Any, key: str) -> None:
        launched.append(instance.id)
        gpus = 1 if len(launched) == 3 else 2
        cloud.consoles[instance.id] = hosts.start(instance.id, instance.public_ip, key, gpus=gpus)

    cloud.on_launch = launch
    yield launched
    cloud.on_launch = real


def test_a_machine_that_lacks_a_gpu_makes_room_for_another(tmp_path: Path, third_is_bad: list[str]) -> None:
    told: list[str] = []
    made = apply(tmp_path, Watcher(warn=told.append), gpus=2, nodes=4)
    assert made.fleet.status == "ready"
    assert len(third_is_bad) == 5, "four machines, and one in a bad one's place"
    gone = made.fleet.replaced[0]
    assert (gone.id, gone.problems) == (third_is_bad[2], (MISSING,))
    index = int(gone.node.rpartition("-")[2])
    assert ids(made)[index] == third_is_bad[4]
    assert set(ids(made)) == set(third_is_bad) - {gone.id} == set(alive())
    assert ("replace", f"aws_instance.node[{index}]") in made.plan.changes
    assert "New machines: $7.14 per hour" in told[0]
    assert "the fleet stays at $28.56" in told[0]
    assert not apply(tmp_path).plan, "the provider finds nothing to change afterwards"


def test_a_machine_that_goes_bad_later_is_replaced_and_the_others_keep_their_ids(
    tmp_path: Path, cloud: Cloud, hosts: Hosts
) -> None:
    made = apply(tmp_path, gpus=2, nodes=3)
    before = ids(made)
    hosts.program(before[1], "nvidia-smi", NVIDIA_SMI.format(count=2).replace("Disabled", "Enabled, 3"))
    mended = apply(tmp_path)
    assert mended.plan.changes == (("replace", "aws_instance.node[1]"),)
    assert "GPU 1 has had 3 uncorrected memory errors" in mended.fleet.replaced[0].problems[1]
    after = ids(mended)
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] != before[1]
    assert mended.fleet.nodes[0] == made.fleet.nodes[0]
    assert set(alive()) == set(after)
    assert not commands.status(FleetFolder(tmp_path, "aws")).drifted

    # The zone has no other machine: what is good is kept, and the next apply goes on from there.
    hosts.program(after[2], "nvidia-smi", NVIDIA_SMI.format(count=1))
    cloud.faults.append(Fault("RunInstances", "InsufficientInstanceCapacity"))
    with pytest.raises(NodeNotReady, match=r"1 of 3 nodes are not ready: aws-2\.") as error:
        apply(tmp_path)
    assert f"aws-2: {MISSING}" in error.value.why
    assert "Their replacement failed: aws_instance.node[2]" in error.value.why
    assert "InsufficientInstanceCapacity" in error.value.why
    assert set(alive()) == {after[0], after[1]}
    cloud.faults.clear()
    whole = apply(tmp_path, replace_bad=False)
    assert whole.plan.changes == (("create", "aws_instance.node[2]"),)
    assert ids(whole)[:2] == after[:2]
    assert whole.fleet.status == "ready"


def test_a_machine_whose_console_shows_no_host_key_is_replaced(
    tmp_path: Path, cloud: Cloud, third_is_bad: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "CONSOLE_POLL_S", 0.2)

    def event(event: Any) -> None:
        """The first machine never gets as far as printing its key."""
        if event["type"] == "apply_complete" and len(third_is_bad) == 2:
            cloud.consoles[third_is_bad[0]] = ""

    made = apply(tmp_path, Watcher(event=event), gpus=2, nodes=2)
    silent, short_of_one = made.fleet.replaced
    assert (silent.id, short_of_one.id) == (third_is_bad[0], third_is_bad[2])
    assert "has not shown its host key on its console" in silent.problems[0]
    assert short_of_one.problems == (MISSING,), "the machine in its place was bad in turn: the second attempt"
    assert len(third_is_bad) == 4
    assert set(ids(made)) == {third_is_bad[1], third_is_bad[3]}
