"""The patterns there are, by the names users know them by (results/run.py lists the same names without torch)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .all_reduce import BlockingAllReduce
from .base import Aggregation
from .ddp import OverlappedDDP

PATTERNS: Final[Mapping[str, type[Aggregation]]] = {
    pattern.name: pattern for pattern in (BlockingAllReduce, OverlappedDDP)
}
