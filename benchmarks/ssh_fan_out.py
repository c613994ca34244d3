"""One command on many nodes over SSH, what 64 hosts cost beside 4: python benchmarks/ssh_fan_out.py.

Hosts are network namespaces on this machine, each with an SSH server; needs root. A new connection to every host and
`true` (`cold`); `true` over the connections that are there (`warm`); a command there that takes 0.3 s (`longer`).
4 and 64 hosts interleaved. All hosts share this machine's cores: what 64 of them do for a command is in these times.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from common import interval, machine
from mlb.provisioner.fan_out import fan_out, refuse_if_any_failed
from mlb.provisioner.fleet import FleetNode
from mlb.provisioner.ssh import SshTransport, doors

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from ssh_fleet import SshFleet, running_fleet

FEW, MANY, ROUNDS = 4, 64, 7


def main() -> None:
    """Print the median seconds for 4 and for 64 hosts and their ratio, with its 95 % interval."""
    print(machine())
    with tempfile.TemporaryDirectory() as folder, running_fleet(Path(folder), MANY) as fleet:
        sizes = (fleet.fleet.nodes[:FEW], fleet.fleet.nodes)
        for name, measure in (("cold", _cold), ("warm", _warm), ("longer", _longer)):
            measure(fleet, sizes[0])  # the first use loads libraries
            rounds = [[measure(fleet, nodes) for nodes in sizes] for _ in range(ROUNDS)]
            few, many = (interval(column)[0] for column in zip(*rounds, strict=True))
            ratio, low, high = interval([many / few for few, many in rounds])
            spread = f"ratio {ratio:.1f} [{low:.1f}, {high:.1f}]"
            print(f"{name}: {FEW} hosts {few:.3f} s, {MANY} hosts {many:.3f} s, {spread}")


def _cold(fleet: SshFleet, nodes: tuple[FleetNode, ...]) -> float:
    begun = time.monotonic()
    with doors(fleet.fleet, nodes) as made:
        _run(made, "true")
        return time.monotonic() - begun


def _warm(fleet: SshFleet, nodes: tuple[FleetNode, ...]) -> float:
    return _over_open_connections(fleet, nodes, "true")


def _longer(fleet: SshFleet, nodes: tuple[FleetNode, ...]) -> float:
    return _over_open_connections(fleet, nodes, "sleep", "0.3")


def _over_open_connections(fleet: SshFleet, nodes: tuple[FleetNode, ...], *command: str) -> float:
    with doors(fleet.fleet, nodes) as made:
        _run(made, "true")
        begun = time.monotonic()
        _run(made, *command)
        return time.monotonic() - begun


def _run(nodes: dict[str, SshTransport], *command: str) -> None:
    refuse_if_any_failed(fan_out(nodes, lambda node: node.run(command, timeout_s=60)), command[0])


if __name__ == "__main__":
    main()
