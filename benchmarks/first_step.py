"""From `mlb bench` to the first training step: python benchmarks/first_step.py [RUNS] [GOAL].

The clock starts before the command's process and stops where the log says that the first step began. Synthetic data.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from common import interval, machine
from mlb.results import keys
from mlb.results.log import read_log
from mlb.results.run import RunFolder


def once(home: str, goal: str) -> dict[str, float]:
    """Seconds of each stage of one start, of the slowest rank."""
    command = ["-P", "-m", "mlb", "bench", "task3a", "--goal", goal, "--data", "synthetic", "--steps", "1"]
    start_ns = time.time_ns()
    subprocess.run([sys.executable, *command], env=os.environ | {"MLB_HOME": home}, check=True, capture_output=True)
    folder = RunFolder(sorted((Path(home) / "runs").iterdir())[-1])
    spec, stages = folder.read_spec(), defaultdict[str, float](float)
    stages["command to launch"] = (spec.launched_unix_ns - start_ns) / 1e9
    for rank in range(spec.ranks):
        first, *events = read_log(folder.rank_events(rank)).events
        zero_ns = first.fields["unix_time_ns"] - first.time_ns
        stages["launch to rank"] = max(
            stages["launch to rank"], (first.fields["unix_time_ns"] - spec.launched_unix_ns) / 1e9
        )
        for event in events:
            if event.key == "stage" and event.fields["name"] not in keys.STAGES_AFTER_STARTUP:
                name = event.fields["name"]
                stages[name] = max(stages[name], event.fields["duration_ns"] / 1e9)
        step = next(event for event in events if event.key == "step")
        stages["total"] = max(stages["total"], (step.fields["start_ns"] + zero_ns - start_ns) / 1e9)
    return stages


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    goal = sys.argv[2] if len(sys.argv) > 2 else "smoke"
    print(machine())
    with tempfile.TemporaryDirectory() as home:
        once(home, goal)  # prepares the data, and warms the disk's cache
        results = [once(home, goal) for _ in range(runs)]
    for name in results[0]:
        median, low, high = interval([result[name] for result in results])
        print(f"{name:<18} median {median:6.3f} s (95 % {low:.3f}-{high:.3f}), n={runs}")


if __name__ == "__main__":
    main()
