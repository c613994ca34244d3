"""A node's samples one by one, as they are written; what they sum up to is in `resources`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .line import as_ns, as_number


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a node's hardware: counters, from which any two give the rates between them."""

    time_ns: int
    unix_ns: int | None
    """Wall clock of the node."""
    busy_ns: int
    memory_bytes: int
    sent_bytes: int
    """Over all interfaces, the loopback included."""
    received_bytes: int
    gpu_percent: float | None
    """Mean over the node's GPUs."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What a node did between two samples."""

    cpu_percent: float
    """Of all cores."""
    memory_gib: float
    sent_mb_per_s: float
    received_mb_per_s: float
    gpu_percent: float | None


def fields_of(line: bytes) -> dict[str, Any]:
    """What a line of the file holds; nothing where it is no object."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def sample_of(line: Mapping[str, Any]) -> Sample | None:
    """The sample that a line holds; None where it is none."""
    time_ns, busy_ns = as_ns(line.get("time_ns")), as_ns(line.get("cpu_busy_ns"))
    if line.get("key") != "resources" or time_ns is None or busy_ns is None:
        return None
    network, gpus = line.get("network"), line.get("gpus")
    counters = [one for one in network.values() if isinstance(one, dict)] if isinstance(network, dict) else []
    cards = [one for one in gpus if isinstance(one, dict)] if isinstance(gpus, list) else []
    used = [as_number(card.get("utilisation_percent")) for card in cards]
    known = [percent for percent in used if percent is not None and math.isfinite(percent)]
    return Sample(
        time_ns,
        as_ns(line.get("unix_time_ns")),
        busy_ns,
        as_ns(line.get("memory_used_bytes")) or 0,
        sum(as_ns(one.get("sent_bytes")) or 0 for one in counters),
        sum(as_ns(one.get("received_bytes")) or 0 for one in counters),
        sum(known) / len(known) if known else None,
    )


def rates(first: Sample, last: Sample, cores: int) -> Rates | None:
    """What lies between two samples; None where the clock did not go on."""
    seconds = (last.time_ns - first.time_ns) / 1e9
    if seconds <= 0:
        return None
    # A counter that fell is of an interface that went away, or of a node that was started anew.
    sent, received = last.sent_bytes - first.sent_bytes, last.received_bytes - first.received_bytes
    return Rates(
        cpu_percent=max(0, last.busy_ns - first.busy_ns) / 1e9 / seconds / cores * 100,
        memory_gib=last.memory_bytes / (1 << 30),
        sent_mb_per_s=max(0, sent) / seconds / 1e6,
        received_mb_per_s=max(0, received) / seconds / 1e6,
        gpu_percent=last.gpu_percent,
    )
