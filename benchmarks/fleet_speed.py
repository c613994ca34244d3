"""What mlb itself adds to renting a fleet: python benchmarks/fleet_speed.py [RUNS [checks]].

With `checks` the nodes' checks alone are measured, and no Terraform is needed.

AWS is moto in a process of its own, machines are SSH servers in network namespaces of this machine, `mlb` is the
command, Terraform and its AWS provider are real (docs/fleets.md names the tools). All 64 servers share this machine's
cores with the client, which no real fleet's do: the client's own CPU time says what remains without them.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import interval, machine
from mlb.infra import readiness, ssh
from mlb.infra.fleet import Node
from mlb.infra.folder import FleetFolder

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from infra.cache import only_one
from infra.conftest import provider_mirror
from netns_hosts import Hosts, _descendants, available

TESTS = sys.path[0]
TARGETS_S = {4: 5.0, 64: 10.0}
TARGET_RATIO = 3.0
SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from infra.moto_cloud import running_moto
from netns_hosts import Hosts
hosts = Hosts(Path(sys.argv[2]))
hosts.up()
with running_moto() as cloud:
    def launch(instance, key):
        cloud.consoles[instance.id] = hosts.start(instance.id, instance.public_ip, key, gpus=2)
    cloud.on_launch, cloud.on_end = launch, hosts.kill
    print(cloud.url, flush=True)
    sys.stdin.read()
hosts.down()
"""
# Terraform with a stopwatch: mlb's share is what is left of the command's time.
WRAPPER = """#!/bin/sh
[ "$1" = version ] && exec {terraform} "$@"
begun=$(date +%s%N)
{terraform} "$@"
code=$?
echo $(($(date +%s%N) - begun)) >>{log}
exit $code
"""


