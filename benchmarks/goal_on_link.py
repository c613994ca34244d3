"""Time to a task's smoke goal over a slow link, by pattern: python benchmarks/goal_on_link.py --help.

Needs root: the nodes are network namespaces with an SSH server each, one gloo rank on each, every cable bounded by
`tc tbf` in both directions. What runs is `mlb compare TASK --goal smoke --vary aggregation=…` on that fleet.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from ssh_fleet import running_fleet

PATTERNS = ("allreduce", "powersgd", "topk", "int8")


def compared(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What `mlb compare` says of the runs."""
    command = [
        sys.executable, "-P", "-m", "mlb", "compare", given.task, "--goal", "smoke", "--fleet", "t", "--json",
        "--vary", f"aggregation={','.join(given.patterns)}", "--repeat", str(given.repeat), "--seed", str(given.seed),
    ]  # fmt: skip
    environment = os.environ | {"MLB_HOME": str(home)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    assert done.stdout, done.returncode
    return dict(json.loads(done.stdout))


def main() -> None:
    """Print a row a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="task3a")
    parser.add_argument("--rate", type=int, default=100, help="Mbit/s of each cable")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--patterns", nargs="+", default=PATTERNS)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--seed", type=int, default=42)
    given = parser.parse_args()
    print(f"{machine()}; {given.task}, goal smoke, {given.nodes} nodes at {given.rate} Mbit/s", flush=True)
    with tempfile.TemporaryDirectory() as folder, running_fleet(Path(folder), given.nodes) as fleet:
        for node in fleet.fleet.nodes:
            fleet.hosts.shape(node.name, f"{given.rate}mbit")
        compared(Path(folder), given)
        print(
            f"{'aggregation':<20}{'seed':>6}{'to the goal':>13}{'steps':>8}{'step, ms':>10}{'MB a step':>11}  quality"
        )
        for path in sorted((Path(folder) / "runs").iterdir()):
            show(json.loads((path / "metrics.json").read_text()))


def show(run: dict[str, Any]) -> None:
    found = run["communication"]
    step_ms = sum(rank["step_ms"] for rank in found["ranks"]) / len(found["ranks"])
    goal = f"{run['time_to_target_s']:.1f} s" if run["time_to_target_s"] else run["status"]
    curve = " ".join(f"{e['value']:.1f}" for e in run["quality"]["evaluations"] if e["split"] == "validation")
    sent = found["wire_bytes_per_step"] / 1e6
    print(f"{run['aggregation']:<20}{run['seed']:>6}{goal:>13}{run['steps']:>8}{step_ms:>10.1f}{sent:>11.3f}  {curve}")


if __name__ == "__main__":
    main()
