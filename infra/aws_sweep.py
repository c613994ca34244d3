"""What of a fleet exists on AWS, by tag alone, and how it is removed: no state, no Terraform."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from .aws_api import Api, AwsRefused
from .cloud import Leftover

FLEET_ID = "mlb:fleet-id"
TERMINATE_POLL_S = 3.0
TERMINATE_POLLS = 100


@dataclass(frozen=True)
class _Kind:
    """One type of resource: how it is listed."""

    name: str
    operation: str
    key: str
    id: str
    bills: bool = False


# In the order of removal: what uses something goes before what is used.
_KINDS = (
    _Kind("instance", "describe_instances", "Reservations", "InstanceId", bills=True),
    _Kind("volume", "describe_volumes", "Volumes", "VolumeId", bills=True),
    _Kind("key pair", "describe_key_pairs", "KeyPairs", "KeyName"),
    _Kind("placement group", "describe_placement_groups", "PlacementGroups", "GroupName"),
    _Kind("subnet", "describe_subnets", "Subnets", "SubnetId"),
    _Kind("route table", "describe_route_tables", "RouteTables", "RouteTableId"),
    _Kind("security group", "describe_security_groups", "SecurityGroups", "GroupId"),
    _Kind("internet gateway", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    _Kind("VPC", "describe_vpcs", "Vpcs", "VpcId"),
)


def tagged(api: Api, filters: Sequence[Mapping[str, Any]]) -> list[tuple[Leftover, dict[str, str]]]:
    """Everything that matches the filters and exists, with its tags; all kinds are asked at once."""

    def of(kind: _Kind) -> list[tuple[Leftover, dict[str, str]]]:
        items: Iterable[dict[str, Any]] = api.pages("ec2", kind.operation, kind.key, Filters=list(filters))
        if kind.name == "instance":
            items = [i for r in items for i in r["Instances"] if i["State"]["Name"] != "terminated"]
        return [(Leftover(kind.name, item[kind.id], api.region, kind.bills), tags_of(item)) for item in items]

    with ThreadPoolExecutor(max_workers=len(_KINDS)) as pool:
        return [found for kind in pool.map(of, _KINDS) for found in kind]


def left(api: Api, fleet_id: str) -> list[Leftover]:
    """What of one fleet exists."""
    return [leftover for leftover, _ in tagged(api, [{"Name": f"tag:{FLEET_ID}", "Values": [fleet_id]}])]


def remove(api: Api, leftovers: Sequence[Leftover], wait: Callable[[float], object]) -> list[str]:
    """Delete what was found; returns what stood in the way, naming it where AWS lets us look."""
    problems: list[str] = []
    instances = [x.id for x in leftovers if x.kind == "instance"]
    if instances:
        problems += _terminate(api, instances, wait)
    for kind in _KINDS[1:]:
        for leftover in (x for x in leftovers if x.kind == kind.name):
            try:
                _DELETE[kind.name](api, leftover.id)
            except AwsRefused as error:
                if not error.is_gone:
                    blocker = _blockers(api, leftover) if error.code == "DependencyViolation" else ""
                    problems.append(f"{leftover.kind} {leftover.id}: {error.code}: {error.why}{blocker}")
    return problems


def tags_of(item: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags", ())}


def _terminate(api: Api, ids: Sequence[str], wait: Callable[[float], object]) -> list[str]:
    """Asks for it and watches it happen: an instance that is still shutting down holds its network."""
    try:
        api.call("ec2", "terminate_instances", InstanceIds=list(ids))
        for _ in range(TERMINATE_POLLS):
            states = api.pages("ec2", "describe_instances", "Reservations", InstanceIds=list(ids))
            if all(i["State"]["Name"] == "terminated" for r in states for i in r["Instances"]):
                return []
            wait(TERMINATE_POLL_S)
    except AwsRefused as error:
        return [] if error.is_gone else [f"instances: {error.code}: {error.why}"]
    return [f"instances {', '.join(ids)} were asked to terminate and have not yet"]


def _delete_gateway(api: Api, gateway: str) -> None:
    found = api.call("ec2", "describe_internet_gateways", InternetGatewayIds=[gateway])["InternetGateways"]
    for attachment in (a for g in found for a in g.get("Attachments", ())):
        api.call("ec2", "detach_internet_gateway", InternetGatewayId=gateway, VpcId=attachment["VpcId"])
    api.call("ec2", "delete_internet_gateway", InternetGatewayId=gateway)


def _delete_route_table(api: Api, table: str) -> None:
    found = api.call("ec2", "describe_route_tables", RouteTableIds=[table])["RouteTables"]
    for association in (a for t in found for a in t.get("Associations", ()) if not a.get("Main")):
        api.call("ec2", "disassociate_route_table", AssociationId=association["RouteTableAssociationId"])
    api.call("ec2", "delete_route_table", RouteTableId=table)


_DELETE: dict[str, Callable[[Api, str], object]] = {
    "volume": lambda api, id_: api.call("ec2", "delete_volume", VolumeId=id_),
    "key pair": lambda api, id_: api.call("ec2", "delete_key_pair", KeyName=id_),
    "placement group": lambda api, id_: api.call("ec2", "delete_placement_group", GroupName=id_),
    "subnet": lambda api, id_: api.call("ec2", "delete_subnet", SubnetId=id_),
    "route table": _delete_route_table,
    "security group": lambda api, id_: api.call("ec2", "delete_security_group", GroupId=id_),
    "internet gateway": _delete_gateway,
    "VPC": lambda api, id_: api.call("ec2", "delete_vpc", VpcId=id_),
}


def _blockers(api: Api, leftover: Leftover) -> str:
    """The foreign network interfaces in a VPC or subnet: the usual reason why it cannot go."""
    name = {"VPC": "vpc-id", "subnet": "subnet-id", "security group": "group-id"}.get(leftover.kind)
    if name is None:
        return ""
    by = [{"Name": name, "Values": [leftover.id]}]
    try:
        found = list(api.pages("ec2", "describe_network_interfaces", "NetworkInterfaces", Filters=by))
    except AwsRefused:
        return ""
    names = [f"{i['NetworkInterfaceId']} ({i.get('Description') or 'no description'})" for i in found]
    return f" (held by {', '.join(names)})" if names else ""
