"""A local fleet as it comes, made ready for a run with wheels from the controller: no package index is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlb.infra import by_tag, commands
from mlb.infra.docker import Docker
from mlb.infra.watcher import Limits, Watcher
from mlb.provisioner import bootstrap, fleet, wheel
from mlb.provisioner.fan_out import refuse_if_any_failed
from mlb.provisioner.ssh import doors
from wheelhouse import filled_wheelhouse

from .docker_engine import BASE

pytestmark = [pytest.mark.system, pytest.mark.slow]
LIMITS = Limits(apply_s=120, destroy_s=120, ready_s=60)


@pytest.fixture
def home(tmp_path: Path, engine: object, terraform_env: None, docker_host: str) -> Iterator[Path]:
    yield tmp_path / "state"
    for left in Docker().fleets():
        by_tag.collect(Docker(), left)


@pytest.mark.timeout(580)
def test_nodes_without_torch_get_it_from_the_wheels(home: Path, tmp_path: Path) -> None:
    wheelhouse = filled_wheelhouse()
    asked = commands.request({"cloud": "docker", "name": "t", "image": BASE, "nodes": 2}, home)
    commands.apply(asked, LIMITS, Watcher())
    made = fleet.load(home / "fleets", "t")
    offer = bootstrap.supplies(wheel.build(tmp_path), wheelhouse)
    said: list[str] = []
    with doors(made, made.nodes) as nodes:
        ready = refuse_if_any_failed(bootstrap.ready(nodes, offer, said.append), "bootstrap")
        assert said[1] == "Making the Python environment on 2 nodes: 2 with torch to be installed"
        assert {node.torch_version.partition("+")[0] for node in ready.values()} == {offer.packages["torch"]}
        assert {node.node.gpus for node in ready.values()} == {0}
        said.clear()
        again = refuse_if_any_failed(bootstrap.ready(nodes, offer, said.append), "bootstrap")
        assert said == []
        assert [node.python for node in again.values()] == [node.python for node in ready.values()]

        # A change of mlb takes the torch that is there: no wheel is sent or installed.
        other = bootstrap.Supplies(wheel.Wheel(offer.wheel.path, "0" * 64), offer.packages, wheelhouse)
        refuse_if_any_failed(bootstrap.ready(nodes, other, said.append), "bootstrap")
        assert said == ["Making the Python environment on 2 nodes: 2 over a torch that is there"]
