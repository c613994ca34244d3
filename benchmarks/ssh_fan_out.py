"""One command on many nodes over SSH, what 64 hosts cost beside 4: python benchmarks/ssh_fan_out.py.

Hosts are network namespaces on this machine, each with an SSH server; needs root. A new connection to every host and
one command (`cold`), then the command alone over the connections that are there (`warm`), 4 and 64 hosts interleaved.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
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
        for name, measure in (("cold", _cold), ("warm", _warm)):
            measure(fleet, fleet.fleet.nodes[:FEW])  # the first use loads libraries
            rounds = [
                (measure(fleet, fleet.fleet.nodes[:FEW]), measure(fleet, fleet.fleet.nodes)) for _ in range(ROUNDS)
            ]
            few, many = (interval(column)[0] for column in zip(*rounds, strict=True))
            ratio, low, high = interval([many / few for few, many in rounds])
            print(
                f"{name}: {FEW} hosts {few:.3f} s, {MANY} hosts {many:.3f} s, ratio {ratio:.1f} [{low:.1f}, {high:.1f}]"
            )


def _cold(fleet: SshFleet, nodes: tuple[FleetNode, ...]) -> float:
    begun = time.monotonic()
    with doors(fleet.fleet, nodes) as made:
        _run(made)
        return time.monotonic() - begun


def _warm(fleet: SshFleet, nodes: tuple[FleetNode, ...]) -> float:
    with doors(fleet.fleet, nodes) as made:
        _run(made)
        return _timed(lambda: _run(made))


def _run(nodes: dict[str, SshTransport]) -> None:
    refuse_if_any_failed(fan_out(nodes, lambda node: node.run(["true"], timeout_s=60)), "true")


def _timed(work: Callable[[], None]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


if __name__ == "__main__":
    main()
