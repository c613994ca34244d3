"""What a node's hardware does during a run, once a second, from outside the ranks: docs/run-folder.md has the fields.

Counters are written down as they are, not as rates: a reader can take any window, and a late sample distorts nothing.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from .gpus import GpuProbe, gpu_probe
from .network import counters

PERIOD_S = 1.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

METHODS = {
    "cpu": f"/proc/stat, busy time of all cores, counted in ticks of {1000 // _TICKS_PER_S} ms",
    "memory": "/proc/meminfo, MemTotal - MemAvailable: an estimate of the kernel's, caches left out",
    "network": "/proc/net/dev, bytes of whole frames that the interface counted, and where there are such ports "
    "/sys/class/infiniband, bytes of RDMA that the adapter counted; exact",
}


class ResourceSampler:
    """Samples this node on a thread until it is closed; a node that cannot be sampled costs the run nothing."""

    def __init__(self, path: Path, node: int, period_s: float = PERIOD_S) -> None:
        """Start sampling into a file that does not exist yet."""
        self._path, self._node, self._period_s = path, node, period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resources", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take a last sample and end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        # Here, not in the caller's thread: a GPU's driver can take a second to answer.
        gpus = gpu_probe()
        try:
            with self._path.open("w", buffering=1) as file:
                file.write(json.dumps(self._header(gpus)) + "\n")
                due = time.monotonic()
                while not self._stop.wait(max(0.0, due - time.monotonic())):
                    file.write(json.dumps(sample(gpus)) + "\n")
                    due = max(due + self._period_s, time.monotonic())
                file.write(json.dumps(sample(gpus)) + "\n")
        except OSError as error:
            # The ranks' own logs end a run that has no disk; samples are not worth one.
            print(f"resources are not sampled any more: {error}", flush=True)  # noqa: T201  # the node's log
        finally:
            gpus.close()

    def _header(self, gpus: GpuProbe) -> dict[str, Any]:
        methods = METHODS | ({"gpu": gpus.method} if gpus.method else {})
        facts = {"node": self._node, "period_s": self._period_s, "cores": os.cpu_count(), "methods": methods}
        return {"key": "resources_start", "schema_version": 1, "time_ns": time.monotonic_ns(), **facts}


def sample(gpus: GpuProbe) -> dict[str, Any]:
    """This node's counters now."""
    return {
        "key": "resources",
        "time_ns": time.monotonic_ns(),
        "unix_time_ns": time.time_ns(),
        "cpu_busy_ns": _cpu_busy_ns(),
        "memory_used_bytes": _memory_used_bytes(),
        "network": counters(),
        "gpus": gpus.sample(),
    }


def _cpu_busy_ns() -> int:
    """Time that all cores together have been busy since boot."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, soft, *_ = map(int, fields)
    # Guests are in `user` already; time that the hypervisor stole is nobody's work here.
    return (user + nice + system + irq + soft) * 1_000_000_000 // _TICKS_PER_S


def _memory_used_bytes() -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, available = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    return total - available
