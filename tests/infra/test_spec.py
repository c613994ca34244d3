"""What a user may ask for, and what they are told when they may not."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from mlb.errors import UsageError
from mlb.infra.places import REGIONS, region_of_zone
from mlb.infra.spec import FleetSpec, parse_duration

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"cloud": "azure"}, "There is no cloud 'azure'"),
    ({"nodes": 0}, "--nodes must be 1 to 1000, not 0"),
    ({"nodes": 10_000}, "--nodes must be 1 to 1000, not 10000"),
    ({"cloud": "docker", "nodes": 201}, "--nodes must be 1 to 200"),
    ({"name": "${path.module}"}, "cannot be a fleet's name"),
    ({"name": 'a"b'}, "cannot be a fleet's name"),
    ({"name": "../a"}, "cannot be a fleet's name"),
    ({"name": "a\n"}, "cannot be a fleet's name"),
    ({"name": "-a"}, "cannot be a fleet's name"),
    ({"region": "us-esat-1"}, "Did you mean us-west-1 or us-east-1"),
    ({"region": "europe-west4"}, "There is no region 'europe-west4'"),
    ({"region": "eu-west-1", "zone": "us-east-1a"}, "is not a zone of eu-west-1"),
    ({"zone": "us-east-1"}, "is not a zone of us-east-1"),
    ({"cloud": "docker", "region": "us-east-1"}, "A docker fleet has no region"),
    ({"allow_cidr": "0.0.0.0/0"}, "opens port 22 of every node to the whole internet"),
    ({"allow_cidr": "10.0.0.1/8"}, "host bits set"),
    ({"allow_cidr": "me"}, "is not an IPv4 network"),
    ({"ttl_s": 5}, "--ttl (seconds) must be 600"),
    ({"image": "a\nb"}, "characters that no such name has"),
    ({"gpu_type": "T4", "gpus": 0}, "makes no sense"),
    ({"state": "gs://bucket/x"}, "is no place for the state of a fleet on aws"),
    ({"state": "s3://bucket/../x"}, "is no place for the state"),
    ({"state": "s3://b/${x}"}, "is no place for the state"),
    ({"cloud": "gcp", "state": "s3://bucket/x"}, "is no place for the state of a fleet on gcp"),
    ({"cloud": "gcp", "state": "gs://bucket/x?region=us-east1"}, "is no place for the state"),
    ({"cloud": "docker", "state": "s3://bucket/x"}, "is kept on this machine"),
    ({"max_price": Decimal(0)}, "--max-price must be a finite number above 0, not 0"),
    ({"max_price": Decimal("nan")}, "--max-price must be a finite number above 0, not NaN"),
    ({"max_price": Decimal("snan")}, "--max-price must be a finite number above 0, not sNaN"),
    ({"max_price": Decimal("inf")}, "--max-price must be a finite number above 0, not Infinity"),
    ({"max_price": Decimal(-1)}, "--max-price must be a finite number above 0, not -1"),
    ({"ssh_user": "Robert'); --"}, "cannot be an account's name"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_wrong_spec_says_what_is_wrong(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        FleetSpec(**{"name": "a", "cloud": "aws", **change})
    assert message in str(error.value)


def test_defaults_are_finite_and_closed() -> None:
    spec = FleetSpec(name="a", cloud="aws")
    assert (spec.ttl_s, spec.region, spec.allow_world, spec.spot) == (14_400, "us-east-1", False, False)


def test_a_zone_brings_its_region() -> None:
    assert FleetSpec(name="a", cloud="aws", zone="eu-west-1b").region == "eu-west-1"
    assert FleetSpec(name="a", cloud="gcp", zone="europe-west12-c").region == "europe-west12"


def test_every_region_is_a_whole_word_with_zones() -> None:
    for cloud, regions in REGIONS.items():
        for region in regions:
            assert region_of_zone(cloud, f"{region}a" if cloud == "aws" else f"{region}-a") == region


def test_json_and_back() -> None:
    spec = FleetSpec(name="a", cloud="gcp", gpus=2, max_price=Decimal("12.5"), zone="us-east4-a")
    raw = json.loads(json.dumps(spec.to_json()))
    assert FleetSpec.from_json({**raw, "of_a_later_version": 1}) == spec


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("4h", 14400), ("1h30m", 5400), ("2D", 172800)])
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "4", "h", "4 h", "-4h", "4h!"])
def test_no_durations(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(text)
