"""AWS beside Terraform: who pays, is there quota, which zones, whose host keys, what is there."""

from __future__ import annotations

import base64
import binascii
import re
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from ..errors import PreflightError
from . import aws_image, aws_sweep
from .aws_api import Api, AwsRefused
from .blueprint import Blueprint
from .catalogue import Machine
from .cloud import Leftover, Place, TaggedFleet
from .fleet import Node

CONSOLE_POLL_S = 5.0
# vCPUs of running machines, by family: on demand and spot.
_QUOTAS = {
    "g": ("L-DB2E81BA", "L-3819A6DF", "G and VT"),
    "p": ("L-417A185B", "L-7212CCBC", "P"),
    "m": ("L-1216C47A", "L-34B43A08", "Standard"),
}
_KEYS = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.S)
_KEY = re.compile(r"(ssh-ed25519|ecdsa-sha2-nistp256|ssh-rsa) ([A-Za-z0-9+/=]{60,1000})")


class Aws:
    """See `cloud.Cloud`."""

    no_host_key = "it has not shown its host key on its console: without it there is no safe first connection"

    def __init__(self, region: str, api: Api | None = None) -> None:
        self.region = region
        self.api = api or Api(region)

    def preflight(self, blueprint: Blueprint, adding: int) -> Place:
        account = str(self.api.call("sts", "get_caller_identity")["Account"])
        if blueprint.account and blueprint.account != account:
            raise PreflightError(
                f"The fleet belongs to the AWS account {blueprint.account}; these credentials are of {account}.",
                fix="Choose the profile of the fleet's account (AWS_PROFILE).",
            )
        assert blueprint.machine is not None
        zones = self._zones(blueprint, blueprint.machine)
        notes = self._check_quota(blueprint, blueprint.machine, adding) if adding > 0 else []
        if adding > 0 and not blueprint.image_id:
            aws_image.check(self.api, blueprint.spec, blueprint.machine)
        return Place(account, zones, tuple(notes))

    def prepare(self, blueprint: Blueprint) -> Blueprint:
        return blueprint

    def lost(self, blueprint: Blueprint) -> Sequence[str]:  # noqa: ARG002  # Terraform's refresh sees everything here
        return ()

    def alive(self, blueprint: Blueprint) -> Mapping[str, str]:
        by = [{"Name": f"tag:{aws_sweep.FLEET_ID}", "Values": [blueprint.fleet_id]}]
        found = self.api.pages("ec2", "describe_instances", "Reservations", Filters=by)
        return {i["InstanceId"]: i["State"]["Name"] for r in found for i in r["Instances"]}

    def host_keys(self, nodes: Sequence[Node], deadline_s: float) -> Mapping[str, Sequence[str]]:
        """From the machines' consoles, where the first boot prints them: only AWS and the machine write there."""
        until = time.monotonic() + deadline_s
        stop = threading.Event()
        with ThreadPoolExecutor(max_workers=min(32, len(nodes))) as pool:
            try:
                found = pool.map(lambda node: self._console_keys(node, until, stop), nodes)
                return {node.name: keys for node, keys in zip(nodes, found, strict=True)}
            finally:
                stop.set()

    def left(self, fleet_id: str) -> Sequence[Leftover]:
        return aws_sweep.left(self.api, fleet_id)

    def remove(self, leftovers: Sequence[Leftover]) -> Sequence[str]:
        return aws_sweep.remove(self.api, leftovers, threading.Event().wait)

    def fleets(self) -> Sequence[TaggedFleet]:
        groups: dict[str, list[dict[str, str]]] = {}
        for _, tags in aws_sweep.tagged(self.api, [{"Name": "tag-key", "Values": [aws_sweep.FLEET_ID]}]):
            groups.setdefault(tags[aws_sweep.FLEET_ID], []).append(tags)
        return [
            TaggedFleet(
                name=group[0].get("mlb:fleet", "?"),
                fleet_id=fleet_id,
                owner=group[0].get("mlb:owner", "?"),
                region=self.region,
                expires_epoch=_epoch(group[0].get("mlb:expires-at", "")),
                resources=len(group),
            )
            for fleet_id, group in groups.items()
        ]

    def _zones(self, blueprint: Blueprint, machine: Machine) -> tuple[str, ...]:
        offered = self.api.pages(
            "ec2",
            "describe_instance_type_offerings",
            "InstanceTypeOfferings",
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": [machine.machine_type]}],
        )
        zones = tuple(sorted(offer["Location"] for offer in offered))
        wanted = blueprint.spec.zone
        if not zones or (wanted and wanted not in zones):
            raise PreflightError(
                f"{machine.machine_type} is not offered in {wanted or self.region}.",
                why=f"In {self.region} it is in {', '.join(zones)}." if zones else "",
                fix="Choose another --region, --zone or --gpu-type.",
            )
        return (wanted,) if wanted else zones

    def _check_quota(self, blueprint: Blueprint, machine: Machine, adding: int) -> list[str]:
        """AWS counts vCPUs, of all running machines of a family together."""
        family = machine.machine_type[0]
        on_demand, spot, name = _QUOTAS[family]
        code = spot if blueprint.spec.spot else on_demand
        try:
            limit = self.api.call("service-quotas", "get_service_quota", ServiceCode="ec2", QuotaCode=code)
        except AwsRefused as error:
            return [f"The quota {code} could not be read ({error.code})."]
        allowed = float(limit["Quota"]["Value"])
        used = self._vcpus_in_use(family)
        need = machine.vcpus * adding
        if used + need > allowed:
            raise PreflightError(
                f"The quota for {name} machines{' (spot)' if blueprint.spec.spot else ''} is too small.",
                why=f"Needed: {need} vCPUs; in use: {used}; allowed: {allowed:g}; short by {used + need - allowed:g}.",
                fix=f"Ask for more: https://{self.region}.console.aws.amazon.com/servicequotas/home/services/ec2/"
                f"quotas/{code}",
            )
        return []

    def _vcpus_in_use(self, family: str) -> int:
        by = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        found = self.api.pages("ec2", "describe_instances", "Reservations", Filters=by)
        cpus = [
            i.get("CpuOptions", {})
            for r in found
            for i in r["Instances"]
            if i["InstanceType"].startswith(family) and not i["InstanceType"].startswith("mac")
        ]
        return sum(int(c.get("CoreCount", 0)) * int(c.get("ThreadsPerCore", 1)) for c in cpus)

    def _console_keys(self, node: Node, until: float, stop: threading.Event) -> list[str]:
        while True:
            keys = host_keys_in(self._console(node.id))
            if keys:
                return keys
            if time.monotonic() + CONSOLE_POLL_S >= until or stop.wait(CONSOLE_POLL_S):
                return []

    def _console(self, instance: str) -> str:
        try:
            raw = self.api.call("ec2", "get_console_output", InstanceId=instance, Latest=True)
        except AwsRefused:
            # Machines before Nitro (p3) have no live console, only the one that is stored now and then.
            raw = self.api.call("ec2", "get_console_output", InstanceId=instance)
        text = str(raw.get("Output", ""))
        try:
            return base64.b64decode(text, validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            return text


def everywhere() -> list[Aws]:
    """Every region that the account has switched on: its own list, which may be newer than ours."""
    api = Api("us-east-1")
    names = sorted(str(r["RegionName"]) for r in api.call("ec2", "describe_regions")["Regions"])
    return [Aws(name, api.elsewhere(name)) for name in names]


def host_keys_in(console: str) -> list[str]:
    """The public host keys that cloud-init printed last, best kind first."""
    blocks = _KEYS.findall(console)
    found = {kind: f"{kind} {key}" for kind, key in _KEY.findall(blocks[-1])} if blocks else {}
    return [found[kind] for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa") if kind in found]


def _epoch(text: str) -> int | None:
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        return None
