"""GCP beside Terraform: whose project, is there quota, which zones, whose host keys, what is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from ..errors import PreflightError
from . import gcp_quota, gcp_sweep
from .blueprint import Blueprint
from .catalogue import Machine
from .cloud import Leftover, Place, TaggedFleet
from .fleet import Node
from .gcp_api import Api, GcpRefused
from .images import image_of
from .render import node_address

GUEST_POLL_S = 2.0
_KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")
# On their way up; anything else is a machine that does not work and will not by itself.
_ALIVE = frozenset({"PROVISIONING", "STAGING", "RUNNING"})


class Gcp:
    """See `cloud.Cloud`. `region` narrows what `fleets` shows; without it that is the whole project."""

    no_host_key = (
        "it has not published its host keys: Google's guest agent writes them to the guest attributes `hostkeys/`; an "
        "image without it, or an organisation's policy against guest attributes, keeps it from doing so. Without them "
        "there is no safe first connection"
    )

    def __init__(self, project: str = "", region: str = "") -> None:
        self.api = Api(project)
        self.region = region

    def preflight(self, blueprint: Blueprint, adding: int) -> Place:
        assert blueprint.machine is not None
        quotas = self._project_quotas()
        zones = self._zones(blueprint, blueprint.machine)
        if adding <= 0:
            return Place(self.api.project, zones)
        self._check_image(blueprint)
        return Place(self.api.project, zones, tuple(self._check_quota(blueprint, blueprint.machine, adding, quotas)))

    def prepare(self, blueprint: Blueprint) -> Blueprint:
        """The project stays the fleet's own, whatever the environment says later."""
        return replace(blueprint, spec=replace(blueprint.spec, project=blueprint.account))

    def lost(self, blueprint: Blueprint) -> Sequence[str]:
        """Machines that were stopped: Terraform sees that they exist, and is content."""
        names = {f"{blueprint.resource_name}-{i}": i for i in range(blueprint.spec.nodes)}
        return [
            node_address("gcp", names[instance.name])
            for _, instance in self._instances(blueprint.fleet_id)
            if instance.name in names and instance.status not in _ALIVE
        ]

    def alive(self, blueprint: Blueprint) -> Mapping[str, str]:
        return {instance.name: instance.status.lower() for _, instance in self._instances(blueprint.fleet_id)}

    def host_keys(self, nodes: Sequence[Node], deadline_s: float) -> Mapping[str, Sequence[str]]:
        """From the machines' guest attributes, where Google's guest agent writes them: only the machine can."""
        until = time.monotonic() + deadline_s
        stop = threading.Event()
        zones = {instance.name: zone for zone, instance in self.api.everywhere("Instances", "instances", _any_fleet())}
        with ThreadPoolExecutor(max_workers=min(32, len(nodes))) as pool:
            try:
                found = pool.map(lambda node: self._guest_keys(node, zones.get(node.id, ""), until, stop), nodes)
                return {node.name: keys for node, keys in zip(nodes, found, strict=True)}
            finally:
                stop.set()

    def left(self, fleet_id: str) -> Sequence[Leftover]:
        return gcp_sweep.left(self.api, fleet_id)

    def remove(self, leftovers: Sequence[Leftover]) -> Sequence[str]:
        return gcp_sweep.remove(self.api, leftovers)

    def fleets(self) -> Sequence[TaggedFleet]:
        groups: dict[str, list[dict[str, str]]] = {}
        for _, marks in gcp_sweep.marked(self.api):
            groups.setdefault(marks[gcp_sweep.FLEET_ID], []).append(marks)
        found = [_tagged(fleet_id, group) for fleet_id, group in groups.items()]
        return [fleet for fleet in found if self.region in ("", fleet.region)]

    def _project_quotas(self) -> Mapping[str, gcp_quota.Quota]:
        """The first call of all: it tells whether the project is there and may be used."""
        try:
            return gcp_quota.listed(self.api.call("Projects", "get").quotas)
        except GcpRefused as error:
            if error.status not in (403, 404):
                raise
            project = self.api.project
            raise PreflightError(
                f"The project {project} cannot be used with these credentials.",
                why=error.why,
                fix="Choose another --project, ask for the role Compute Admin, or switch the interface on:\n"
                f"gcloud services enable compute.googleapis.com --project {project}",
            ) from None

    def _zones(self, blueprint: Blueprint, machine: Machine) -> tuple[str, ...]:
        region, wanted = blueprint.spec.region, blueprint.spec.zone
        offered = self._offering("MachineTypes", "machine_types", machine.machine_type)
        if machine.accelerator:
            offered &= self._offering("AcceleratorTypes", "accelerator_types", machine.accelerator)
        up = {zone.name for zone in self.api.pages("Zones") if zone.status == "UP"}
        zones = tuple(sorted(z for z in offered & up if z.rpartition("-")[0] == region))
        if not zones or (wanted and wanted not in zones):
            elsewhere = sorted({z.rpartition("-")[0] for z in offered & up} - {region})
            others = f"It is in {', '.join(elsewhere)}." if elsewhere else ""
            raise PreflightError(
                f"{machine.id} is not offered in {wanted or region}.",
                why=f"In {region} it is in {', '.join(zones)}." if zones else others,
                fix="Choose another --region, --zone or --gpu-type.",
            )
        return (wanted,) if wanted else zones

    def _offering(self, service: str, field: str, name: str) -> set[str]:
        return {zone for zone, _ in self.api.everywhere(service, field, f"name={name}")}

    def _check_image(self, blueprint: Blueprint) -> None:
        """An image that is not there, or does not fit the disk, is said before anything is created."""
        image = image_of(blueprint.spec, blueprint.machine)
        if image.kind == "family":
            what = f"image family {image.name} of {image.owner}"
            request = {"project": image.owner, "family": image.name}
        else:
            what = image.name
            parts = image.name.partition("projects/")[2].split("/")
            request = {"project": parts[0], "image": parts[-1]}
        try:
            found = self.api.call("Images", "get_from_family" if image.kind == "family" else "get", **request)
        except GcpRefused as error:
            if error.status not in (403, 404):
                raise
            fix = "Write --image PROJECT/FAMILY or --image projects/PROJECT/global/images/NAME."
            raise PreflightError(f"The {what} is not to be had.", why=error.why, fix=fix) from None
        if found.disk_size_gb > blueprint.spec.disk_gb:
            raise PreflightError(
                f"The image {found.name} needs a disk of {found.disk_size_gb} GB.",
                fix=f"Add --disk-gb {found.disk_size_gb} or more.",
            )

    def _check_quota(
        self, blueprint: Blueprint, machine: Machine, adding: int, of_project: Mapping[str, gcp_quota.Quota]
    ) -> list[str]:
        spec, project = blueprint.spec, self.api.project
        in_region = gcp_quota.listed(self.api.call("Regions", "get", region=spec.region).quotas)
        overall = gcp_quota.project_needs(machine, adding, new=not blueprint.account)
        notes = gcp_quota.check(overall, of_project, "all regions", project)
        needs = gcp_quota.regional_needs(spec, machine, adding)
        return notes + gcp_quota.check(needs, in_region, spec.region, project, spot=spec.spot)

    def _instances(self, fleet_id: str) -> Sequence[tuple[str, Any]]:
        return list(self.api.everywhere("Instances", "instances", f"labels.{gcp_sweep.FLEET_ID}={fleet_id}"))

    def _guest_keys(self, node: Node, zone: str, until: float, stop: threading.Event) -> list[str]:
        while True:
            keys = self._keys_now(node, zone)
            if keys:
                return keys
            if time.monotonic() + GUEST_POLL_S >= until or stop.wait(GUEST_POLL_S):
                return []

    def _keys_now(self, node: Node, zone: str) -> list[str]:
        try:
            request = {"zone": zone, "instance": node.id, "query_path": "hostkeys/"}
            answer = self.api.call("Instances", "get_guest_attributes", **request)
        except GcpRefused as error:
            if error.is_gone:  # nothing has been written yet
                return []
            raise
        found = {item.key: f"{item.key} {item.value}" for item in answer.query_value.items}
        return [found[kind] for kind in _KINDS if kind in found]


def _any_fleet() -> str:
    return f"labels.{gcp_sweep.FLEET_ID}:*"


def _tagged(fleet_id: str, group: Sequence[Mapping[str, str]]) -> TaggedFleet:
    marks = group[0]
    expires = marks.get("mlb-expires-at", "")
    return TaggedFleet(
        name=marks.get("mlb-fleet", "?"),
        fleet_id=fleet_id,
        owner=marks.get("mlb-owner", "?"),
        region=marks.get("mlb-region", "?"),
        expires_epoch=int(expires) if expires.isdigit() else None,
        resources=len(group),
    )
