"""What the fake Compute Engine knows of the world: places, machines, images, and which quotas a machine takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

BASE = "/compute/v1/"
Resource = dict[str, Any]

REGIONS = ("us-central1", "us-east4", "europe-west4")
ZONES = tuple(f"{region}-{letter}" for region in REGIONS for letter in "abc")
_ALL_BUT_C = tuple(zone for zone in ZONES if not zone.endswith("-c"))

IMAGES = {
    ("deeplearning-platform-release", "common-cu128-ubuntu-2204-nvidia-570"): ("common-cu128-v20261101", 50),
    ("ubuntu-os-cloud", "ubuntu-2404-lts-amd64"): ("ubuntu-2404-noble-amd64-v20261112", 10),
}

_GPU_METRICS = {
    "nvidia-tesla-t4": "NVIDIA_T4_GPUS",
    "nvidia-tesla-a100": "NVIDIA_A100_GPUS",
    "nvidia-l4": "NVIDIA_L4_GPUS",
}
# machine type, vCPUs, the quota of its CPUs, its own or attached GPUs
_ROWS = (
    ("n2-standard-4", 4, "N2_CPUS", "", 0, ZONES),
    ("n1-standard-8", 8, "CPUS", "nvidia-tesla-t4", 2, _ALL_BUT_C),
    ("a2-highgpu-1g", 12, "A2_CPUS", "nvidia-tesla-a100", 1, _ALL_BUT_C),
    ("a2-highgpu-2g", 24, "A2_CPUS", "nvidia-tesla-a100", 2, _ALL_BUT_C),
    ("g2-standard-24", 24, "", "nvidia-l4", 2, ZONES),
)
MACHINES: list[dict[str, Any]] = [
    {"machineType": m, "vcpus": v, "cpu_metric": c, "accelerator": a, "gpus": g, "zones": z}
    for m, v, c, a, g, z in _ROWS
]


class Refused(Exception):
    """An answer of the service that is an error."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message


def needs_of(wanted: dict[str, Any]) -> dict[str, float]:
    """The quotas that an instance, or a row of MACHINES, takes."""
    machine = next(m for m in MACHINES if m["machineType"] == wanted["machineType"].rpartition("/")[2])
    attached = sum(g["acceleratorCount"] for g in wanted.get("guestAccelerators", []))
    gpus = attached if machine["machineType"].startswith("n1-") and "disks" in wanted else machine["gpus"]
    disk = sum(float(d["initializeParams"]["diskSizeGb"]) for d in wanted.get("disks", []))
    needs: dict[str, float] = {"INSTANCES": 1, "IN_USE_ADDRESSES": 1, "SSD_TOTAL_GB": disk}
    if machine["cpu_metric"]:
        needs[machine["cpu_metric"]] = machine["vcpus"]
    if gpus:
        needs |= {_GPU_METRICS[machine["accelerator"]]: gpus, "GPUS_ALL_REGIONS": gpus}
    return needs


def problem_with(wanted: dict[str, Any], zone: str, known_links: set[str]) -> str:
    """What the service would refuse an instance for, or nothing."""
    machine_type = wanted["machineType"].rpartition("/")[2]
    machine = next((m for m in MACHINES if m["machineType"] == machine_type), None)
    if machine is None or zone not in machine["zones"]:
        return f"Invalid value for field 'resource.machineType': machine type {machine_type} does not exist in {zone}"
    scheduling = wanted["scheduling"]
    has_gpus = machine["gpus"] and (not machine_type.startswith("n1-") or wanted.get("guestAccelerators"))
    if has_gpus and scheduling.get("onHostMaintenance") != "TERMINATE":
        return "Instances with guest accelerators do not support live migration."
    if "maxRunDuration" in scheduling and scheduling.get("instanceTerminationAction") not in ("DELETE", "STOP"):
        return "Invalid value for field 'resource.scheduling': maxRunDuration needs an instanceTerminationAction."
    links = [nic["subnetwork"] for nic in wanted["networkInterfaces"]] + wanted.get("resourcePolicies", [])
    for link in links:
        if link.rpartition("/v1/")[2] not in known_links:
            return f"Invalid value: the resource '{link}' was not found"
    image = wanted["disks"][0]["initializeParams"]["sourceImage"].rpartition("/")[2]
    return (
        "" if image in {name for name, _ in IMAGES.values()} | {"debian-12"} else f"The image '{image}' was not found"
    )


def image(project: str, path: str) -> Resource:
    for (owner, family), (name, gb) in IMAGES.items():
        if (owner, path) in ((project, f"family/{family}"), (project, name)):
            link = f"https://www.googleapis.com{BASE}projects/{owner}/global/images/{name}"
            return {"name": name, "family": family, "selfLink": link, "status": "READY", "diskSizeGb": str(gb)}
    if (project, path) == ("debian-cloud", "debian-12"):
        return {"name": path, "selfLink": f"{BASE}projects/{project}/global/images/{path}", "diskSizeGb": "10"}
    raise Refused(404, "notFound", f"The resource 'projects/{project}/global/images/{path}' was not found")


def uses(user: Resource, link: str) -> bool:
    """Whether a resource names another one anywhere in its fields."""
    return any(link in text for key, text in _texts(user) if key != "selfLink")


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _texts(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part, key)
    elif isinstance(value, str):
        yield key, value


def matches(item: Resource, expression: str) -> bool:
    """`name=VALUE`, `labels.KEY=VALUE` or `labels.KEY:*`; anything else is refused, as a slip would be."""
    if not expression:
        return True
    parsed = re.fullmatch(r"(name|labels\.[a-z-]+)\s*([=:])\s*\"?([\w*-]+)\"?", expression)
    if not parsed or (parsed[2] == ":") != (parsed[3] == "*"):
        raise Refused(400, "invalid", f"Invalid value for field 'filter': '{expression}'")
    where, key = (item, "name") if parsed[1] == "name" else (item.get("labels", {}), parsed[1].partition(".")[2])
    return key in where if parsed[3] == "*" else where.get(key) == parsed[3]
