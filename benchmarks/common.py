"""What the benchmarks share: which machine this is, an interval around a median, results that are gone on with."""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlb.runners.environment import describe_node

PEAK_FLOPS = {"H200": 989.5e12, "H100": 989.5e12, "A100": 312e12, "L4": 121e12, "T4": 65e12}
"""GPU -> dense bfloat16 without sparsity, by the vendor's data sheets (T4: float16); SXM boards."""


def peak_flops(gpu: str) -> float | None:
    """What a GPU of this name could do at most, in floating-point operations a second; None where it is not known."""
    return next((flops for part, flops in PEAK_FLOPS.items() if part in gpu), None)


def machine() -> str:
    """One line that says where a number comes from."""
    node = describe_node()
    cpu, packages = node["cpu"], node["packages"]
    return (
        f"{cpu['usable_cores']} cores {cpu['model']}, {node['memory_bytes'] >> 30} GiB, "
        f"Python {platform.python_version()}, torch {packages.get('torch', 'none')}"
    )


def interval(values: Sequence[float], draws: int = 2000) -> tuple[float, float, float]:
    """Median and the bounds of its bootstrap 95 % interval."""
    chance = random.Random(0)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(draws))
    return statistics.median(values), medians[int(0.025 * draws)], medians[int(0.975 * draws)]


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Write a result down as one line of JSON, on the disk before anything else is measured."""
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The results in a file; a line that a kill cut short is none."""
    lines = []
    for text in path.read_text().splitlines() if path.is_file() else []:
        with suppress(ValueError):
            lines.append(json.loads(text))
    return lines
