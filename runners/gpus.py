"""The node's GPUs while a run goes on: by NVML where nvidia-ml-py is installed, else by nvidia-smi, else not at all."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Any, Protocol

_SMI_FIELDS: Mapping[str, str] = {
    "utilization.gpu": "utilisation_percent",
    "memory.used": "memory_used_mib",
    "clocks.sm": "sm_clock_mhz",
    "power.draw": "power_w",
    "clocks_throttle_reasons.active": "throttle_reasons",
}


class GpuProbe(Protocol):
    """Asks all GPUs of the node."""

    method: str
    """How, and how far it can be trusted; empty where there is no GPU."""

    def sample(self) -> list[dict[str, Any]]:
        """One entry a GPU; what it does not tell is left out."""

    def close(self) -> None: ...


class NoGpus:
    """For nodes without any."""

    method = ""

    def sample(self) -> list[dict[str, Any]]:
        return []

    def close(self) -> None:
        return None


class Nvml:
    """NVIDIA's management library; its energy counter misses nothing between two samples."""

    method = (
        "NVML: energy by the driver's own counter (its steps are about 100 ms); utilisation is the share of the last \
driver interval in which any kernel ran, not how busy it kept the GPU"
    )

    def __init__(self) -> None:
        """Raises ImportError or the library's own error where there is no NVML."""
        self._nvml = importlib.import_module("pynvml")
        self._nvml.nvmlInit()
        self._gpus = [self._nvml.nvmlDeviceGetHandleByIndex(i) for i in range(self._nvml.nvmlDeviceGetCount())]

    def sample(self) -> list[dict[str, Any]]:
        return [self._one(gpu) for gpu in self._gpus]

    def close(self) -> None:
        self._nvml.nvmlShutdown()

    def _one(self, gpu: Any) -> dict[str, Any]:
        nvml = self._nvml
        asked: Mapping[str, Callable[[], Any]] = {
            "utilisation_percent": lambda: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu,
            "memory_used_bytes": lambda: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
            "sm_clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),
            "power_w": lambda: nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3,
            "energy_j": lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3,
            "throttle_reasons": lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu),
        }
        found = {}
        for name, ask in asked.items():
            try:
                found[name] = ask()
            except nvml.NVMLError:
                continue  # an older GPU has no such counter; the others still count
        return found


class NvidiaSmi:
    """The program that comes with the driver: slower, and without the energy counter."""

    method = (
        "nvidia-smi: power is what the sensor last averaged, which on A100 and H100 is a quarter of the time "
        "(arXiv 2312.02741); no energy is derived from it"
    )

    def __init__(self, program: str) -> None:
        self._query = [program, f"--query-gpu={','.join(_SMI_FIELDS)}", "--format=csv,noheader,nounits"]

    def sample(self) -> list[dict[str, Any]]:
        try:
            answer = subprocess.run(self._query, capture_output=True, text=True, timeout=10, check=True)
        except (subprocess.SubprocessError, OSError):
            return []
        return [self._one(line) for line in answer.stdout.splitlines()]

    def close(self) -> None:
        return None

    @staticmethod
    def _one(line: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in zip(_SMI_FIELDS.values(), line.split(","), strict=False):
            try:
                found[name] = int(value, 16) if name == "throttle_reasons" else float(value)
            except ValueError:
                continue  # "[N/A]"
        if "memory_used_mib" in found:
            found["memory_used_bytes"] = int(found.pop("memory_used_mib") * 2**20)
        return found


def gpu_probe() -> GpuProbe:
    """The best way to ask this node's GPUs."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return NoGpus()
    try:
        return Nvml()
    except Exception:  # noqa: BLE001  # not installed, no driver, a version that does not fit: all mean the other way
        return NvidiaSmi(program)
