"""Faults of AWS itself, injected into the server: what is said, what is left, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mlb.errors import MlbError, ProvisionFailed, TeardownIncomplete
from mlb.infra import commands
from mlb.infra.aws import Aws
from mlb.infra.folder import FleetFolder
from mlb.infra.watcher import Limits, Watcher

if TYPE_CHECKING:
    from .moto_cloud import Cloud

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
# The provider itself would wait for twenty minutes where something stands in the way.
LIMITS = Limits(apply_s=120, destroy_s=60, ready_s=60)


def apply(home: Path, watcher: Watcher | None = None, **given: Any) -> Any:
    options = {"cloud": "aws", "allow_cidr": "10.77.0.1/32", "ssh_user": "root", "gpus": 2, **given}
    return commands.apply(commands.request(options, home), LIMITS, watcher or Watcher())


def destroy(home: Path) -> None:
    commands.destroy("aws", None, "", LIMITS, Watcher(), home)


def left() -> int:
    return sum(fleet.resources for fleet in Aws("us-east-1").fleets())


def test_credentials_that_expire_while_machines_are_made(tmp_path: Path, cloud: Cloud) -> None:
    from .moto_cloud import Fault

    # Everything but a look at the account is refused from the first machine on, the clean-up included.
    cloud.faults += [Fault(action, "ExpiredToken") for action in ("RunInstances", "DeleteVpc", "TerminateInstances")]
    with pytest.raises(MlbError) as error:
        apply(tmp_path)
    assert "ExpiredToken" in str(error.value) or "credentials" in str(error.value)
    assert error.value.exit_code == 9, "something is left, and it is said"
    assert "VPC vpc-" in error.value.why
    assert "mlb infra destroy --name aws" in error.value.fix
    assert FleetFolder(tmp_path, "aws").fleet_json.exists(), "the record is kept for the way out"
    cloud.faults.clear()
    destroy(tmp_path)
    assert left() == 0


def test_what_stands_in_the_way_of_the_end_is_named(tmp_path: Path, cloud: Cloud) -> None:
    from .moto_cloud import Fault

    node = apply(tmp_path).fleet.nodes[0]
    api = Aws("us-east-1").api
    subnet = next(api.pages("ec2", "describe_subnets", "Subnets", Filters=[_tagged("aws")]))["SubnetId"]
    foreign = api.call("ec2", "create_network_interface", SubnetId=subnet, Description="of a load balancer")
    blocker = foreign["NetworkInterface"]["NetworkInterfaceId"]
    cloud.faults += [Fault(action, "DependencyViolation") for action in ("DeleteSubnet", "DeleteVpc")]
    cloud.faults.append(Fault("TerminateInstances", "ExpiredToken"))
    with pytest.raises(TeardownIncomplete) as error:
        destroy(tmp_path)
    assert error.value.exit_code == 9
    assert "at most $7.14 per hour" in error.value.what
    assert f"instance {node.id} us-east-1 (is billed)" in error.value.why
    assert "ExpiredToken" in error.value.why
    assert f"subnet {subnet}: DependencyViolation" in error.value.why
    assert f"{blocker} (of a load balancer)" in error.value.why
    api.call("ec2", "delete_network_interface", NetworkInterfaceId=blocker)
    cloud.faults.clear()
    destroy(tmp_path)
    assert left() == 0


def _tagged(name: str) -> dict[str, Any]:
    return {"Name": "tag:mlb:fleet", "Values": [name]}


def test_the_state_in_a_bucket(tmp_path: Path, cloud: Cloud) -> None:
    api = Aws("us-east-1").api
    api.call("s3", "create_bucket", Bucket="mlb-states")
    made = apply(tmp_path, state="s3://mlb-states/team").fleet
    folder = FleetFolder(tmp_path, "aws")
    keys = [item["Key"] for item in api.pages("s3", "list_objects_v2", "Contents", Bucket="mlb-states")]
    assert keys == [f"team/{made.blueprint.resource_name}.tfstate"], "the state is there, its lock is given back"
    assert not (folder.module / "terraform.tfstate").exists()
    assert not apply(tmp_path).plan.changes, "a second apply has nothing to do"
    destroy(tmp_path)
    assert left() == 0


def test_a_killed_terraform_leaves_no_lock_in_the_bucket(tmp_path: Path, cloud: Cloud) -> None:
    api = Aws("us-east-1").api
    api.call("s3", "create_bucket", Bucket="mlb-locks")

    def kill(event: Any) -> None:
        if event["type"] == "apply_start" and not killed:
            killed.append(int(json.loads(FleetFolder(tmp_path, "aws").lock_file.read_text())["group"]))
            keys.extend(_keys(api))
            os.kill(killed[0], signal.SIGKILL)

    killed: list[int] = []
    keys: list[str] = []
    with pytest.raises(ProvisionFailed, match="nothing of it is left"):
        apply(tmp_path, watcher=Watcher(event=kill), state="s3://mlb-locks/team")
    assert any(key.endswith(".tflock") for key in keys), "Terraform held the lock when it was killed"
    assert [key for key in _keys(api) if key.endswith(".tflock")] == [], "nobody would ever give it back"
    assert left() == 0


def _keys(api: Any) -> list[str]:
    return [item["Key"] for item in api.call("s3", "list_objects_v2", Bucket="mlb-locks").get("Contents", ())]
