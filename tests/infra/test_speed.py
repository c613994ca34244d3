"""Checks of many nodes at once cost little more than those of a few."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlb.infra import readiness, ssh
from mlb.infra.fleet import Node
from mlb.infra.folder import FleetFolder

from .conftest import need
from .netns_hosts import Hosts, available

pytestmark = [pytest.mark.system, pytest.mark.slow]


@pytest.fixture
def fleet_of_hosts(tmp_path: Path) -> Iterator[tuple[FleetFolder, list[Node]]]:
    need("netns", available())
    folder = FleetFolder(tmp_path / "state", "speed")
    folder.create()
    hosts = Hosts(tmp_path)
    hosts.up()
    key = ssh.make_key(folder)
    nodes, keys = [], {}
    for i in range(64):
        address = f"10.77.200.{i + 1}"
        nodes.append(Node(f"n-{i}", f"s{i}", address, address, address, 22, "root", 1))
        keys[f"n-{i}"] = [hosts.start(f"s{i}", address, key, gpus=1)]
    ssh.write_known_hosts(folder, nodes, keys)
    yield folder, nodes
    hosts.down()


def test_checking_64_nodes_at_once(fleet_of_hosts: tuple[FleetFolder, list[Node]], record_property: Any) -> None:
    folder, nodes = fleet_of_hosts
    assert all(not c.problems for c in readiness.check_all(folder, nodes, 60)), "warm up"

    def seconds(count: int) -> float:
        begun = time.monotonic()
        assert all(not c.problems for c in readiness.check_all(folder, nodes[:count], 60))
        return time.monotonic() - begun

    four, all_of_them = min(seconds(4) for _ in range(3)), min(seconds(64) for _ in range(3))
    record_property("seconds", {"4": four, "64": all_of_them})
    print(f"4 nodes {four:.2f} s, 64 nodes {all_of_them:.2f} s")  # noqa: T201
    # The servers of all 64 nodes share this machine's cores with the client, which no real fleet's do.
    assert all_of_them < 20
