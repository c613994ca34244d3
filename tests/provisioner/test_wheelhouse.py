"""Nodes without torch and without a package index: uv and all wheels come from the controller, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlb.provisioner import bootstrap, wheel
from mlb.provisioner.fan_out import refuse_if_any_failed
from mlb.provisioner.ssh import SshTransport
from ssh_fleet import SshFleet
from wheelhouse import filled_wheelhouse

pytestmark = [pytest.mark.system, pytest.mark.slow]
# A node whose only Python is too old, as it says itself; its verbs still run.
ABOUT = {"version": [3, 10, 1], "prefix": "/usr", "torch": "", "has": [], "pip": True, "sites": []}
OLD = f"""#!/bin/sh
[ "$1" = -I ] && {{ echo '{json.dumps(ABOUT)}'; exit; }}
exec /usr/bin/python3 "$@"
"""


@pytest.mark.timeout(580)
def test_nodes_are_made_ready_from_wheels_alone(
    ssh_fleet: SshFleet,
    nodes: dict[str, SshTransport],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    three = {name: nodes[name] for name in ("t-0", "t-1", "t-2")}
    for name in three:
        for program in ("python3", "python3.11"):
            ssh_fleet.hosts.program(name, program, OLD)
    senders: list[str] = []
    put = SshTransport.put

    def noted(self: SshTransport, local: Path, *rest: object) -> None:
        if local.name.startswith("torch-"):
            senders.append(self.node.name)
        put(self, local, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(SshTransport, "put", noted)
    wheelhouse = filled_wheelhouse()
    offer = bootstrap.supplies(wheel.build(tmp_path), wheelhouse)
    said: list[str] = []
    ready = refuse_if_any_failed(bootstrap.ready(three, offer, said.append), "bootstrap")
    assert said[1] == "Making the Python environment on 3 nodes: 3 with torch to be installed"
    assert {node.torch_version.partition("+")[0] for node in ready.values()} == {offer.packages["torch"]}
    assert len(senders) == 1, "one node had torch from the controller, the others from that node"
    said.clear()

    # A change of mlb takes the torch that is there.
    other = bootstrap.Supplies(wheel.Wheel(offer.wheel.path, "0" * 64), offer.packages, wheelhouse)
    refuse_if_any_failed(bootstrap.ready(three, other, said.append), "bootstrap")
    assert said == ["Making the Python environment on 3 nodes: 3 over a torch that is there"]
