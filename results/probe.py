"""What an all-reduce could do on this fleet before the run: the checks' own measurement, to hold the run against."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from .line import as_number
from .run import RunFolder

_LIMIT_BYTES: Final = 16 << 20


@dataclass(frozen=True)
class Probe:
    """One all-reduce of all nodes, a rank on each, the network otherwise idle."""

    bus_bytes_per_s: float
    """`busbw` of nccl-tests."""
    payload_bytes: float
    """Of the buffer that it reduced."""


def probe_of(folder: RunFolder) -> Probe | None:
    """From `health.json`; None where the checks were skipped, or the run had one node."""
    try:
        with folder.health.open("rb") as file:
            found = json.loads(file.read(_LIMIT_BYTES))["all_reduce"]
        bits, size = as_number(found["bus_bits_per_s"]), as_number(found["large_bytes"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return Probe(bits / 8, size) if bits and size and bits > 0 else None
