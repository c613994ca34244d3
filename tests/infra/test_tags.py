"""`mlb infra gc`: what is past its deadline is found by tag in every region, and others' fleets are left alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
from mlb.cli.infra_tags import Where, collect
from mlb.errors import PreflightError, TeardownIncomplete
from mlb.infra.aws import Aws
from mlb.infra.blueprint import iso, this_owner
from mlb.infra.cloud import TaggedFleet
from mlb.infra.places import REGIONS

if TYPE_CHECKING:
    from .moto_cloud import Cloud

pytestmark = [
    pytest.mark.system,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
EVERYWHERE = Where("aws", "", "")


def make(region: str, fleet: str, owner: str, expires_epoch: int) -> str:
    """A VPC with a fleet's tags, as a fleet leaves it whose machines have ended themselves."""
    tags = {"mlb:fleet": fleet, "mlb:fleet-id": fleet, "mlb:owner": owner, "mlb:expires-at": iso(expires_epoch)}
    marks = [{"ResourceType": "vpc", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]
    made = Aws(region).api.call("ec2", "create_vpc", CidrBlock="10.20.0.0/16", TagSpecifications=marks)
    return str(made["Vpc"]["VpcId"])


def names(*regions: str) -> set[str]:
    return {fleet.name for region in regions for fleet in Aws(region).fleets()}


@pytest.fixture
def fleets(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Two of ours past their deadline in two regions, one of somebody else's, one that has its time left."""
    from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend

    # An account with three regions, of which one is newer than this version of mlb.
    three = [r for r in RegionsAndZonesBackend.regions if r.name in ("us-east-1", "eu-west-1", "ap-south-1")]
    monkeypatch.setattr(RegionsAndZonesBackend, "regions", three)
    monkeypatch.setitem(REGIONS, "aws", tuple(name for name in REGIONS["aws"] if name != "eu-west-1"))
    return {
        "near": make("us-east-1", "near", this_owner(), 1_000_000_000),
        "far": make("eu-west-1", "far", this_owner(), 1_000_000_000),
        "theirs": make("us-east-1", "theirs", "bob@lab", 1_000_000_000),
        "young": make("us-east-1", "young", this_owner(), 4_000_000_000),
    }


def gc(capsys: pytest.CaptureFixture[str], **asked: bool) -> Any:
    collect(EVERYWHERE, everywhere=True, as_json=True, **{"yes": False, "all_owners": False, **asked})
    return json.loads(capsys.readouterr().out)


def test_only_what_is_ours_and_over_is_removed(fleets: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    listed = gc(capsys)
    assert {f["name"] for f in listed["fleets"]} == {"near", "far"}
    assert [(f["name"], f["owner"]) for f in listed["of_others"]] == [("theirs", "bob@lab")]
    assert names("us-east-1", "eu-west-1") == set(fleets), "a list removes nothing"
    assert gc(capsys, yes=True)["removed"] is True
    assert names("us-east-1", "eu-west-1") == {"theirs", "young"}
    collect(EVERYWHERE, everywhere=True, yes=True, all_owners=False, as_json=False)
    assert "1 rented by others are left alone; --all-owners takes them too" in capsys.readouterr().out
    assert gc(capsys, yes=True, all_owners=True)["of_others"] == []
    assert names("us-east-1", "eu-west-1") == {"young"}
    Aws("us-east-1").api.call("ec2", "delete_vpc", VpcId=fleets["young"])


def test_what_cannot_be_removed_or_seen_keeps_nothing_else_alive(
    fleets: dict[str, str], cloud: Cloud, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from .moto_cloud import Fault

    real = Aws.fleets

    def some(self: Aws) -> Sequence[TaggedFleet]:
        if self.region == "ap-south-1":
            raise PreflightError("AWS refused describe_vpcs: UnauthorizedOperation.")
        return real(self)

    monkeypatch.setattr(Aws, "fleets", some)
    cloud.faults.append(Fault("DeleteVpc", "DependencyViolation", times=3))  # the three tries of whichever is first
    with pytest.raises(TeardownIncomplete, match="1 of 2 fleets are not provably gone") as error:
        gc(capsys, yes=True)
    assert error.value.exit_code == 9
    assert "DependencyViolation" in error.value.why
    assert "! ap-south-1 could not be looked at: AWS refused" in capsys.readouterr().err
    assert len(names("us-east-1", "eu-west-1") & {"near", "far"}) == 1, "the other one went all the same"
    assert gc(capsys, yes=True, all_owners=True)["removed"] is True
    Aws("us-east-1").api.call("ec2", "delete_vpc", VpcId=fleets["young"])