@contextmanager
def aws(folder: Path) -> Iterator[str]:
    """The URL of an AWS whose machines answer by SSH; it is gone at the end."""
    (folder / "hosts").mkdir()
    command = [sys.executable, "-P", "-c", SERVER, TESTS, str(folder / "hosts")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        yield server.stdout.readline().strip()
        server.communicate("")


@dataclass(frozen=True)
class Spent:
    """Seconds that one round took: on the wall, of the clients' processors and of the servers'."""

    wall: float
    client: float
    server: float


def readiness_seconds(folder: Path, runs: int) -> dict[tuple[str, int], list[Spent]]:
    """Checks of 4 and 64 nodes, and as many times `ssh NODE true` beside them, all interleaved."""
    fleet = FleetFolder(folder / "state", "speed")
    fleet.create()
    hosts = Hosts(folder)
    hosts.up()
    try:
        key = ssh.make_key(fleet)
        nodes, keys = [], {}
        for i in range(64):
            address = f"10.77.200.{i + 1}"
            nodes.append(Node(f"n-{i}", f"s{i}", address, address, address, 22, "root", 1))
            keys[f"n-{i}"] = [hosts.start(f"s{i}", address, key, gpus=1)]
        ssh.write_known_hosts(fleet, nodes, keys)
        readiness.check_all(fleet, nodes, 60)  # warms up

        def check(some: list[Node]) -> None:
            readiness.refuse_if_any_failed(readiness.check_all(fleet, some, 60))

        def bare(some: list[Node]) -> None:
            with ThreadPoolExecutor(len(some)) as pool:
                answers = list(pool.map(lambda node: ssh.run(fleet, node, "true", timeout_s=60), some))
            assert all(answer.code == 0 for answer in answers)

        times: dict[tuple[str, int], list[Spent]] = {(what, n): [] for n in (4, 64) for what in ("checks", "true")}
        for _ in range(runs):
            for (what, count), values in times.items():
                values.append(spent(lambda f=check if what == "checks" else bare, n=count: f(nodes[:n]), hosts))
    finally:
        hosts.down()
    return times


def spent(work: Callable[[], None], hosts: Hosts) -> Spent:
    """What some work takes. A server ends a moment after its client, and counts when it has."""
    client, server, start = cpu_s(), servers_cpu_s(hosts), time.perf_counter()
    work()
    wall = time.perf_counter() - start
    client = cpu_s() - client
    time.sleep(0.3)
    return Spent(wall, client, servers_cpu_s(hosts) - server)


def servers_cpu_s(hosts: Hosts) -> float:
    """CPU seconds of the SSH servers and of all that they started and saw end."""
    ticks = 0
    for process in hosts.processes.values():
        for pid in _descendants(process.pid):
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def cpu_s() -> float:
    """CPU seconds of this process and of those it waited for: the SSH clients, not the servers."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def own_seconds(folder: Path, env: dict[str, str], count: int) -> tuple[float, float]:
    """Seconds of one `mlb infra apply`: those that are not Terraform's, and all."""
    log = folder / "terraform.times"
    log.write_text("")
    asked = ["--cloud", "aws", "--gpus", "2", "--nodes", str(count), "--allow-cidr", "10.77.0.1/32"]
    start = time.perf_counter()
    done = mlb(env, "apply", *asked, "--ssh-user", "root", "--yes", "--json")
    wall = time.perf_counter() - start
    assert json.loads(done)["status"] == "ready"
    spent = sum(int(line) for line in log.read_text().split()) / 1e9
    mlb(env, "destroy", "--yes")
    return wall - spent, wall


def mlb(env: dict[str, str], *args: str) -> str:
    """What a verb of `mlb infra` prints; it must succeed."""
    command = [sys.executable, "-P", "-m", "mlb", "infra", *args]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def apply_seconds(folder: Path, runs: int) -> dict[int, list[tuple[float, float]]]:
    """Our own seconds of an apply of 4 and of 64 nodes, interleaved, and the whole command's."""
    rc, wrapper = folder / "terraform.rc", folder / "terraform"
    rc.write_text(f'provider_installation {{\n  filesystem_mirror {{ path = "{provider_mirror()}" }}\n}}\n')
    wrapper.write_text(WRAPPER.format(terraform=shutil.which("terraform"), log=folder / "terraform.times"))
    wrapper.chmod(0o755)
    unwanted = ("AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_SESSION_TOKEN")
    env: dict[str, Any] = {key: value for key, value in os.environ.items() if key not in unwanted}
    with aws(folder) as url:
        # Never the user's own account, whatever fails.
        env |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_ENDPOINT_URL": url}
        env |= {"AWS_EC2_METADATA_DISABLED": "true", "TF_CLI_CONFIG_FILE": str(rc)}
        env |= {"MLB_TERRAFORM": str(wrapper), "MLB_HOME": str(folder / "home")}
        times: dict[int, list[tuple[float, float]]] = {4: [], 64: []}
        for _ in range(runs):
            for count, values in times.items():
                values.append(own_seconds(folder, env, count))
    return times


def show(what: str, values: list[float], more: str = "") -> None:
    """One line: the median and its interval."""
    median, low, high = interval(values)
    print(f"{what:<40} median {median:6.3f} s (95 % {low:.3f}-{high:.3f}), n={len(values)}{more}", flush=True)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    checks_only = sys.argv[2:] == ["checks"]
    if not (available() and (checks_only or (provider_mirror() and shutil.which("terraform")))):
        sys.exit("fleet_speed needs network namespaces (root), Terraform and a mirror with its AWS provider")
    print(machine(), flush=True)
    # The tests' hosts have the same addresses.
    with only_one("netns"):
        measure_checks(runs)
        if not checks_only:
            measure_apply(runs)


def measure_checks(runs: int) -> None:
    """The checks of nodes alone, three times as often: they are quick."""
    with tempfile.TemporaryDirectory() as folder:
        checks = readiness_seconds(Path(folder), runs * 3)
    for (what, count), values in checks.items():
        show(f"{what} of {count} nodes at once", [one.wall for one in values])
        show("    CPU of the clients, a node", [one.client / count for one in values])
        show("    CPU of the servers, a node", [one.server / count for one in values])
    ratios(checks)


def ratios(checks: dict[tuple[str, int], list[Spent]]) -> None:
    """How much longer 64 nodes take than 4, by `true` alone, and by the processors' time if all of it were used."""
    for what in ("checks", "true"):
        few, many = checks[what, 4], checks[what, 64]
        ratio, low, high = interval([m.wall / f.wall for f, m in zip(few, many, strict=True)])
        print(f"{what}, 64 nodes against 4: {ratio:.1f}x (95 % {low:.1f}-{high:.1f}), target {TARGET_RATIO:g}x")
        least = statistics.median((one.client + one.server) / (os.cpu_count() or 1) for one in many)
        own = statistics.median(one.client / (os.cpu_count() or 1) for one in many)
        wall = statistics.median(one.wall for one in few)
        print(
            f"    processors' time of 64 over the wall of 4: {least / wall:.1f}x, the clients' alone {own / wall:.1f}x"
        )


def measure_apply(runs: int) -> None:
    """Whole commands, and what of their time is not Terraform's."""
    with tempfile.TemporaryDirectory() as folder:
        for count, pairs in apply_seconds(Path(folder), runs).items():
            show(
                f"mlb's share of an apply, {count} nodes", [own for own, _ in pairs], f", target {TARGETS_S[count]:g} s"
            )
            show("    the whole command", [wall for _, wall in pairs])


if __name__ == "__main__":
    main()
