"""A fleet of network namespaces: what `mlb infra apply` would leave, without a cloud."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlb.provisioner import fleet as fleets
from netns_hosts import Hosts, available


def need_namespaces() -> None:
    """Skip where no host can be made, unless MLB_REQUIRE names `netns`."""
    if not available():
        required = os.environ.get("MLB_REQUIRE", "").split(",")
        (pytest.fail if {"netns", "all"} & set(required) else pytest.skip)("network namespaces or sshd are missing")


@dataclass
class SshFleet:
    """Its hosts, and what the provisioner sees of them."""

    hosts: Hosts
    fleet: fleets.Fleet

    def home(self, name: str) -> Path:
        return self.hosts.home(name)


@contextmanager
def running_fleet(folder: Path, nodes: int, *, name: str = "t", gpus: int = 0) -> Iterator[SshFleet]:
    """`nodes` hosts on a bridge of this call's own; their records lie in `folder/state/fleets/NAME`."""
    fleet_dir = folder / "state" / "fleets" / name
    fleet_dir.mkdir(parents=True, mode=0o700)
    key = fleet_dir / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (folder / "hosts").mkdir()
    own = free_network()
    hosts = Hosts(folder / "hosts", bridge=f"mlbtest{own}", gateway=f"10.78.{own}.254/24")
    hosts.up()
    try:
        addresses = {f"{name}-{i}": f"10.78.{own}.{1 + i}" for i in range(nodes)}
        public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
        keys = {node: hosts.start(node, address, public, gpus) for node, address in addresses.items()}
        known = "".join(f"{addresses[node]} {host_key}\n" for node, host_key in keys.items())
        (fleet_dir / "known_hosts").write_text(known)
        (fleet_dir / "fleet.json").write_text(json.dumps(_record(name, addresses, gpus)))
        for address in addresses.values():
            await_sshd(address)
        yield SshFleet(hosts, fleets.load(fleet_dir.parent, name))
    finally:
        hosts.down()


def free_network() -> int:
    """The number of a network that no other test has: who makes its bridge has it."""
    first = os.getpid() % 249
    for number in ((first + i) % 249 + 1 for i in range(249)):
        made = subprocess.run(
            ["ip", "link", "add", f"mlbtest{number}", "type", "bridge"], capture_output=True, check=False
        )
        if made.returncode == 0:
            return number
    raise AssertionError("there is no free network left: `ip link` shows whose they are")


def await_sshd(address: str) -> None:
    """Until the server takes connections."""
    for _ in range(600):
        try:
            return socket.create_connection((address, 22), 1).close()
        except OSError:
            subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError(f"no SSH server at {address}")


def _record(name: str, addresses: dict[str, str], gpus: int) -> dict[str, object]:
    nodes = [
        {"name": node, "ssh_host": at, "ssh_port": 22, "ssh_user": "root", "private_ip": at, "gpus": gpus}
        for node, at in addresses.items()
    ]
    return {
        "schema_version": 1,
        "name": name,
        "cloud": "docker",
        "status": "ready",
        "expires_at": "2099-01-01T00:00:00Z",
        "usd_per_hour": None,
        "nodes": nodes,
    }
