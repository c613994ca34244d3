"""Samples of this very node; GPUs by a program and by a library that answer as NVIDIA's do."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlb.results.resources import node_resources
from mlb.runners.gpus import NoGpus, gpu_probe
from mlb.runners.resources import ResourceSampler, sample
from support import wait_until


def sampled(path: Path, work: Any = None) -> Any:
    sampler = ResourceSampler(path, node=3, period_s=0.05)
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") > 4, "four samples")
    if work:
        work()
    sampler.close()
    return node_resources(path, 3)


def test_a_busy_core_and_its_memory_show(tmp_path: Path) -> None:
    def work() -> None:
        until = time.process_time() + 1.0
        while time.process_time() < until:
            pass

    found = sampled(tmp_path / "r.jsonl", work)
    cores = json.loads((tmp_path / "r.jsonl").read_text().splitlines()[0])["cores"]
    # One second of one core, at least, less a tick at either end; others may have worked beside it.
    assert found.cpu_percent / 100 * cores * found.seconds >= 0.95
    assert found.node == 3
    assert found.samples > 4
    assert 0 < found.memory_peak_bytes < 1 << 50
    assert set(found.methods) >= {"cpu", "memory", "network"}


def test_a_full_disk_ends_the_sampling_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    sampler = ResourceSampler(Path("/dev/full"), node=0, period_s=0.01)
    sampler.close()
    assert "resources are not sampled any more" in capfd.readouterr().out


def test_counters_are_the_kernels(tmp_path: Path) -> None:
    before, after = sample(NoGpus()), sample(NoGpus())
    assert after["cpu_busy_ns"] >= before["cpu_busy_ns"] > 0
    assert after["network"]["lo"]["sent_bytes"] >= before["network"]["lo"]["sent_bytes"]


def test_gpus_by_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\necho '97, 1024, 1410, 301.5, 0x0000000000000004'\necho '3, [N/A], 210, [N/A], 0x1'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = sampled(tmp_path / "r.jsonl")
    assert (found.gpus, found.gpu_utilisation_percent, found.energy_j) == (2, 50.0, None)
    assert found.power_w == 301.5
    assert found.throttled_percent == 100.0, "0x4 is the power cap, 0x1 is idling: one GPU of them paces both"
    assert "2312.02741" in found.methods["gpu"]


def test_gpus_by_nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    energy = iter(range(1_000_000, 2_000_000, 250))

    def no_clock(*_: object) -> int:
        raise NVMLError

    double = SimpleNamespace(
        NVMLError=NVMLError, NVML_CLOCK_SM=1, nvmlInit=lambda: None, nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1, nvmlDeviceGetHandleByIndex=lambda i: i,
        nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=80),
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=123), nvmlDeviceGetClockInfo=no_clock,
        nvmlDeviceGetPowerUsage=lambda _: 250_000, nvmlDeviceGetTotalEnergyConsumption=lambda _: next(energy),
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda _: 0,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", double)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "sm_clock_mhz" not in gpu_probe().sample()[0], "what a GPU does not tell is left out"
    found = sampled(tmp_path / "r.jsonl")
    assert found.energy_j == pytest.approx(0.25 * (found.samples - 1))
    assert (found.gpus, found.power_w, found.throttled_percent) == (1, 250.0, 0.0)


def test_one_gpu_of_eight_that_is_held_back_holds_back_all(tmp_path: Path) -> None:
    def sampled_at(second: int, reasons: list[int | None]) -> dict[str, Any]:
        gpus = [{} if reason is None else {"throttle_reasons": reason} for reason in reasons]
        return {"key": "resources", "time_ns": second * 10**9, "cpu_busy_ns": 0, "network": {}, "gpus": gpus}

    def held_back(*samples: list[int | None]) -> float | None:
        lines = [sampled_at(second + 1, reasons) for second, reasons in enumerate(samples)]
        header = {"key": "resources_start", "cores": 8, "methods": {}}
        (tmp_path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [header, *lines]))
        found = node_resources(tmp_path / "r.jsonl", 0)
        assert found is not None
        return found.throttled_percent

    one, none = [0x4, *[0x0] * 7], [0x1, *[0x2] * 7]
    assert held_back(one, one, one, one) == 100.0
    assert held_back(one, none, none, none) == 25.0
    assert held_back(one, [None] * 8, none) == 50.0, "a sample in which no GPU told is none"
    assert held_back([None], [None]) is None


@pytest.mark.parametrize("data", [b"", b"\x00\n", b'{"key":"resources"}\n' * 3, b"[1]\nnull\n", b'{"key":"reso'])
def test_a_file_that_is_none_is_no_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "r.jsonl").write_bytes(data)
    assert node_resources(tmp_path / "r.jsonl", 0) is None
    assert node_resources(tmp_path / "missing", 0) is None
