"""`mlb bench` to the first step on a fleet, beside torchrun by hand: benchmarks/fleet_first_step.py [PAIRS] [NODES].

The nodes are network namespaces with an SSH server each (needs root), made ready before; synthetic data. Both sides
run the same ranks over the same rendezvous; by hand means one ssh a node that starts torchrun. Interleaved.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import interval, machine
from mlb.results.log import read_log
from mlb.results.run import RunFolder

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from ssh_fleet import SshFleet, running_fleet

SMOKE = ("bench", "task3a", "--goal", "smoke", "--data", "synthetic", "--steps", "1", "--fleet", "t")


def first_step_ns(folder: RunFolder, ranks: int) -> int:
    """Wall clock at which the last rank began its first step."""
    latest = 0
    for rank in range(ranks):
        first, *events = read_log(folder.rank_events(rank)).events
        step = next(event for event in events if event.key == "step")
        latest = max(latest, step.fields["start_ns"] + first.fields["unix_time_ns"] - first.time_ns)
    return latest


def by_mlb(home: Path) -> tuple[float, RunFolder]:
    start_ns = time.time_ns()
    command = [sys.executable, "-P", "-m", "mlb", *SMOKE]
    subprocess.run(command, env=os.environ | {"MLB_HOME": str(home)}, check=True, capture_output=True)
    folder = RunFolder(sorted((home / "runs").iterdir())[-1])
    return (first_step_ns(folder, folder.read_spec().ranks) - start_ns) / 1e9, folder


def by_hand(fleet: SshFleet, like: RunFolder, number: int) -> float:
    """torchrun on each node over a plain ssh, with the arguments of a run that mlb has launched."""
    plan, processes = json.loads(like.plan.read_text()), []
    folders = [RunFolder(Path(node["folder"]).with_name(f"by-hand-{number}")) for node in plan["nodes"]]
    for node, folder in zip(plan["nodes"], folders, strict=True):
        folder.create()
        folder.spec.write_text((Path(node["folder"]) / "run.json").read_text())
    start_ns = time.time_ns()
    for node, folder, host in zip(plan["nodes"], folders, fleet.fleet.nodes, strict=True):
        torchrun = node["argv"][node["argv"].index("--") + 1 : -1]
        settings = [f"{key}={value}" for key, value in node["env"].items()] + ["GLOO_SOCKET_IFNAME=eth0"]
        inside = ["env", *settings, node["python"], "-P", "-m", "torch.distributed.run", *torchrun, str(folder.path)]
        known = ("-o", f"UserKnownHostsFile={fleet.fleet.known_hosts}", "-i", str(fleet.fleet.key))
        processes.append(subprocess.Popen(["ssh", *known, f"root@{host.ssh_host}", *inside], stderr=subprocess.DEVNULL))
    assert not any(process.wait() for process in processes)
    whole = RunFolder(Path(tempfile.mkdtemp()))
    whole.create()
    for rank, folder in enumerate(folders):
        whole.rank_events(rank).write_bytes(folder.rank_events(rank).read_bytes())
    return (first_step_ns(whole, len(folders)) - start_ns) / 1e9


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    nodes = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    print(machine())
    with tempfile.TemporaryDirectory() as folder, running_fleet(Path(folder), nodes) as fleet:
        _, like = by_mlb(Path(folder))  # makes the nodes ready, sends the data, checks the health
        results = [(by_mlb(Path(folder))[0], by_hand(fleet, like, number)) for number in range(pairs)]
    for name, values in (
        ("mlb bench", [ours for ours, _ in results]),
        ("torchrun by hand", [hand for _, hand in results]),
        ("difference", [ours - hand for ours, hand in results]),
    ):
        median, low, high = interval(values)
        print(f"{name:<18} median {median:6.3f} s (95 % {low:.3f}-{high:.3f}), n={pairs}, {nodes} nodes, 1 rank each")


if __name__ == "__main__":
    main()
