"""How the stand-in provider turns Terraform's values into calls of Compute Engine, and the answers back."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import google.auth
import google.auth.exceptions

Values = dict[str, Any]
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


class Failed(Exception):
    """An error in the words that the provider would use."""


class Service:
    """Compute Engine at the endpoint that the real provider's variable names, with the user's own credentials."""

    def __init__(self, project: str | None, endpoint: str | None) -> None:
        self.project = project or os.environ.get("GOOGLE_PROJECT", "")
        self.endpoint = endpoint or os.environ["GOOGLE_COMPUTE_CUSTOM_ENDPOINT"]
        self.token = _token()

    def call(self, method: str, path: str, body: Values | None = None, project: str = "") -> Values:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        url = f"{self.endpoint}projects/{project or self.project}/{path}"
        request = urllib.request.Request(url, method=method, data=data, headers=headers)  # noqa: S310  # loopback
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310  # loopback
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            said = json.load(error)["error"]
            reason = said["errors"][0]["reason"]
            raise Failed(f"googleapi: Error {said['code']}: {said['message']}, {reason}") from None

    def wait(self, operation: Values, what: str) -> None:
        scope = operation["selfLink"].partition("/operations/")[0]
        while operation["status"] != "DONE":
            operation = self.call("GET", f"{scope}/operations/{operation['name']}")
            time.sleep(0.01)
        for error in operation.get("error", {}).get("errors", []):
            raise Failed(f"Error waiting for {what}: The operation failed: {error['code']}: {error['message']}")


def _token() -> str:
    try:
        credentials, _ = google.auth.default(scopes=SCOPES)
        if not credentials.valid:
            credentials.refresh(_no_network)
    except google.auth.exceptions.GoogleAuthError as error:
        text = (
            "Attempted to load application default credentials since neither `credentials` nor `access_token` was set"
        )
        raise Failed(f"{text}. could not find default credentials: {error}") from None
    return str(credentials.token)


def _no_network(*_: Any, **__: Any) -> Any:
    raise google.auth.exceptions.TransportError("a test has no network to ask for a token")


@dataclass(frozen=True)
class Resource:
    """One type: where it lives, what is sent, what is read back, and which arguments can be changed in place."""

    kind: str
    scope: str
    to_api: Callable[[Values], Values]
    from_api: Callable[[Values, Values], None] = lambda _values, _got: None
    updatable: frozenset[str] = frozenset()

    def scope_of(self, values: Values) -> str:
        return f"{self.scope}s/{values[self.scope]}" if self.scope != "global" else "global"

    def path(self, values: Values) -> str:
        return f"{self.scope_of(values)}/{self.kind}"


def _named(values: Values) -> Values:
    return {"name": values["name"], **({"description": values["description"]} if values.get("description") else {})}


def _network(values: Values) -> Values:
    return {**_named(values), "autoCreateSubnetworks": values["auto_create_subnetworks"]}


def _subnetwork(values: Values) -> Values:
    return {**_named(values), "network": values["network"], "ipCidrRange": values["ip_cidr_range"]}


def _firewall(values: Values) -> Values:
    allowed = [{"IPProtocol": a["protocol"], "ports": a["ports"] or []} for a in values["allow"]]
    return {
        **_named(values),
        "network": values["network"],
        "sourceRanges": values["source_ranges"] or [],
        "sourceTags": values["source_tags"] or [],
        "targetTags": values["target_tags"] or [],
        "allowed": allowed,
    }


def _firewall_back(values: Values, got: Values) -> None:
    values["source_ranges"] = got.get("sourceRanges") or []


def _policy(values: Values) -> Values:
    placement = [{"collocation": p["collocation"]} for p in values["group_placement_policy"]]
    return {**_named(values), "groupPlacementPolicy": placement[0]}


def _instance(values: Values) -> Values:
    disk, nic = values["boot_disk"][0], values["network_interface"][0]
    params = disk["initialize_params"][0]
    return {
        **_named(values),
        "machineType": f"zones/{values['zone']}/machineTypes/{values['machine_type']}",
        "labels": values["labels"],
        "tags": {"items": values["tags"]},
        "metadata": {"items": [{"key": k, "value": v} for k, v in values["metadata"].items()]},
        "resourcePolicies": values["resource_policies"] or [],
        "guestAccelerators": [
            {"acceleratorType": g["type"], "acceleratorCount": g["count"]} for g in values["guest_accelerator"]
        ],
        "disks": [
            {
                "boot": True,
                "autoDelete": disk["auto_delete"],
                "initializeParams": {
                    "sourceImage": params["image"],
                    "diskSizeGb": str(params["size"]),
                    "diskType": params["type"],
                    "labels": params["labels"],
                },
            }
        ],
        "networkInterfaces": [
            {
                "subnetwork": nic["subnetwork"],
                "nicType": nic["nic_type"],
                "accessConfigs": [{"type": "ONE_TO_ONE_NAT"} for _ in nic["access_config"]],
            }
        ],
        "serviceAccounts": [{"email": a["email"], "scopes": a["scopes"]} for a in values["service_account"]],
        "scheduling": _scheduling(values["scheduling"][0]),
    }


def _scheduling(values: Values) -> Values:
    return {
        "provisioningModel": values["provisioning_model"],
        "preemptible": values["preemptible"],
        "automaticRestart": values["automatic_restart"],
        "onHostMaintenance": values["on_host_maintenance"],
        "instanceTerminationAction": values["instance_termination_action"],
        "maxRunDuration": {"seconds": str(values["max_run_duration"][0]["seconds"])},
    }


def _instance_back(values: Values, got: Values) -> None:
    values |= {"instance_id": got["id"], "cpu_platform": got["cpuPlatform"], "current_status": got["status"]}
    for nic, there in zip(values["network_interface"], got["networkInterfaces"], strict=True):
        nic |= {"network_ip": there["networkIP"], "name": there["name"]}
        for access, outside in zip(nic["access_config"], there["accessConfigs"], strict=True):
            access["nat_ip"] = outside["natIP"]


RESOURCES = {
    "google_compute_network": Resource("networks", "global", _network),
    "google_compute_subnetwork": Resource("subnetworks", "region", _subnetwork),
    "google_compute_firewall": Resource(
        "firewalls",
        "global",
        _firewall,
        _firewall_back,
        frozenset({"source_ranges", "source_tags", "target_tags", "allow", "description"}),
    ),
    "google_compute_resource_policy": Resource("resourcePolicies", "region", _policy),
    "google_compute_instance": Resource("instances", "zone", _instance, _instance_back),
}


def image(service: Service, values: Values) -> Values:
    """The data source google_compute_image: the newest of a family."""
    got = service.call("GET", f"global/images/family/{values['family']}", project=values["project"] or "")
    link = got["selfLink"]
    return {"self_link": link, "name": got["name"], "status": got["status"], "id": link.partition("/v1/")[2]}
