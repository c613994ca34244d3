"""What of a fleet exists on GCP, and how it is removed: by label, and by the labels that a description repeats.

Compute Engine labels instances, disks and addresses. Networks, subnetworks, firewall rules and placement policies have
no labels: mlb writes the same marks into their description, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .cloud import Leftover
from .gcp_api import Api, GcpRefused

FLEET_ID = "mlb-fleet-id"


@dataclass(frozen=True)
class _Kind:
    """One type: its client, the field of its items in an aggregated list, the name of its id in a request."""

    name: str
    service: str
    field: str
    key: str
    scope: str
    labelled: bool = False
    bills: bool = False


# In the order of removal: what uses something goes before what is used.
_KINDS = (
    _Kind("instance", "Instances", "instances", "instance", "zone", labelled=True, bills=True),
    _Kind("disk", "Disks", "disks", "disk", "zone", labelled=True, bills=True),
    _Kind("address", "Addresses", "addresses", "address", "region", labelled=True, bills=True),
    _Kind("firewall rule", "Firewalls", "firewalls", "firewall", ""),
    _Kind("placement policy", "ResourcePolicies", "resource_policies", "resource_policy", "region"),
    _Kind("subnetwork", "Subnetworks", "subnetworks", "subnetwork", "region"),
    _Kind("network", "Networks", "networks", "network", ""),
)


def marked(api: Api) -> list[tuple[Leftover, dict[str, str]]]:
    """Everything in all zones and regions that carries our marks, with them; all kinds are asked at once."""
    with ThreadPoolExecutor(max_workers=len(_KINDS)) as pool:
        return [found for kind in pool.map(lambda kind: list(_marked(api, kind)), _KINDS) for found in kind]


def left(api: Api, fleet_id: str) -> list[Leftover]:
    """What of one fleet exists."""
    return [leftover for leftover, marks in marked(api) if marks[FLEET_ID] == fleet_id]


def remove(api: Api, leftovers: Sequence[Leftover]) -> list[str]:
    """Delete what was found, kind by kind, all of a kind at once; returns what stood in the way."""
    problems: list[str] = []
    for kind in _KINDS:
        of_kind = [x for x in leftovers if x.kind == kind.name]
        if of_kind:
            with ThreadPoolExecutor(max_workers=min(32, len(of_kind))) as pool:
                problems += [text for text in pool.map(lambda x, k=kind: _delete(api, k, x), of_kind) if text]
    return problems


def _marked(api: Api, kind: _Kind) -> Iterator[tuple[Leftover, dict[str, str]]]:
    if kind.scope:
        found = api.everywhere(kind.service, kind.field, f"labels.{FLEET_ID}:*" if kind.labelled else "")
    else:
        found = (("", item) for item in api.pages(kind.service))
    for place, item in found:
        marks = dict(item.labels) if kind.labelled else _in_description(item.description)
        if FLEET_ID in marks:
            yield Leftover(kind.name, item.name, place, kind.bills), marks


def _in_description(text: str) -> dict[str, str]:
    try:
        marks = json.loads(text)
    except ValueError:
        return {}
    return marks if isinstance(marks, dict) else {}


def _delete(api: Api, kind: _Kind, leftover: Leftover) -> str:
    """Empty when it is gone, else what stood in the way."""
    request = {kind.key: leftover.id, **({kind.scope: leftover.place} if kind.scope else {})}
    try:
        api.finish(api.call(kind.service, "delete_unary", **request), f"to delete the {kind.name} {leftover.id}")
    except GcpRefused as error:
        # What uses a network is named in Google's own words.
        return "" if error.is_gone else f"{kind.name} {leftover.id}: {error.reason or error.status}: {error.why}"
    return ""
