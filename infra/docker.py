"""The local fleet's place: Docker, by its own command, in the context that the user chose."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import PreflightError
from .blueprint import Blueprint
from .cloud import Leftover, Place, TaggedFleet
from .fleet import Node
from .render import docker_image_tag, node_address

TIMEOUT_S = 60.0
_LABEL = "mlb.fleet-id"
# Seldom used by companies' networks and VPNs, and not by Docker's own pools.
_SUBNETS = [f"10.{second}.{third}" for second in range(200, 255) for third in range(256)]
_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"


class Docker:
    """See `cloud.Cloud`."""

    no_host_key = "its container has ended or shows no host key: without that there is no safe first connection"

    def preflight(self, blueprint: Blueprint, adding: int) -> Place:  # noqa: ARG002  # a laptop has no quota
        if not shutil.which("docker"):
            raise PreflightError(
                "There is no docker command on this machine.", fix="Install Docker, or use --cloud ssh."
            )
        host = os.environ.get("DOCKER_HOST") or _docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
        if not host.strip().startswith(("unix://", "npipe://")):
            raise PreflightError(
                f"Docker's context is on another machine ({host.strip()}): nodes there cannot be reached.",
                fix="Run mlb on that machine, choose a local context (docker context use), or use --cloud ssh.",
            )
        _docker("version", "--format", "{{.Server.Version}}")
        return Place(account="", zones=("",))

    def prepare(self, blueprint: Blueprint) -> Blueprint:
        more = blueprint.spec.nodes - len(blueprint.ports)
        return replace(
            blueprint,
            subnet=blueprint.subnet or _free_subnet(),
            ports=(*blueprint.ports, *_free_ports(more))[: blueprint.spec.nodes],
        )

    def lost(self, blueprint: Blueprint) -> Sequence[str]:
        alive = self.alive(blueprint)
        nodes = [
            node_address("docker", i)
            for i in range(blueprint.spec.nodes)
            if alive.get(f"{blueprint.resource_name}-{i}") != "running"
        ]
        if not _exists("network", blueprint.resource_name):
            nodes.append("terraform_data.network")
        if not _rows("image", "ls", docker_image_tag(blueprint)):
            nodes.append("terraform_data.image")
        return nodes

    def host_keys(self, nodes: Sequence[Node], deadline_s: float) -> Mapping[str, Sequence[str]]:
        # The container makes its key when it starts; docker exec is a way in that nobody on a network can fake.
        wait = f"until [ -s {_HOST_KEY} ]; do sleep 0.05; done; cat {_HOST_KEY}"
        found = {}
        for node in nodes:
            with contextlib.suppress(PreflightError):  # it has ended, or shows none: that is said of it, and it alone
                shown = _docker("exec", node.id, "sh", "-c", wait, timeout_s=deadline_s)
                found[node.name] = [" ".join(shown.split()[:2])]
        return found

    def alive(self, blueprint: Blueprint) -> Mapping[str, str]:
        rows = _rows("ps", "--all", "--filter", f"label={_LABEL}={blueprint.fleet_id}")
        # One that is being removed is listed for a moment more, and is nobody's node any longer.
        return {row["Names"]: row["State"] for row in rows if row["State"] != "removing"}

    def left(self, fleet_id: str) -> Sequence[Leftover]:
        by = ("--filter", f"label={_LABEL}={fleet_id}")
        return [
            *(Leftover("container", row["Names"]) for row in _rows("ps", "--all", *by)),
            *(Leftover("network", row["Name"]) for row in _rows("network", "ls", *by)),
            *(Leftover("volume", row["Name"]) for row in _rows("volume", "ls", *by)),
        ]

    def remove(self, leftovers: Sequence[Leftover]) -> Sequence[str]:
        problems: list[str] = []
        for kind, command in (("container", "rm"), ("network", "rm"), ("volume", "rm")):
            for left in (x for x in leftovers if x.kind == kind):
                force = ("--force",) if kind == "container" else ()
                with _noted(problems):
                    _docker(*(() if kind == "container" else (kind,)), command, *force, left.id)
        return problems

    def fleets(self) -> Sequence[TaggedFleet]:
        by = ("--filter", f"label={_LABEL}")
        found: dict[str, TaggedFleet] = {}
        for row in [*_rows("network", "ls", *by), *_rows("ps", "--all", *by)]:
            labels = dict(part.partition("=")[::2] for part in row["Labels"].split(","))
            fleet_id = labels.get(_LABEL, "")
            seen = found.get(fleet_id)
            found[fleet_id] = TaggedFleet(
                name=labels.get("mlb.fleet", "?"),
                fleet_id=fleet_id,
                owner=labels.get("mlb.owner", "?"),
                region="",
                expires_epoch=_epoch(labels.get("mlb.expires-at", "")),
                resources=(seen.resources if seen else 0) + 1,
            )
        return list(found.values())


def _docker(*args: str, timeout_s: float = TIMEOUT_S) -> str:
    """The command's output; raises PreflightError with Docker's own words."""
    try:
        done = subprocess.run(["docker", *args], capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise PreflightError(f"docker {args[0]} did not answer within {timeout_s:g} s.") from None
    if done.returncode != 0:
        raise PreflightError(f"docker {args[0]} failed.", why=done.stderr.strip(), fix="Is the Docker engine running?")
    return done.stdout


def _rows(*args: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _docker(*args, "--format", "{{json .}}").splitlines()]


def _exists(kind: str, name: str) -> bool:
    return any(row["Name"] == name for row in _rows(kind, "ls", "--filter", f"name={name}"))


@contextlib.contextmanager
def _noted(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except PreflightError as error:
        # Gone in the meantime is what was wanted.
        if "No such" not in error.why and "not found" not in error.why:
            problems.append(str(error))


def _free_subnet() -> str:
    taken = [*_docker_networks(), *_routes()]
    for subnet in random.sample(_SUBNETS, k=len(_SUBNETS)):
        if not any(ipaddress.IPv4Network(f"{subnet}.0/24").overlaps(other) for other in taken):
            return subnet
    raise PreflightError("There is no free network left for a Docker fleet.", fix="Try `docker network prune`.")


def _docker_networks() -> Iterable[ipaddress.IPv4Network]:
    ids = _docker("network", "ls", "--quiet").split()
    form = "{{range .IPAM.Config}}{{.Subnet}} {{end}}"
    for text in _docker("network", "inspect", "--format", form, *ids).split() if ids else ():
        with contextlib.suppress(ValueError):
            yield ipaddress.IPv4Network(text)


def _routes() -> Iterable[ipaddress.IPv4Network]:
    """The host's own networks, where Linux shows them, but for the default route."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/route").read_text().splitlines()[1:]:
            _, target, _, _, _, _, _, mask, *_ = line.split()
            if mask != "00000000":
                address, netmask = (socket.inet_ntoa(bytes.fromhex(x)[::-1]) for x in (target, mask))
                yield ipaddress.IPv4Network(f"{address}/{netmask}", strict=False)


def _free_ports(count: int) -> tuple[int, ...]:
    """Ports that nobody had a moment ago, all open at once so that none comes twice."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(max(0, count))]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return tuple(one.getsockname()[1] for one in sockets)


def _epoch(text: str) -> int | None:
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        return None
