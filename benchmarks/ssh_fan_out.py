"""One command on many nodes over SSH, what 64 hosts cost beside 4: python benchmarks/ssh_fan_out.py [ROUNDS].

Hosts are network namespaces on this machine, each with an SSH server; needs root. A new connection to every host and
`true` (`cold`); `true` over the connections that are there (`warm`); a command there that takes 0.3 s (`longer`).
4 and 64 hosts, by mlb and by OpenSSH's own client (a process a host, all at once; `-o ControlPath` where connections
are there), interleaved. All hosts share this machine's cores: what 64 of them do for a command is in these times, and
OpenSSH's ratio says what of it is theirs. `client` is the processor time that the asking side took for 64 hosts.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from common import interval, machine
from mlb.provisioner.fan_out import fan_out, refuse_if_any_failed
from mlb.provisioner.fleet import FleetNode
from mlb.provisioner.ssh import SshTransport, doors

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from ssh_fleet import SshFleet, running_fleet

FEW, MANY = 4, 64
COMMANDS = {"cold": ("true",), "warm": ("true",), "longer": ("sleep", "0.3")}


def main() -> None:
    """Print the median seconds for 4 and for 64 hosts and their ratio, with its 95 % interval."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    print(machine())
    with tempfile.TemporaryDirectory() as folder, running_fleet(Path(folder), MANY) as fleet:
        sizes = (fleet.fleet.nodes[:FEW], fleet.fleet.nodes)
        for name, command in COMMANDS.items():
            warm = name != "cold"
            ways = {"mlb": _by_mlb, "OpenSSH": _by_openssh}
            for measure in ways.values():
                measure(fleet, sizes[0], command, warm=warm)  # the first use loads libraries
            taken = [
                {way: [m(fleet, nodes, command, warm=warm) for nodes in sizes] for way, m in ways.items()}
                for _ in range(rounds)
            ]
            for way in ways:
                _show(f"{name}, {way}", [one[way] for one in taken])


def _show(name: str, taken: Sequence[Sequence[tuple[float, float]]]) -> None:
    few, many = (interval([seconds for seconds, _ in column])[0] for column in zip(*taken, strict=True))
    ratio, low, high = interval([many / few for (few, _), (many, _) in taken])
    client = interval([cpu for _, (_, cpu) in taken])[0]
    spread = f"ratio {ratio:.1f} [{low:.1f}, {high:.1f}]"
    print(f"{name}: {FEW} hosts {few:.3f} s, {MANY} hosts {many:.3f} s, {spread}, client {client:.3f} s", flush=True)


def _by_mlb(
    fleet: SshFleet, nodes: tuple[FleetNode, ...], command: Sequence[str], *, warm: bool
) -> tuple[float, float]:
    with doors(fleet.fleet, nodes) as made:
        if warm:
            _run(made, "true")
        with _timed() as taken:
            _run(made, *command)
    return taken[0], taken[1]


def _by_openssh(
    fleet: SshFleet, nodes: tuple[FleetNode, ...], command: Sequence[str], *, warm: bool
) -> tuple[float, float]:
    known = ("-F", "none", "-o", f"UserKnownHostsFile={fleet.fleet.known_hosts}", "-o", "BatchMode=yes")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ends:
        base = ["ssh", *known, "-i", str(fleet.fleet.key)]

        def at(node: FleetNode) -> list[str]:
            shared = ["-o", f"ControlPath={folder}/{node.name}"] if warm else []
            return [*base, *shared, f"root@{node.ssh_host}"]

        if warm:
            _all([["ssh", "-M", "-N", "-f", *at(node)[1:]] for node in nodes])
            for node in nodes:
                ends.callback(subprocess.run, [*at(node), "-O", "exit"], check=False, capture_output=True)
        with _timed() as taken:
            _all([[*at(node), *command] for node in nodes])
    return taken[0], taken[1]


@contextmanager
def _timed() -> Iterator[list[float]]:
    """Seconds of wall clock, and of processor for this process and its children; the list is filled at the end."""
    taken: list[float] = []
    begun, before = time.monotonic(), _cpu()
    yield taken
    taken += [time.monotonic() - begun, _cpu() - before]


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _all(commands: Sequence[Sequence[str]]) -> None:
    running = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands]
    codes = [process.wait() for process in running]
    assert not any(codes), f"a host refused the command: {codes}"


def _run(nodes: dict[str, SshTransport], *command: str) -> None:
    refuse_if_any_failed(fan_out(nodes, lambda node: node.run(command, timeout_s=60)), command[0])


if __name__ == "__main__":
    main()
