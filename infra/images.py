"""Which image a node boots: an id, an SSM parameter, a name with its owner, or a family."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ..errors import UsageError
from .catalogue import Machine
from .spec import FleetSpec

DOCKER_BASE = "debian:bookworm-slim"
_DLAMI = "/aws/service/deeplearning/ami/{arch}/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
_UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{arch}/hvm/ebs-gp3/ami-id"
_UBUNTU_ARCH = {"x86_64": "amd64", "arm64": "arm64"}


@dataclass(frozen=True)
class Image:
    """An image by name; `owner` is the account or project where the kind needs one."""

    kind: Literal["id", "parameter", "name", "family"]
    name: str
    owner: str = ""


def image_of(spec: FleetSpec, machine: Machine | None) -> Image:
    """The image that the spec names, or the machine's default; raises UsageError for a form that is none."""
    if spec.cloud == "docker" or machine is None:
        return Image("id", spec.image or DOCKER_BASE)
    if spec.cloud == "aws":
        return _aws(spec.image) if spec.image else _aws_default(machine)
    return _gcp(spec.image) if spec.image else _gcp_default(machine)


def usual_user(spec: FleetSpec) -> str:
    """The account that the default images come with; on GCP the account is made from the key's metadata."""
    return spec.ssh_user or {"aws": "ubuntu", "gcp": "mlb", "docker": "root", "ssh": "root"}[spec.cloud]


def _aws(text: str) -> Image:
    if re.fullmatch(r"ami-[0-9a-f]{8,17}", text):
        return Image("id", text)
    if text.startswith("/"):
        return Image("parameter", text)
    owner, _, name = text.partition("/")
    if not name:
        raise UsageError(
            f"{text!r} is not an image of AWS.",
            fix="Write ami-0123456789abcdef0, an SSM parameter (/aws/service/...), or OWNER/NAME-PATTERN.",
        )
    return Image("name", name, owner)


def _aws_default(machine: Machine) -> Image:
    if machine.gpu.startswith("V100"):
        raise UsageError(
            "The default image's open NVIDIA driver does not serve a V100.",
            fix="Name an image with the closed driver: --image ami-... or --image amazon/NAME-PATTERN.",
        )
    if machine.gpus:
        return Image("parameter", _DLAMI.format(arch=machine.arch))
    return Image("parameter", _UBUNTU.format(arch=_UBUNTU_ARCH[machine.arch]))


def _gcp(text: str) -> Image:
    if text.startswith(("projects/", "https://")):
        return Image("id", text)
    owner, _, family = text.partition("/")
    if not family or "/" in family:
        raise UsageError(
            f"{text!r} is not an image of GCP.",
            fix="Write PROJECT/FAMILY or projects/PROJECT/global/images/NAME.",
        )
    return Image("family", family, owner)


def _gcp_default(machine: Machine) -> Image:
    if machine.gpus:
        return Image("family", "common-cu128-ubuntu-2204-nvidia-570", "deeplearning-platform-release")
    return Image("family", "ubuntu-2404-lts-amd64", "ubuntu-os-cloud")
