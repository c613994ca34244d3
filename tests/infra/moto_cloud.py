"""AWS on loopback: moto's server, with what a fleet needs and moto lacks, and faults on demand.

Instances get addresses of a private range: moto would hand out real public ones, and no test may ever dial those.
"""

from __future__ import annotations

import base64
import copy
import itertools
import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from moto.core.responses import ActionResult, BaseResponse
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import elastic_network_interfaces
from moto.ec2.models import instance_types as types
from moto.ec2.responses import EC2Response
from moto.server import ThreadedMotoServer
from moto.servicequotas.responses import ServiceQuotasResponse
from moto.ssm.models import Parameter, ParameterDict

IMAGE = "ami-1e749f67"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKbZ0mwHk6yq3Wb3mGXJd9Q4mC5rXwq3rJp0f3sPqf1D"
ORIGINAL = {
    name: getattr(EC2Response, name)
    for name in ("run_instances", "terminate_instances", "describe_spot_instance_requests")
}


CHANGE_GROUPS = EC2Response._security_grp_instance_attribute_handler
LOAD_PARAMETERS = ParameterDict._check_loading_status


class Refused(EC2ClientError):
    """An error of EC2; moto takes the service's name from the second part of the module's."""

    __module__ = "moto.ec2.exceptions"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)


@dataclass
class Fault:
    """An answer to a call instead of its work: from call `after` on, `times` times, in `zone` if given."""

    action: str
    code: str
    after: int = 0
    times: int = 10**9
    zone: str = ""


@dataclass
class Cloud:
    """The state beside moto's own."""

    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    """Every call of the process as IAM names it: `ec2:RunInstances`."""
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    spot: dict[str, dict[str, Any]] = field(default_factory=dict)
    quota: float = 10_000.0
    launches: list[dict[str, Any]] = field(default_factory=list)
    consoles: dict[str, str] = field(default_factory=dict)
    on_launch: Callable[[Any, str], None] = lambda _instance, _key: None
    on_end: Callable[[str], None] = lambda _id: None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def check(self, action: str, zone: str = "") -> None:
        with self.lock:
            self.calls[action] = self.calls.get(action, 0) + 1
            for fault in self.faults:
                if fault.action == action and fault.zone in ("", zone):
                    if fault.after > 0:
                        fault.after -= 1
                    elif fault.times > 0:
                        fault.times -= 1
                        raise Refused(fault.code, f"injected: {fault.code}")

    def reset(self) -> None:
        with self.lock:
            self.faults.clear()
            self.calls.clear()
            self.launches.clear()
            self.quota = 10_000.0


CLOUD = Cloud()
_addresses = itertools.count(1)


@contextmanager
def running_moto() -> Iterator[Cloud]:
    """The server, patched; one a process."""
    _patch()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a call buries what a failed test has to say
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        CLOUD.url = f"http://{host}:{port}"
        yield CLOUD
    finally:
        server.stop()


def _record() -> None:
    """Note every call, whoever makes it: boto3 and Terraform's provider speak to the same server."""
    answer = BaseResponse.call_action

    def call_action(self: BaseResponse) -> Any:
        CLOUD.asked.add(f"{self.service_name.replace('-', '')}:{self._get_action()}")
        return answer(self)

    BaseResponse.call_action = call_action  # type: ignore[method-assign]


def _patch() -> None:
    _record()

    def address() -> str:
        number = next(_addresses)
        return f"10.77.{1 + number // 250}.{1 + number % 250}"

    setattr(elastic_network_interfaces, "random_public_ip", address)  # noqa: B010
    for function in (
        create_placement_group,
        describe_placement_groups,
        delete_placement_group,
        run_instances,
        terminate_instances,
        describe_spot_instance_requests,
        get_console_output,
        delete_vpc,
        delete_subnet,
    ):
        setattr(EC2Response, function.__name__, function)
    setattr(EC2Response, "_security_grp_instance_attribute_handler", change_groups)  # noqa: B010
    ServiceQuotasResponse.get_service_quota = get_service_quota  # type: ignore[method-assign]
    ParameterDict._check_loading_status = load_parameters  # type: ignore[method-assign]
    for name, like, gpus, cpus in (("g7.12xlarge", "g6.12xlarge", 2, 48), ("p3.8xlarge", "p3dn.24xlarge", 4, 32)):
        _add_type(name, like, gpus, cpus)


