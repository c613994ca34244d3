"""A task's smoke goal with several seeds: python benchmarks/smoke.py TASK SEED... [-- OPTIONS of mlb bench].

One row a seed: the epoch that met the goal, the time to target and from the launch, the quality of every epoch, the
input's share of the time in steps. A seed that misses the goal is a row like any other, and the exit code tells.
"""

import json
import subprocess
import sys
from typing import Any

from common import machine
from mlb.results.keys import PHASES

HEAD = """| seed | goal met in | time to target | from the launch | validation, by epoch | test | input |
|---|---|---|---|---|---|---|"""


def once(task: str, seed: str, options: list[str], goal: str = "smoke") -> float | None:
    """Run one seed and print its row; the seconds to the target, or None where it was missed."""
    command = [sys.executable, "-P", "-m", "mlb", "bench", task, "--goal", goal, "--seed", seed, *options, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    if "quality" not in report:
        print(f"| {seed} | {done.stdout.strip()} |")
        return None
    evaluations = report["quality"]["evaluations"]
    curve = " ".join(f"{e['value']:.2f}" for e in evaluations if e["split"] == "validation")
    test = " ".join(f"{e['value']:.2f}" for e in evaluations if e["split"] == "test")
    reached = report["quality"]["reached"]
    times = (
        f"{report['time_to_target_s']:.1f} s | {report['time_to_target_from_launch_s']:.1f} s" if reached else "- | -"
    )
    met = f"epoch {reached['epoch']}" if reached else "missed"
    print(f"| {seed} | {met} | {times} | {curve} | {test} | {input_share(report):.1f} % |", flush=True)
    return float(report["time_to_target_s"]) if reached else None


def input_share(report: dict[str, Any]) -> float:
    """Percent of the time in training steps that the ranks waited for data."""
    seconds = report["time"]["mean"]["seconds"]
    return 100 * seconds["input"] / sum(seconds[phase] for phase in PHASES)


def main() -> int:
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    (task, *seeds), options = arguments[:cut], arguments[cut + 1 :]
    print(f"{task}, goal smoke, on {machine()}")
    print(HEAD)
    times = [once(task, seed, options) for seed in seeds]
    return 0 if None not in times else 1


if __name__ == "__main__":
    sys.exit(main())
