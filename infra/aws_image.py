"""Whether the image that a fleet is to boot is there, and fits its machines: said before anything is created."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import PreflightError
from .aws_api import Api, AwsRefused
from .catalogue import Machine
from .images import Image, image_of
from .spec import FleetSpec

_UNKNOWN = frozenset(
    {"InvalidAMIID.NotFound", "InvalidAMIID.Malformed", "InvalidAMIID.Unavailable", "ParameterNotFound"}
)


def check(api: Api, spec: FleetSpec, machine: Machine) -> None:
    """Raises PreflightError for an image that is not to be had, is of another processor, or needs a larger disk."""
    image = image_of(spec, machine)
    found = _found(api, image)
    if found is None:
        raise PreflightError(
            f"The image {image.name} is not to be had in {api.region}.",
            fix="Write --image ami-0123456789abcdef0, an SSM parameter (/aws/service/...), or OWNER/NAME-PATTERN;\n"
            "an image's id holds in one region alone.",
        )
    arch = str(found.get("Architecture", machine.arch))
    if arch != machine.arch:
        raise PreflightError(
            f"The image {image.name} is for {arch}, and {machine.id} is {machine.arch}.",
            fix="Choose another --image or another --instance-type.",
        )
    need = _root_gb(found)
    if need > spec.disk_gb:
        raise PreflightError(f"The image {image.name} needs a disk of {need} GB.", fix=f"Add --disk-gb {need} or more.")


def _found(api: Api, image: Image) -> Mapping[str, Any] | None:
    try:
        if image.kind == "name":
            by_name = [{"Name": "name", "Values": [image.name]}]
            found = api.pages("ec2", "describe_images", "Images", Owners=[image.owner], Filters=by_name)
            return max(found, key=lambda one: str(one.get("CreationDate", "")), default=None)
        image_id = image.name
        if image.kind == "parameter":
            image_id = str(api.call("ssm", "get_parameter", Name=image.name)["Parameter"]["Value"])
        return next(iter(api.call("ec2", "describe_images", ImageIds=[image_id])["Images"]), None)
    except AwsRefused as error:
        if error.code in _UNKNOWN:
            return None
        raise


def _root_gb(found: Mapping[str, Any]) -> int:
    devices = {d.get("DeviceName"): d.get("Ebs", {}) for d in found.get("BlockDeviceMappings", ())}
    return int(devices.get(found.get("RootDeviceName"), {}).get("VolumeSize", 0))