def _add_type(name: str, like: str, gpus: int, cpus: int) -> None:
    if name in types.INSTANCE_TYPES:
        return
    made = copy.deepcopy(types.INSTANCE_TYPES[like])
    made["InstanceType"] = name
    made["VCpuInfo"]["DefaultVCpus"] = cpus
    made["GpuInfo"]["Gpus"][0]["Count"] = gpus
    types.INSTANCE_TYPES[name] = made
    types.InstanceTypeBackend.instance_types.append(types.InstanceType(name))
    for kind in types.INSTANCE_TYPE_OFFERINGS.values():
        for offers in kind.values():
            offers += [{**offer, "InstanceType": name} for offer in offers if offer["InstanceType"] == like]


def create_placement_group(self: EC2Response) -> ActionResult:
    CLOUD.check("CreatePlacementGroup")
    name = self._get_param("GroupName")
    if name in CLOUD.groups:
        raise Refused("InvalidPlacementGroup.Duplicate", f"The placement group '{name}' is already used.")
    tags = self._parse_tag_specification().get("placement-group", {})
    CLOUD.groups[name] = {
        "GroupName": name,
        "Strategy": self._get_param("Strategy"),
        "State": "available",
        "GroupId": f"pg-{uuid.uuid4().hex[:17]}",
        "GroupArn": f"arn:aws:ec2:{self.region}:{self.current_account}:placement-group/{name}",
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    return ActionResult({"PlacementGroup": CLOUD.groups[name]})


def describe_placement_groups(self: EC2Response) -> ActionResult:
    names, ids = self._get_param("GroupNames", []) or [], self._get_param("GroupIds", []) or []
    found = [
        group
        for group in list(CLOUD.groups.values())
        if (not names or group["GroupName"] in names)
        and (not ids or group["GroupId"] in ids)
        and _matches(group, self._get_param("Filters", []) or [])
    ]
    if names and not found:
        raise Refused("InvalidPlacementGroup.Unknown", f"The Placement Group '{names[0]}' is unknown.")
    return ActionResult({"PlacementGroups": found})


def _matches(group: dict[str, Any], filters: list[dict[str, Any]]) -> bool:
    tags = {tag["Key"]: tag["Value"] for tag in group["Tags"]}
    for one in filters:
        if one["Name"] == "tag-key" and not set(one["Values"]) & set(tags):
            return False
        if one["Name"].startswith("tag:") and tags.get(one["Name"][4:]) not in one["Values"]:
            return False
    return True


def delete_placement_group(self: EC2Response) -> ActionResult:
    name = self._get_param("GroupName")
    if CLOUD.groups.pop(name, None) is None:
        raise Refused("InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")
    return ActionResult({})


def delete_vpc(self: EC2Response) -> ActionResult:
    """As the service does it: a VPC that holds something is not deleted."""
    CLOUD.check("DeleteVpc")
    vpc_id = self._get_param("VpcId")
    self.ec2_backend.delete_vpc(vpc_id)
    return ActionResult({})


def delete_subnet(self: EC2Response) -> ActionResult:
    CLOUD.check("DeleteSubnet")
    self.ec2_backend.delete_subnet(self._get_param("SubnetId"))
    return ActionResult({})


def run_instances(self: EC2Response) -> ActionResult:
    subnet_id = self._get_param("SubnetId") or (self._get_param("NetworkInterfaces", []) or [{}])[0].get("SubnetId")
    zone = self.ec2_backend.get_subnet(subnet_id).availability_zone if subnet_id else ""
    CLOUD.check("RunInstances", zone)
    CLOUD.launches.append(
        {"end": self._get_param("InstanceInitiatedShutdownBehavior"), "tags": self._get_param("TagSpecifications")}
    )
    with CLOUD.lock:
        result: ActionResult = ORIGINAL["run_instances"](self)
    launched: Any = result.result
    for instance in launched.instances:
        _complete(self, instance)
        key = self.ec2_backend.describe_key_pairs(key_names=[instance.key_name])[0].public_key
        CLOUD.on_launch(instance, key)
    return result


def _complete(self: EC2Response, instance: Any) -> None:
    """Fields that moto drops, each of which the provider would take for a change."""
    group = self._get_param("Placement.GroupName")
    if group:
        instance.placement.group_name = group
    devices = {m.get("DeviceName"): m.get("Ebs", {}) for m in self._get_param("BlockDeviceMappings", []) or []}
    for device, mapping in instance.get_block_device_mapping:
        for volume in self.ec2_backend.describe_volumes(volume_ids=[mapping.volume_id]):
            for name in ("Throughput", "Iops"):
                if devices.get(device, {}).get(name):
                    setattr(volume, name.lower(), int(devices[device][name]))
    if not instance.security_groups and instance.nics:
        instance.security_groups = list(instance.nics[0].group_set)
    if (self._get_param("InstanceMarketOptions", {}) or {}).get("MarketType") == "spot":
        request = f"sir-{uuid.uuid4().hex[:8]}"
        instance.instance_lifecycle = "spot"
        instance.spot_instance_request_id = request
        CLOUD.spot[request] = {
            "SpotInstanceRequestId": request,
            "InstanceId": instance.id,
            "State": "active",
            "Status": {"Code": "fulfilled"},
            "Type": "one-time",
            "InstanceInterruptionBehavior": "terminate",
            "SpotPrice": "9.990000",
        }


def terminate_instances(self: EC2Response) -> ActionResult:
    CLOUD.check("TerminateInstances")
    result: ActionResult = ORIGINAL["terminate_instances"](self)
    for instance_id in self._get_param("InstanceIds", []):
        CLOUD.on_end(instance_id)
    return result


def describe_spot_instance_requests(self: EC2Response) -> ActionResult:
    ids = self._get_param("SpotInstanceRequestIds", []) or []
    if ids and all(i in CLOUD.spot for i in ids):
        return ActionResult({"SpotInstanceRequests": [CLOUD.spot[i] for i in ids]})
    found: ActionResult = ORIGINAL["describe_spot_instance_requests"](self)
    return found


def get_console_output(self: EC2Response) -> ActionResult:
    instance = self._get_param("InstanceId")
    key = CLOUD.consoles.get(instance, HOST_KEY)
    text = f"[    1.0] Linux\n-----BEGIN SSH HOST KEY KEYS-----\n{key} root@node\n-----END SSH HOST KEY KEYS-----\n"
    return ActionResult({"InstanceId": instance, "Output": base64.b64encode(text.encode()).decode()})


def get_service_quota(self: ServiceQuotasResponse) -> str:
    return json.dumps({"Quota": {"QuotaCode": self._get_param("QuotaCode"), "Value": CLOUD.quota}})


def change_groups(self: EC2Response) -> bool:
    """Moto takes every change of an instance that it does not know for one of its groups, to none."""
    if self._get_param("Groups", []):
        return CHANGE_GROUPS(self)
    return any(key.startswith("InstanceInitiatedShutdownBehavior") for key in self.data)


def load_parameters(self: ParameterDict, key: str) -> None:
    """Moto lacks the public parameters of the default images, and lets nobody write any under /aws."""
    LOAD_PARAMETERS(self, key)
    key = str(key or "")
    if key.startswith(("/aws/service/deeplearning/", "/aws/service/canonical/")) and not dict.get(self, key):
        values = {"name": key, "value": IMAGE, "parameter_type": "String", "version": 1, "data_type": "aws:ec2:image"}
        unset = dict.fromkeys(("description", "allowed_pattern", "keyid"))
        make: Any = Parameter
        made = make(account_id=self.account_id, last_modified_date=0, **values, **unset)
        dict.__setitem__(self, key, [made])
