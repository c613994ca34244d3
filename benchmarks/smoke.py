"""A task's smoke goal with several seeds: python benchmarks/smoke.py TASK SEED... [-- OPTIONS of mlb bench].

One row a seed: the epoch that met the goal, the time to target and from the launch, the quality of every epoch, the
input's share of the time in steps, the peak resident memory of the largest rank (MLB_HOME tells which are ours).
A seed that misses the goal is a row like any other, and the exit code tells.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from common import machine
from mlb.results.keys import PHASES

HEAD = """| seed | goal met in | time to target | from the launch | validation, by epoch | test | input | a rank has |
|---|---|---|---|---|---|---|---|"""


def once(task: str, seed: str, options: list[str]) -> float | None:
    """Run one seed and print its row; the seconds to the target, or None where it was missed."""
    command = [sys.executable, "-P", "-m", "mlb", "bench", task, "--goal", "smoke", "--seed", seed, *options, "--json"]
    with tempfile.TemporaryFile("w+") as answer:
        running = subprocess.Popen(command, stdout=answer, stderr=subprocess.DEVNULL)
        peak = 0
        while running.poll() is None:
            peak = max(peak, largest_rank())
            time.sleep(0.5)
        answer.seek(0)
        text = answer.read()
    report = json.loads(text)
    if "quality" not in report:
        print(f"| {seed} | {text.strip()} |")
        return None
    evaluations = report["quality"]["evaluations"]
    curve = " ".join(f"{e['value']:.2f}" for e in evaluations if e["split"] == "validation")
    test = " ".join(f"{e['value']:.2f}" for e in evaluations if e["split"] == "test")
    reached = report["quality"]["reached"]
    times = (
        f"{report['time_to_target_s']:.1f} s | {report['time_to_target_from_launch_s']:.1f} s" if reached else "- | -"
    )
    met = f"epoch {reached['epoch']}" if reached else "missed"
    print(
        f"| {seed} | {met} | {times} | {curve} | {test} | {input_share(report):.1f} % | {peak >> 20} MiB |", flush=True
    )
    return float(report["time_to_target_s"]) if reached else None


def largest_rank() -> int:
    """Bytes that the largest rank of a run in MLB_HOME had resident at its peak so far; 0 where none runs."""
    home, peaks = os.environ.get("MLB_HOME", ""), [0]
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_text()
            if home and home in command and "mlb.runners.worker" in command:
                found = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
                peaks.append(int(found[1]) << 10 if found else 0)
    return max(peaks)


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
