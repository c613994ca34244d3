"""Three commands from nothing to a result and back to nothing: apply, bench, destroy, as processes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mlb.infra.aws import Aws
from netns_hosts import Hosts
from support import Mlb

if TYPE_CHECKING:
    from .moto_cloud import Cloud

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def test_three_commands_on_aws_with_cpu_nodes(cloud: Cloud, hosts: Hosts, mlb_home: Path, tmp_path: Path) -> None:
    """The stand-in's machines are namespaces that have the private addresses which AWS's answers name."""
    before = cloud.on_launch

    def launch(instance: Any, key: str) -> None:
        cloud.consoles[instance.id] = hosts.start(instance.id, instance.public_ip, key, gpus=0)
        space = hosts._names(instance.id)[0]
        address = ["addr", "add", f"{instance.private_ip}/16", "dev", "eth0"]
        subprocess.run(["ip", "-n", space, *address], check=True)

    cloud.on_launch = launch
    mlb = Mlb(mlb_home, tmp_path)
    try:
        access = ("--allow-cidr", "10.77.0.1/32", "--ssh-user", "root", "--yes")
        applied = finished(mlb, "infra", "apply", "--cloud", "aws", "--gpus", "0", "--nodes", "2", *access)
        assert len(applied["nodes"]) == 2
        smoke = ("--goal", "smoke", "--data", "synthetic", "--ranks", "1", "--steps", "4")
        report = finished(mlb, "bench", "task3a", *smoke)
        assert (report["ranks"], report["fleet"], report["steps"]) == (2, applied["name"], 4)
        assert report["consistency"]["parameters_equal"] is True
        assert report["logs"]["complete"] == 2
        assert finished(mlb, "infra", "destroy", "--yes")["left"] == 0
        assert sum(fleet.resources for fleet in Aws("us-east-1").fleets()) == 0
    finally:
        cloud.on_launch = before


def finished(mlb: Mlb, *arguments: str) -> dict[str, Any]:
    """The command's answer; it must succeed."""
    process = mlb.start(*arguments, "--json")
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err + out
    answer: dict[str, Any] = json.loads(out)
    return answer
