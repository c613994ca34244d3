"""What mlb itself adds to renting a fleet: python benchmarks/fleet_speed.py [RUNS].

AWS is moto, machines are SSH servers in network namespaces of this machine, Terraform and its AWS provider are real
(docs/fleets.md names the tools). All 64 servers share this machine's cores with the client, which no real fleet's do.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import interval, machine
from mlb.infra import commands, readiness, ssh, terraform
from mlb.infra.fleet import Node
from mlb.infra.folder import FleetFolder
from mlb.infra.process import run_lines
from mlb.infra.watcher import Limits, Watcher

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from infra.conftest import provider_mirror
from infra.moto_cloud import Cloud, running_moto
from netns_hosts import Hosts, available

TARGETS_S = {4: 5.0, 64: 10.0}
TARGET_RATIO = 3.0
LIMITS = Limits(apply_s=600, destroy_s=600, ready_s=120)


@contextmanager
def hosts_up(folder: Path) -> Iterator[Hosts]:
    """A network of hosts, gone at the end."""
    hosts = Hosts(folder)
    hosts.up()
    try:
        yield hosts
    finally:
        hosts.down()


def readiness_seconds(folder: Path, runs: int) -> dict[int, list[float]]:
    """Seconds to check 4 and 64 nodes, interleaved."""
    fleet = FleetFolder(folder / "state", "speed")
    fleet.create()
    with hosts_up(folder) as hosts:
        key = ssh.make_key(fleet)
        nodes, keys = [], {}
        for i in range(64):
            address = f"10.77.200.{i + 1}"
            nodes.append(Node(f"n-{i}", f"s{i}", address, address, address, 22, "root", 1))
            keys[f"n-{i}"] = [hosts.start(f"s{i}", address, key, gpus=1)]
        ssh.write_known_hosts(fleet, nodes, keys)
        readiness.check_all(fleet, nodes, 60)  # warms up
        times: dict[int, list[float]] = {4: [], 64: []}
        for _ in range(runs):
            for count, values in times.items():
                start = time.perf_counter()
                readiness.refuse_if_any_failed(readiness.check_all(fleet, nodes[:count], 60))
                values.append(time.perf_counter() - start)
    return times


def own_seconds(cloud: Cloud, home: Path, count: int) -> float:
    """Seconds of one apply that are not Terraform's."""
    spent: list[float] = []

    def timed(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return run_lines(*args, **options)
        finally:
            spent.append(time.perf_counter() - start)

    asked = {"cloud": "aws", "allow_cidr": "10.77.0.1/32", "ssh_user": "root", "gpus": 2, "nodes": count}
    terraform.run_lines = timed
    try:
        start = time.perf_counter()
        commands.apply(commands.request(asked, home), LIMITS, Watcher())
        ours = time.perf_counter() - start - sum(spent)
    finally:
        terraform.run_lines = run_lines
    commands.destroy("aws", None, "", LIMITS, Watcher(), home)
    cloud.reset()
    return ours


def apply_seconds(folder: Path, runs: int) -> dict[int, list[float]]:
    """Our own seconds of an apply of 4 and of 64 nodes, interleaved."""
    rc = folder / "terraform.rc"
    rc.write_text(f'provider_installation {{\n  filesystem_mirror {{ path = "{provider_mirror()}" }}\n}}\n')
    for name in ("AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_SESSION_TOKEN"):
        os.environ.pop(name, None)
    with hosts_up(folder) as hosts, running_moto() as cloud:

        def launch(instance: Any, key: str) -> None:
            cloud.consoles[instance.id] = hosts.start(instance.id, instance.public_ip, key, gpus=2)

        cloud.on_launch, cloud.on_end = launch, hosts.kill
        # Never the user's own account, whatever fails.
        os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        os.environ |= {"AWS_ENDPOINT_URL": cloud.url, "AWS_EC2_METADATA_DISABLED": "true"}
        os.environ["TF_CLI_CONFIG_FILE"] = str(rc)
        times: dict[int, list[float]] = {4: [], 64: []}
        for _ in range(runs):
            for count, values in times.items():
                values.append(own_seconds(cloud, folder / "state", count))
    return times


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    if not (available() and provider_mirror() and (shutil.which("terraform") or shutil.which("tofu"))):
        sys.exit("fleet_speed needs network namespaces (root), Terraform and a mirror with its AWS provider")
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        for count, values in apply_seconds(Path(folder), runs).items():
            median, low, high = interval(values)
            print(
                f"mlb's share of an apply, {count:>2} nodes: median {median:.2f} s (95 % {low:.2f}-{high:.2f}), "
                f"n={runs}, target {TARGETS_S[count]:g} s"
            )
    with tempfile.TemporaryDirectory() as folder:
        checks = readiness_seconds(Path(folder), runs)
    for count, values in checks.items():
        median, low, high = interval(values)
        print(f"checks of {count:>2} nodes at once: median {median:.2f} s (95 % {low:.2f}-{high:.2f}), n={runs}")
    ratio, low, high = interval([many / few for few, many in zip(checks[4], checks[64], strict=True)])
    print(f"checks, 64 nodes against 4: {ratio:.1f}x (95 % {low:.1f}-{high:.1f}), target {TARGET_RATIO:g}x")


if __name__ == "__main__":
    main()
