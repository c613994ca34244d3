"""Compute Engine on loopback: the part of its REST interface that a fleet needs, in memory, with faults on demand.

The stand-in provider of Terraform (google_provider.py) and google-cloud-compute talk to one and the same server, so
what the one makes the other finds. It refuses what the service refuses where a fleet could get that wrong: a network
that is in use, a machine without quota, a GPU machine that would be moved while it runs, a call without a token.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from .gce_facts import (
    BASE,
    MACHINES,
    REGIONS,
    ZONES,
    Refused,
    Resource,
    image,
    matches,
    needs_of,
    problem_with,
    uses,
)

PROJECT = "bench-1234"
REGIONAL = {"subnetworks", "resourcePolicies", "addresses"}


@dataclass
class Fault:
    """An error instead of an insert or delete: from call `after` on, `times` times, in `zone` if given.

    With `http` the call itself is refused; without, its operation fails later, as a lack of capacity does.
    """

    method: str
    kind: str
    code: str
    http: int = 0
    after: int = 0
    times: int = 10**9
    zone: str = ""


@dataclass
class Gce:
    """The whole service: what exists, by (scope, kind) and name."""

    url: str = ""
    project: str = PROJECT
    things: dict[tuple[str, str], dict[str, Resource]] = field(default_factory=dict)
    operations: dict[str, Resource] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    inserted: list[Resource] = field(default_factory=list)
    token_expired: bool = False
    api_disabled: bool = False
    page_size: int = 3
    asked: set[tuple[str, str]] = field(default_factory=set)
    """Every call of the process: its method, and its path below `projects/`."""
    on_launch: Callable[[Resource], str] = lambda _instance: ""
    on_end: Callable[[Resource], None] = lambda _instance: None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def reset(self) -> None:
        with self.lock:
            for instance in self.all("instances"):
                self.on_end(instance)
            for part in (self.things, self.operations, self.limits, self.faults, self.inserted):
                part.clear()
            self.token_expired = self.api_disabled = False

    def of(self, scope: str, kind: str) -> dict[str, Resource]:
        return self.things.setdefault((scope, kind), {})

    def all(self, kind: str) -> list[Resource]:
        return [x for (_, k), found in list(self.things.items()) if k == kind for x in found.values()]

    def lose(self, name: str) -> None:
        """Delete an instance behind everybody's back, as Google does with a spot machine or at its deadline."""
        with self.lock:
            scope = next(s for (s, k), found in self.things.items() if k == "instances" and name in found)
            self._delete_instance(scope, name)

    def set_status(self, name: str, status: str) -> None:
        next(x for x in self.all("instances") if x["name"] == name)["status"] = status

    def answer(self, method: str, path: str, query: dict[str, str], body: Resource) -> Resource:
        """One call; `path` is what comes after `/compute/v1/projects/`."""
        project, _, rest = path.partition("/")
        with self.lock:
            if rest.startswith("global/images/"):
                return image(project, rest.removeprefix("global/images/"))
            if project != self.project:
                raise Refused(404, "notFound", f"The resource 'projects/{project}' was not found")
            if self.api_disabled:
                raise Refused(
                    403, "accessNotConfigured", f"Compute Engine API has not been used in project {project} before"
                )
            if not rest:
                return {"name": project, "quotas": self._quotas(None)}
            if rest == "zones":
                return {"items": [{"name": z, "status": "UP"} for z in ZONES]}
            if rest.startswith("aggregated/"):
                return self._aggregated(rest.removeprefix("aggregated/"), query)
            return self._scoped(method, rest.split("/"), query, body)

    def _scoped(self, method: str, parts: list[str], query: dict[str, str], body: Resource) -> Resource:
        depth = 1 if parts[0] == "global" else 2
        scope, (kind, name, verb) = "/".join(parts[:depth]), [*parts[depth:], "", "", ""][:3]
        if scope.removeprefix("regions/") in REGIONS and not kind:
            return {"name": parts[1], "quotas": self._quotas(parts[1])}
        if kind == "operations":
            return self._poll(name)
        if verb == "getGuestAttributes":
            return self._guest_attributes(self._found(scope, kind, name))
        if method == "POST":
            return self._insert(scope, kind, body)
        if method == "DELETE":
            return self._delete(scope, kind, name)
        if method == "PATCH":
            self._found(scope, kind, name).update(body)
            return self._operation(scope, name)
        return self._found(scope, kind, name) if name else self._page(list(self.of(scope, kind).values()), query)

    def _found(self, scope: str, kind: str, name: str) -> Resource:
        try:
            return self.of(scope, kind)[name]
        except KeyError:
            where = f"projects/{self.project}/{scope}/{kind}/{name}"
            raise Refused(404, "notFound", f"The resource '{where}' was not found") from None

    def _insert(self, scope: str, kind: str, body: Resource) -> Resource:
        name = body["name"]
        if name in self.of(scope, kind):
            raise Refused(409, "alreadyExists", f"The resource '{scope}/{kind}/{name}' already exists")
        failed = self._fault("POST", kind, scope)
        if failed:
            return self._operation(scope, name, failed)
        made = {
            **body,
            "id": str(uuid.uuid4().int % 10**18),
            "selfLink": f"https://www.googleapis.com{BASE}projects/{self.project}/{scope}/{kind}/{name}",
            "creationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000-00:00", time.gmtime()),
        }
        made |= _place(scope)
        if kind == "instances":
            error = self._boot(scope, made)
            if error:
                return self._operation(scope, name, error)
        self.of(scope, kind)[name] = made
        self.inserted.append({"kind": kind, **body})
        return self._operation(scope, name)

    def _boot(self, scope: str, made: Resource) -> Resource | None:
        zone = scope.removeprefix("zones/")
        needs = needs_of(made)
        problem = problem_with(made, zone, {x["selfLink"].partition(BASE)[2] for x in self._all_network_like()})
        if problem:
            raise Refused(400, "invalid", problem)
        for quota in self._quotas(zone[:-2]) + self._quotas(None):
            if quota["usage"] + needs.get(quota["metric"], 0) > quota["limit"]:
                text = f"Quota '{quota['metric']}' exceeded.  Limit: {quota['limit']} in region {zone[:-2]}."
                return {"code": "QUOTA_EXCEEDED", "message": text}
        number = len(self.inserted) + 2
        made.update(status="RUNNING", cpuPlatform="Intel Cascade Lake", needs=needs)
        for nic in made["networkInterfaces"]:
            nic.update(name="nic0", networkIP=f"10.20.{number // 250}.{number % 250}")
            for access in nic.get("accessConfigs", []):
                access["natIP"] = f"10.77.{200 + number // 250}.{1 + number % 250}"
        for disk in made["disks"]:
            wanted = disk["initializeParams"]
            boot = {"name": made["name"], "labels": wanted.get("labels", {}), "sizeGb": wanted["diskSizeGb"]}
            self.of(scope, "disks")[made["name"]] = {**boot, "selfLink": f"{BASE}{scope}/disks/{made['name']}"}
        made["hostKey"] = self.on_launch(made)
        return None

    def _all_network_like(self) -> list[Resource]:
        return [x for kind in ("subnetworks", "resourcePolicies", "networks") for x in self.all(kind)]

    def _delete(self, scope: str, kind: str, name: str) -> Resource:
        found = self._found(scope, kind, name)
        failed = self._fault("DELETE", kind, scope)
        if failed:
            return self._operation(scope, name, failed)
        link = found["selfLink"].partition(BASE)[2]
        users = [x for k in ("instances", "subnetworks", "firewalls") for x in self.all(k) if uses(x, link)]
        if users:
            text = f"The {kind[:-1]} resource '{link}' is already being used by '{users[0]['selfLink']}'"
            raise Refused(400, "resourceInUseByAnotherResource", text)
        if kind == "instances":
            self._delete_instance(scope, name)
        else:
            del self.of(scope, kind)[name]
        return self._operation(scope, name)

    def _delete_instance(self, scope: str, name: str) -> None:
        instance = self.of(scope, "instances").pop(name)
        if all(disk["autoDelete"] for disk in instance["disks"]):
            self.of(scope, "disks").pop(name)
        self.on_end(instance)

    def _fault(self, method: str, kind: str, scope: str) -> Resource | None:
        for fault in self.faults:
            if (fault.method, fault.kind) == (method, kind) and fault.zone in ("", scope.removeprefix("zones/")):
                if fault.after > 0:
                    fault.after -= 1
                elif fault.times > 0:
                    fault.times -= 1
                    text = f"injected: {fault.code} in projects/{self.project}/{scope}"
                    if fault.http:
                        raise Refused(fault.http, fault.code, text)
                    return {"code": fault.code, "message": text}
        return None

    def _operation(self, scope: str, target: str, error: Resource | None = None) -> Resource:
        """An operation that has just begun; the next look finds it done."""
        name = f"operation-{uuid.uuid4().hex[:12]}"
        made = {"name": name, "status": "RUNNING", "targetLink": target, "selfLink": f"{scope}/operations/{name}"}
        made |= _place(scope)
        if error:
            made |= {
                "httpErrorStatusCode": 503,
                "httpErrorMessage": "SERVICE UNAVAILABLE",
                "error": {"errors": [error]},
            }
        self.operations[name] = made
        return {key: value for key, value in made.items() if "rror" not in key}

    def _poll(self, name: str) -> Resource:
        self.operations[name]["status"] = "DONE"
        return self.operations[name]

    def _guest_attributes(self, instance: Resource) -> Resource:
        """What the guest writes at boot; 404 until it has written anything."""
        if not instance["hostKey"]:
            raise Refused(404, "notFound", "The resource 'hostkeys/' of type 'Guest Attribute' was not found.")
        kind, key = instance["hostKey"].split()[:2]
        return {
            "queryPath": "hostkeys/",
            "queryValue": {"items": [{"namespace": "hostkeys", "key": kind, "value": key}]},
        }

    def _quotas(self, region: str | None) -> list[Resource]:
        """Of a region, or of the whole project."""
        names = {"GPUS_ALL_REGIONS": 16.0, "NETWORKS": 15.0, "FIREWALLS": 100.0, "SUBNETWORKS": 100.0}
        if region:
            names = {metric: 1000.0 for m in MACHINES for metric in needs_of(m)} | {"PREEMPTIBLE_NVIDIA_T4_GPUS": 0.0}
            names = {k: v for k, v in names.items() if k != "GPUS_ALL_REGIONS"}
        used = [x["needs"] for x in self.all("instances") if region is None or f"/zones/{region}-" in x["zone"]]
        return [
            {"metric": m, "limit": self.limits.get(m, limit), "usage": float(sum(n.get(m, 0) for n in used))}
            for m, limit in names.items()
        ]

    def _aggregated(self, kind: str, query: dict[str, str]) -> Resource:
        scopes = [f"regions/{r}" for r in REGIONS] if kind in REGIONAL else [f"zones/{z}" for z in ZONES]
        every = [(s, x) for s in scopes for x in self._static(s, kind) or list(self.of(s, kind).values())]
        page = self._page([{"at": s, "x": x} for s, x in every if matches(x, query.get("filter", ""))], query, "")
        items: dict[str, Resource] = {s: {"warning": {"code": "NO_RESULTS_ON_PAGE"}} for s in scopes}
        for entry in page.pop("items"):
            items[entry["at"]].setdefault(kind, []).append(entry["x"])
            items[entry["at"]].pop("warning", None)
        return {**page, "items": items}

    def _static(self, scope: str, kind: str) -> list[Resource]:
        if kind not in ("machineTypes", "acceleratorTypes"):
            return []
        zone = scope.removeprefix("zones/")
        here = [m for m in MACHINES if zone in m["zones"]]
        if kind == "machineTypes":
            return [{"name": name} for name in dict.fromkeys(m["machineType"] for m in here)]
        return [{"name": name} for name in dict.fromkeys(m["accelerator"] for m in here if m["accelerator"])]

    def _page(self, items: list[Resource], query: dict[str, str], filtered: str | None = None) -> Resource:
        if filtered is None:
            items = [x for x in items if matches(x, query.get("filter", ""))]
        start = int(query.get("pageToken") or 0)
        size = min(self.page_size, int(query.get("maxResults") or 500))
        more = {"nextPageToken": str(start + size)} if start + size < len(items) else {}
        return {"items": items[start : start + size], **more}


def _place(scope: str) -> Resource:
    """The field that says in which zone or region something is."""
    kind, _, _ = scope.partition("s/")
    return {} if scope == "global" else {kind: f"https://www.googleapis.com{BASE}projects/{PROJECT}/{scope}"}
