"""What a node is: hardware, system, versions, and the environment variables that change results; no secrets."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

_VARIABLES = (
    "CUDA",
    "FI_",
    "GLOO",
    "KMP",
    "MKL",
    "MLB",
    "MPI",
    "NCCL",
    "NVIDIA_VISIBLE",
    "OMP",
    "OPENBLAS",
    "TORCH",
    "UCX",
)
"""Beginnings of the names of the variables that are kept; all others may hold anything, secrets included."""

_NVIDIA = ("nvidia-nccl-cu12", "nvidia-nccl-cu13", "nvidia-cudnn-cu12")
_PACKAGES = ("mlb", "mpi4py", "mpich", "numpy", "torch", "triton", *_NVIDIA)

_GPU_QUERY = "name,driver_version,memory.total,ecc.mode.current,clocks.max.sm,power.limit"


def describe_node() -> Mapping[str, Any]:
    """The node this process runs on, as plain data; what cannot be found out is left out or empty."""
    return {
        "schema_version": 1,
        "host": platform.node(),
        "system": {
            "kernel": platform.release(),
            "machine": platform.machine(),
            "distribution": _os_release().get("PRETTY_NAME", ""),
        },
        "cpu": _cpu(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": _gpus(),
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith(_VARIABLES)},
    }


def _cpu() -> Mapping[str, Any]:
    text = Path("/proc/cpuinfo").read_text()
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    model = next((v.strip() for k, v in fields.items() if k.strip() == "model name"), "")
    return {"model": model, "logical_cores": os.cpu_count(), "usable_cores": len(os.sched_getaffinity(0))}


def _gpus() -> list[dict[str, str]]:
    """One entry a GPU, by the driver's own words."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, f"--query-gpu={_GPU_QUERY}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (subprocess.SubprocessError, OSError):
        return []
    names = _GPU_QUERY.split(",")
    rows = (line.split(", ") for line in answer.stdout.splitlines())
    return [dict(zip(names, row, strict=False)) for row in rows]


def _os_release() -> Mapping[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
