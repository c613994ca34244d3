"""`mlb scale` on slower and faster links: python benchmarks/scale_links.py [STEPS] [REPEATS] [RATE_MBIT...].

Four nodes, network namespaces with an SSH server each (needs root), one gloo rank on each, every cable bounded by
`tc tbf` in both directions. For each rate `mlb scale task3a --nodes 1,2,4`, and beside the transfer it reports the
least that a ring takes for the gradients: 2 (n - 1) / n of their bytes, less the bucket's burst, over the rate.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import machine
from mlb.results.log import read_log
from mlb.results.run import RunFolder

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from ssh_fleet import SshFleet, running_fleet

NODES = (1, 2, 4)
BURST_BYTES = 256_000
"""What `Hosts.shape` lets a token bucket save up."""


def main() -> None:
    """Print a table of sizes and rates."""
    steps, repeats, *rates = [int(word) for word in sys.argv[1:]] or [30, 2]
    print(machine())
    print(f"{'link':>12} nodes    step ms  transfer ms  least ms  transfer/least  wait ms")
    with tempfile.TemporaryDirectory() as folder, running_fleet(Path(folder), max(NODES)) as fleet:
        for rate in rates or (100, 1000):
            _shape(fleet, rate)
            found = _scale(Path(folder), steps, repeats)
            payload = _payload_bytes(Path(folder))
            for point in found["points"]:
                _show(rate, point, payload)


def _shape(fleet: SshFleet, rate: int) -> None:
    for node in fleet.fleet.nodes:
        fleet.hosts.shape(node.name, f"{rate}mbit")


def _scale(home: Path, steps: int, repeats: int) -> dict[str, Any]:
    sizes = ("--nodes", ",".join(map(str, NODES)), "--steps", str(steps), "--repeat", str(repeats))
    smoke = ("--goal", "smoke", "--data", "synthetic", "--fleet", "t", "--json")
    command = [sys.executable, "-P", "-m", "mlb", "scale", "task3a", *sizes, *smoke]
    done = subprocess.run(
        command, env=os.environ | {"MLB_HOME": str(home)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def _payload_bytes(home: Path) -> int:
    """Bytes of gradients that a step reduces, by the log of the newest run."""
    events = read_log(RunFolder(max((home / "runs").iterdir())).rank_events(0)).events
    return max(sum(event.fields["collective_bytes"]) for event in events if event.key == "step")


def _show(rate: int, point: dict[str, Any], payload: int) -> None:
    n, transfer_ms = point["nodes"], 1e3 * (point["transfer_s"] or 0.0)
    least_ms = max(0.0, 8e3 * (2 * (n - 1) / n * payload - BURST_BYTES) / (rate * 1e6)) if n > 1 else 0.0
    over = f"{transfer_ms / least_ms:.2f}" if least_ms else "-"
    spread = f"{1e3 * point['step_s']:.1f} ± {1e3 * (point['step_spread_s'] or 0.0):.1f}"
    text = f"{transfer_ms:>12.1f} {least_ms:>9.1f} {over:>15} {1e3 * (point['wait_s'] or 0.0):>8.1f}"
    print(f"{rate:>7} Mbit/s {n:>4} {spread:>15} {text}", flush=True)


if __name__ == "__main__":
    main()
