"""The least-privilege files of docs/ against the calls that are really made: none missing, none for nothing."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from mlb.infra import by_tag
from mlb.infra.aws import Aws
from mlb.infra.gcp import Gcp

from .conftest import need

need("moto", find_spec("moto"), module=True)
from .fake_gce import PROJECT, Gce  # noqa: E402
from .moto_cloud import Cloud  # noqa: E402
from .test_aws import LIMITS, apply, destroy, home, left  # noqa: E402, F401  # home is a fixture
from .test_gcp import cloud as gce_cloud  # noqa: E402, F401
from .test_gcp import login, server  # noqa: E402, F401

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
DOCS = Path(__file__).resolve().parents[2] / "docs"

NOT_MADE_HERE = {
    "ec2:CreateTags": "no call, but what IAM asks for where something is tagged while it is made",
    "ec2:DeleteRoute": "a changed route table; the provider makes it when a fleet's rules change",
    "ec2:DeleteVolume": "a volume that outlived its machine, which moto's never do",
    "ec2:DescribeImages": "an image by name, or by id: `--image`",
    "ec2:DescribeInstanceStatus": "the provider's wait for a machine in some states",
    "ec2:DescribeNetworkInterfaces": "what holds a network that cannot go, and the provider's own look at it",
    "ec2:DescribeRegions": "`mlb infra gc --all-regions`",
    "ec2:DescribeSpotPriceHistory": "`mlb catalog refresh`",
    "ec2:DescribeSpotInstanceRequests": "spot machines",
    "ec2:ModifySubnetAttribute": "the provider, where a subnet's setting differs",
    "ec2:ModifyVpcAttribute": "the provider, where a network's setting differs",
    "pricing:GetProducts": "`mlb catalog refresh`",
    "s3:DeleteObject": "`--state s3://`: the lock",
    "s3:GetObject": "`--state s3://`",
    "s3:ListBucket": "`--state s3://`",
    "s3:PutObject": "`--state s3://`",
}
"""What the policy allows although this test does not see it asked for, and why."""


def allowed() -> set[str]:
    policy = json.loads((DOCS / "aws-policy.json").read_text())
    assert all(statement["Effect"] == "Allow" for statement in policy["Statement"])
    return {action for statement in policy["Statement"] for action in statement["Action"]}


def test_nothing_is_allowed_by_a_wildcard() -> None:
    assert not [action for action in allowed() if "*" in action]
    policy = json.loads((DOCS / "aws-policy.json").read_text())
    for statement in policy["Statement"]:
        removes = [a for a in statement["Action"] if re.search(r"ec2:(Delete|Terminate|Detach|Revoke)", a)]
        if removes:
            assert statement["Condition"]["Null"] == {"aws:ResourceTag/mlb:fleet-id": "false"}, removes


def test_the_policy_has_every_call_and_no_other(home: Path, cloud: Cloud) -> None:  # noqa: F811
    """One fleet removed by its tags alone, one by Terraform, both looked at in between."""
    cloud.asked.clear()
    apply(home, gpus=2, nodes=2)
    for fleet in Aws("us-east-1").fleets():
        by_tag.collect(Aws("us-east-1"), fleet)
    destroy(home)
    apply(home, gpus=2, nodes=1)
    destroy(home)
    assert left() == 0
    asked = set(cloud.asked)
    assert "ec2:RunInstances" in asked
    assert asked - allowed() == set(), "the policy in docs/aws-policy.json lacks these"
    assert allowed() - asked - set(NOT_MADE_HERE) == set(), "nobody asks for these: take them out, or say why"


GCP_DOCUMENTED = {
    "compute.acceleratorTypes.list": "machines whose GPUs are attached to them",
    "compute.disks.create": "boot disks are made with their machine",
    "compute.disks.delete": "a disk that outlived its machine",
    "compute.disks.get": "the provider, of a boot disk",
    "compute.disks.setLabels": "labels of boot disks",
    "compute.firewalls.update": "another --allow-cidr",
    "compute.images.get": "an image of your own project: --image",
    "compute.images.getFromFamily": "the same, by family",
    "compute.images.useReadOnly": "the same",
    "compute.instances.setLabels": "the provider, where labels changed",
    "compute.instances.setMetadata": "metadata of a new machine",
    "compute.instances.setTags": "network tags of a new machine",
    "compute.machineTypes.get": "the provider's check of a machine type",
    "compute.networks.updatePolicy": "what a firewall rule does to its network",
    "compute.regions.get": "quotas of one region",
    "compute.resourcePolicies.use": "machines close to each other",
    "compute.subnetworks.use": "a machine in the fleet's network",
    "compute.subnetworks.useExternalIp": "its address",
    "compute.zones.get": "the provider's check of a zone",
}
"""What the role allows although the fake service sees no call of that name, and why."""


def gcp_allowed() -> set[str]:
    return set(re.findall(r"^  - (compute\.\w+\.\w+)$", (DOCS / "gcp-role.yaml").read_text(), re.MULTILINE))


def gcp_permission(method: str, path: str) -> str | None:
    """The permission that Google's reference names for a call; None for a public image of another project."""
    project, *rest = path.split("/")
    if project != PROJECT:
        return None
    scope = rest[0] if rest else ""
    if scope in ("zones", "regions") and len(rest) < 3:
        return f"compute.{scope}.{'get' if len(rest) == 2 else 'list'}"
    rest = rest[2:] if scope in ("zones", "regions") else rest[1:]
    if not rest:
        return "compute.projects.get"
    kind, *named = rest
    if kind == "operations":
        return f"compute.{ {'zones': 'zone', 'regions': 'region', 'global': 'global'}[scope] }Operations.get"
    if kind == "images" and named and named[0] == "family":
        return "compute.images.getFromFamily"
    if len(named) == 2:
        return f"compute.{kind}.{named[1]}"
    verbs = {"GET": "get" if named else "list", "POST": "create", "DELETE": "delete", "PATCH": "update"}
    return f"compute.{kind}.{verbs[method]}"


def test_google_s_role_has_every_permission(tmp_path: Path, gce_cloud: Gce) -> None:  # noqa: F811
    from . import test_gcp

    gce_cloud.asked.clear()
    state = tmp_path / "gcp"
    test_gcp.apply(state, gpus=2, nodes=1)
    for fleet in Gcp().fleets():
        by_tag.collect(Gcp(), fleet)
    test_gcp.destroy(state)
    test_gcp.apply(state, gpus=2, nodes=1)
    test_gcp.destroy(state)
    asked = {permission for call in set(gce_cloud.asked) if (permission := gcp_permission(*call))}
    assert "compute.instances.create" in asked
    assert asked - gcp_allowed() == set(), "the role in docs/gcp-role.yaml lacks these"
    assert gcp_allowed() - asked - set(GCP_DOCUMENTED) == set(), "nobody asks for these: take them out, or say why"
