"""How long `mlb --help` takes: python benchmarks/cli_start.py [RUNS]. Interleaved with a Python that does nothing."""

import subprocess
import sys
import time

from common import interval, machine

COMMANDS = {
    "mlb --help": [sys.executable, "-P", "-m", "mlb", "--help"],
    "python -c pass": [sys.executable, "-P", "-c", "pass"],
}


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times[name].append(time.perf_counter() - start)
    print(machine())
    for name, values in times.items():
        median, low, high = interval(values)
        print(f"{name:<16} median {median:.3f} s (95 % {low:.3f}-{high:.3f}), worst {max(values):.3f}, n={runs}")


if __name__ == "__main__":
    main()
