"""What the nodes' hardware did, summed up from the samples that their agents took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .line import as_ns, as_number
from .samples import fields_of

LOOPBACK = "lo"


@dataclass(frozen=True)
class NodeResources:
    """One node over the time of its samples; None where it was not sampled."""

    node: int
    samples: int
    seconds: float
    cpu_percent: float
    """Of all cores."""
    memory_peak_bytes: int
    sent_bytes_per_s: float
    """Over all that was counted but the loopback: interfaces, and the ports of RDMA adapters."""
    received_bytes_per_s: float
    loopback_bytes_per_s: float
    gpus: int
    gpu_utilisation_percent: float | None
    """Mean over samples and GPUs."""
    energy_j: float | None
    """Of all GPUs, by their own counters; None where a GPU has none."""
    power_w: float | None
    """Mean over samples, all GPUs together."""
    throttled_percent: float | None
    """Share of samples in which any GPU's clock was held back by more than idling or an application's setting: that
    one paces all. Of the samples in which a GPU told."""
    methods: Mapping[str, str]


_HARMLESS_REASONS = 0x1 | 0x2  # GpuIdle, ApplicationsClocksSetting (nvml.h)


def node_resources(path: Path, node: int) -> NodeResources | None:
    """A node's samples summed up; None where there are fewer than two of them. Lines that are none are left out."""
    try:
        return _summed_up(list(_lines(path)), node)
    except OSError:
        return None


def _summed_up(lines: Sequence[Mapping[str, Any]], node: int) -> NodeResources | None:
    samples = [line for line in lines if line.get("key") == "resources" and as_ns(line.get("time_ns"))]
    methods: Any = next((line.get("methods") for line in lines if line.get("key") == "resources_start"), {})
    cores = next((as_ns(line.get("cores")) for line in lines if line.get("key") == "resources_start"), None)
    if len(samples) < 2 or not cores or not isinstance(methods, dict):
        return None
    first, last = samples[0], samples[-1]
    seconds = (last["time_ns"] - first["time_ns"]) / 1e9
    busy = _growth(first, last, "cpu_busy_ns")
    if seconds <= 0 or busy is None:
        return None
    network = _network_growth(first, last)
    outside = [rates for name, rates in network.items() if name != LOOPBACK]
    gpus = [[gpu for gpu in sample.get("gpus") or () if isinstance(gpu, dict)] for sample in samples]
    return NodeResources(
        node=node,
        samples=len(samples),
        seconds=seconds,
        cpu_percent=busy / 1e9 / seconds / cores * 100,
        memory_peak_bytes=max(as_ns(sample.get("memory_used_bytes")) or 0 for sample in samples),
        sent_bytes_per_s=sum(sent for _, sent in outside) / seconds,
        received_bytes_per_s=sum(received for received, _ in outside) / seconds,
        loopback_bytes_per_s=network.get(LOOPBACK, (0, 0))[1] / seconds,
        gpus=max(map(len, gpus)),
        gpu_utilisation_percent=_mean(gpu.get("utilisation_percent") for sample in gpus for gpu in sample),
        energy_j=_energy(gpus),
        power_w=_mean(sum(as_number(gpu.get("power_w")) or 0.0 for gpu in sample) for sample in gpus if sample),
        throttled_percent=_throttled(gpus),
        methods={str(name): str(method) for name, method in methods.items()},
    )


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:
        yield from map(fields_of, file)


def _growth(first: Mapping[str, Any], last: Mapping[str, Any], name: str) -> int | None:
    before, after = as_ns(first.get(name)), as_ns(last.get(name))
    return None if before is None or after is None else max(0, after - before)


def _network_growth(first: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Interface -> bytes received and sent between two samples; of those that are in both."""
    before, after = (_objects(sample.get("network")) for sample in (first, last))
    found = {}
    for name in before.keys() & after.keys():
        received, sent = (_growth(before[name], after[name], of) for of in ("received_bytes", "sent_bytes"))
        found[name] = received or 0, sent or 0
    return found


def _objects(value: object) -> dict[str, Mapping[str, Any]]:
    return {name: item for name, item in value.items() if isinstance(item, dict)} if isinstance(value, dict) else {}


def _energy(gpus: Sequence[Sequence[Mapping[str, Any]]]) -> float | None:
    pairs = zip(gpus[0], gpus[-1], strict=False)
    ends = [(as_number(before.get("energy_j")), as_number(after.get("energy_j"))) for before, after in pairs]
    known = [after - before for before, after in ends if before is not None and after is not None]
    return sum(known) if known and len(known) == len(ends) else None


def _throttled(gpus: Sequence[Sequence[Mapping[str, Any]]]) -> float | None:
    said = [[as_ns(gpu.get("throttle_reasons")) for gpu in sample] for sample in gpus]
    known = [[reason for reason in sample if reason is not None] for sample in said]
    return _mean(100.0 * any(reason & ~_HARMLESS_REASONS for reason in sample) for sample in known if sample)


def _mean(values: Any) -> float | None:
    known = [number for number in map(as_number, values) if number is not None]
    return sum(known) / len(known) if known else None
