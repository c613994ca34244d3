"""What the benchmarks share: which machine this is, and an interval around a median."""

from __future__ import annotations

import platform
import random
import statistics
from collections.abc import Sequence

from mlb.runners.environment import describe_node


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
