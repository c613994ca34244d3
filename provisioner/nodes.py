"""The nodes a run is launched on, as the provisioner sees them."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Node:
    """One machine of a fleet."""

    name: str
    gpus: int
    cores: int
    """CPU cores this process may use there."""
    memory_bytes: int
    """Memory that is free for use there."""
    private_ip: str = ""
    """The address that the fleet's other nodes know it by; empty for this machine alone."""


def this_machine() -> Node:
    """The node that runs this very process: what `mlb bench` uses while no fleet is applied."""
    return Node(name="local", gpus=_count_gpus(), cores=len(os.sched_getaffinity(0)), memory_bytes=_available_memory())


def _count_gpus() -> int:
    """GPUs that the NVIDIA driver lists and CUDA_VISIBLE_DEVICES does not hide."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return 0
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return count if visible is None else min(count, len([v for v in visible.split(",") if v.strip()]))


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
