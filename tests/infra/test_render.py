"""The rendered modules, whole, against golden files; `MLB_ACCEPT=1 pytest` accepts what differs."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlb.errors import UsageError
from mlb.infra.blueprint import Blueprint
from mlb.infra.catalogue import load
from mlb.infra.quote import make_quote
from mlb.infra.render import hcl, render
from mlb.infra.spec import FleetSpec

GOLDEN = Path(__file__).parent.parent / "golden" / "infra"
CREATED = 1_795_500_000
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKbZ0mwHk6yq3Wb3mGXJd9Q4mC5rXwq3rJp0f3sPqf1D"

SPECS: dict[str, dict[str, Any]] = {
    "aws-two-gpus": {"cloud": "aws", "nodes": 4, "gpus": 2},
    "aws-spot-t4": {"cloud": "aws", "nodes": 2, "gpus": 1, "gpu_type": "T4", "spot": True, "disk_gb": 200},
    "aws-cpu": {"cloud": "aws", "region": "eu-west-1"},
    "aws-image-by-name": {
        "cloud": "aws",
        "gpus": 8,
        "gpu_type": "V100",
        "image": "amazon/Deep Learning Base*",
    },
    "aws-image-by-id": {"cloud": "aws", "gpus": 1, "image": "ami-0123456789abcdef0", "ssh_user": "ec2-user"},
    "aws-state-in-a-bucket": {"cloud": "aws", "gpus": 1, "state": "s3://mlb-states/team/x?region=eu-west-1"},
    "gcp-two-gpus": {"cloud": "gcp", "nodes": 4, "gpus": 2, "gpu_type": "A100"},
    "gcp-spot-t4": {"cloud": "gcp", "nodes": 2, "gpus": 2, "gpu_type": "T4", "spot": True},
    "gcp-state-in-a-bucket": {"cloud": "gcp", "gpus": 2, "gpu_type": "A100", "state": "gs://mlb_states/team/x"},
    "gcp-cpu": {
        "cloud": "gcp",
        "region": "europe-west4",
        "image": "projects/debian-cloud/global/images/debian-12",
    },
    "docker-four": {"cloud": "docker", "nodes": 4},
    "docker-gpus": {"cloud": "docker", "nodes": 2, "gpus": 2, "image": "ubuntu:24.04", "memlock": True},
}


def blueprint(name: str = "bench", **asked: Any) -> Blueprint:
    spec = FleetSpec(name=name, allow_cidr="198.51.100.7/32", **asked)
    chosen = make_quote(spec, load(), load().prices[0].dated or None).chosen  # type: ignore[arg-type]
    return Blueprint(
        spec=spec,
        fleet_id="0a1b2c3d",
        machine=chosen.machine if chosen else None,
        zone={"aws": f"{spec.region}a", "gcp": f"{spec.region}-a"}.get(spec.cloud, ""),
        created=CREATED,
        owner="ada@example.org",
        version="0.1.0",
        public_key=KEY,
        account={"aws": "123456789012", "gcp": "bench-1234"}.get(spec.cloud, ""),
        subnet="10.211.7",
        ports=tuple(range(42000, 42000 + spec.nodes)),
    )


@pytest.mark.parametrize("case", SPECS)
def test_the_module_is_as_accepted(case: str) -> None:
    for name, text in render(blueprint(**SPECS[case]), CREATED).items():
        file = GOLDEN / case / name
        if os.environ.get("MLB_ACCEPT"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8"), f"{file} differs; accept it with MLB_ACCEPT=1"


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("a", '"a"'),
        ('a"b\\c\n', '"a\\"b\\\\c\\n"'),
        ("${path.module} %{ if true }", '"$${path.module} %%{ if true }"'),
        ("$${a}", '"$$${a}"'),
        (True, "true"),
        (3, "3"),
        (["a", 1], '["a", 1]'),
    ],
)
def test_literals(value: Any, literal: str) -> None:
    assert hcl(value) == literal


def test_an_undefined_or_odd_value_never_becomes_text() -> None:
    with pytest.raises(TypeError, match="no HCL literal for NoneType"):
        hcl(None)


def test_the_image_that_was_resolved_is_pinned() -> None:
    pinned = replace(blueprint(cloud="aws", gpus=2), image_id="ami-00000000000000001")
    text = render(pinned, CREATED)["main.tf"]
    assert '= "ami-00000000000000001"\n' in text
    assert "aws_ssm_parameter" not in text


def test_a_later_node_gets_the_time_that_is_left() -> None:
    assert "seconds = 3600\n" in render(blueprint(cloud="gcp", gpus=2), CREATED + 3 * 3600)["main.tf"]


def test_json_and_back() -> None:
    for asked in SPECS.values():
        made = blueprint(**asked)
        assert Blueprint.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"cloud": "aws", "gpus": 1, "image": "ubuntu"}, "is not an image of AWS"),
        ({"cloud": "aws", "gpus": 4, "gpu_type": "V100"}, "does not serve a V100"),
        ({"cloud": "gcp", "gpus": 1, "image": "ubuntu"}, "is not an image of GCP"),
    ],
)
def test_an_image_that_is_none(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        render(blueprint(**asked), CREATED)
