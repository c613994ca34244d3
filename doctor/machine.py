"""Checks of the machine: Python, torch and the GPUs it is built for, shared memory, limits, clock, network cards."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from .finding import Finding, Place, fail, ok, warn

_PYTHON: Final = (3, 11)
_TORCH: Final = (2, 4)
_SHM_BYTES: Final = 64 << 20
_FILES: Final = 1024
_MTU: Final = 1400
_CLOCK_UNSYNCHRONISED: Final = 5  # TIME_ERROR of adjtimex(2)


def python(_place: Place) -> Iterator[Finding]:
    """The interpreter and where it runs from."""
    version = sys.version_info[:2]
    said = f"Python {sys.version.split()[0]} at {sys.executable}"
    if version < _PYTHON:
        yield fail("python", said, f"Install Python {_PYTHON[0]}.{_PYTHON[1]} or later, then: make setup")
    elif sys.prefix == sys.base_prefix:
        yield warn("python", f"{said}, no virtual environment", "Keep mlb apart: python3 -m venv .venv, or make setup")
    else:
        yield ok("python", said)


def torch(place: Place) -> Iterator[Finding]:
    """Installed or not, new enough, and built for the GPUs that are here; nothing is imported."""
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        yield fail("torch", "torch is not installed", "pip install torch (make setup picks the right build)")
        return
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if numbers < _TORCH:
        yield fail("torch", f"torch {version} is too old", f"pip install 'torch>={_TORCH[0]}.{_TORCH[1]}'")
        return
    yield ok("torch", f"torch {version}")
    yield from _pairing(version, place)


def _pairing(version: str, place: Place) -> Iterator[Finding]:
    gpus, driver_cuda = _driver(place)
    built_for = _cuda_of(version)
    if not gpus:
        if place.environ.get("CUDA_VISIBLE_DEVICES") == "":
            yield warn("gpus", "CUDA_VISIBLE_DEVICES is empty: every GPU is hidden", "unset CUDA_VISIBLE_DEVICES")
        else:
            yield ok("gpus", "no NVIDIA GPU: runs use gloo on the CPU")
        return
    cards = f"{len(gpus)} GPU{'s'[: len(gpus) != 1]} ({', '.join(dict.fromkeys(gpus))})"
    if built_for is None:
        fix = "pip install torch --index-url https://download.pytorch.org/whl/cu126"
        yield fail("gpus", f"{cards}, but torch {version} is the CPU build", fix)
    elif driver_cuda and built_for[0] > driver_cuda[0]:
        cuda, driver = (".".join(map(str, v)) for v in (built_for, driver_cuda))
        fix = f"Update the NVIDIA driver, or install a torch built for CUDA {driver_cuda[0]}."
        yield fail("gpus", f"torch {version} needs CUDA {cuda}; the driver has {driver}", fix)
    else:
        yield ok("gpus", f"{cards}, torch built for CUDA {'.'.join(map(str, built_for))}")


def _driver(place: Place) -> tuple[list[str], tuple[int, ...] | None]:
    """Names of the GPUs, and the newest CUDA that the driver speaks."""
    program = shutil.which("nvidia-smi", path=place.environ.get("PATH"))
    if program is None:
        return [], None
    try:
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=30, check=False).stdout
        head = subprocess.run([program], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return [], None
    cuda = re.search(r"CUDA Version:\s*(\d+)\.(\d+)", head)
    return re.findall(r"^GPU \d+: (.*?) \(", listed, re.MULTILINE), tuple(map(int, cuda.groups())) if cuda else None


def _cuda_of(version: str) -> tuple[int, ...] | None:
    """The CUDA that a torch was built for: from `+cu126`, else from NVIDIA's packages beside it."""
    local = re.search(r"\+cu(\d+)(\d)$", version)
    if local:
        return tuple(map(int, local.groups()))
    if "+" in version:
        return None
    for major in (13, 12, 11):
        for name in (f"nvidia-cuda-runtime-cu{major}", f"nvidia-nccl-cu{major}"):
            try:
                metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
            return (major, 0)
    return None


def memory(place: Place) -> Iterator[Finding]:
    """Shared memory, through which ranks and data loaders talk; open files."""
    if place.shm.is_dir():
        free = shutil.disk_usage(place.shm).free
        if free < _SHM_BYTES:
            fix = f"In a container: --shm-size=1g. Else: mount -o remount,size=1g {place.shm}"
            yield fail("shared memory", f"{place.shm} has {free >> 20} MiB free; ranks need 64", fix)
        else:
            yield ok("shared memory", f"{place.shm} has {free >> 20:,} MiB free")
    else:
        yield fail("shared memory", f"{place.shm} is not there", "mount -t tmpfs tmpfs /dev/shm")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES:
        yield warn("open files", f"a process may open {soft} files", f"ulimit -n {min(hard, 65536)}")
    else:
        yield ok("open files", f"a process may open {soft:,} files")


def clock(place: Place) -> Iterator[Finding]:
    """The wall clock: is it kept, and is it behind files that mlb wrote."""
    newest = max((path.stat().st_mtime for path in place.runs_dir.glob("*/run.json")), default=0.0)
    if newest > time.time() + 60:
        ahead = f"{(newest - time.time()) / 60:,.0f} minutes"
        fix = "Set the clock: timedatectl set-ntp true, or chronyc makestep"
        yield fail("clock", f"the newest run was written {ahead} in the future: the clock was set back", fix)
    elif _synchronised() is False:
        yield warn(
            "clock",
            "the kernel says that nothing keeps the wall clock right",
            "timedatectl set-ntp true; mlb aligns ranks by itself, but dates and prices follow this clock",
        )
    else:
        yield ok("clock", "the wall clock is kept right")


def _synchronised() -> bool | None:
    buffer = ctypes.create_string_buffer(256)  # struct timex is 208 bytes; all zero asks and changes nothing
    try:
        state: int = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _CLOCK_UNSYNCHRONISED


def cards(place: Place) -> Iterator[Finding]:
    """Network cards: a small MTU costs bandwidth, different ones between nodes hang a run."""
    mtus = {}
    for card in sorted(place.network.glob("*")):
        mtu, state = _number(card / "mtu"), _text(card / "operstate")
        if card.name != "lo" and mtu and state == "up":
            mtus[card.name] = mtu
    small = {name: mtu for name, mtu in mtus.items() if mtu < _MTU}
    if small:
        said = ", ".join(f"{name} {mtu}" for name, mtu in small.items())
        yield warn("network", f"MTU below {_MTU}: {said}", "ip link set dev NAME mtu 1500, if the network carries it")
    else:
        sizes = sorted(set(mtus.values()))
        yield ok("network", f"{len(mtus)} cards up, MTU {' and '.join(map(str, sizes)) or 'of loopback only'}")


def load(_place: Place) -> Iterator[Finding]:
    """Times taken on a busy machine are not its own."""
    busy, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if busy > max(1.0, 0.5 * cores):
        yield warn("load", f"load {busy:.1f} on {cores} cores", "Wait until the machine is idle before you measure.")
    else:
        yield ok("load", f"load {busy:.1f} on {cores} cores")


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path)
    return int(text) if text.isdigit() else 0
