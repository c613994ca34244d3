"""The environment of a run as facts: what its nodes said of themselves, nodes that said the same taken together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..results.run import RunFolder
from ..results.text import ranges, sanitise

_LIMIT_BYTES: Final = 1 << 20
_ROWS: Final = 60
_OF_ONE_NODE: Final = ("host",)


@dataclass(frozen=True)
class Environment:
    nodes: str
    """`node 0`, `nodes 0-3`."""
    rows: tuple[tuple[str, str], ...]


def environments(folder: RunFolder, nodes: int) -> list[Environment]:
    """What each kind of node of the run is; files that are missing or no JSON are left out."""
    kinds: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for node in range(nodes):
        raw = _read(folder, node)
        if raw:
            kinds.setdefault(tuple(_rows(raw))[:_ROWS], []).append(node)
    return [
        Environment(f"node{'s' if len(numbers) > 1 else ''} {ranges(numbers)}", rows) for rows, numbers in kinds.items()
    ]


def _read(folder: RunFolder, node: int) -> Mapping[str, Any]:
    path = folder.node_environment(node)
    try:
        if path.stat().st_size > _LIMIT_BYTES:
            return {}
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return raw if isinstance(raw, dict) else {}


def _rows(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """`system.kernel`: one row a leaf; lists of GPUs as `4 x name`."""
    for key, value in raw.items():
        if key in _OF_ONE_NODE or key == "schema_version":
            continue
        if isinstance(value, dict):
            yield from ((f"{sanitise(key, 40)}: {sanitise(k, 60)}", _said(v)) for k, v in value.items())
        elif isinstance(value, list):
            yield from ((f"{sanitise(key, 40)} {i}", _said(v)) for i, v in enumerate(value))
            if not value:
                yield sanitise(key, 40), "none"
        else:
            yield sanitise(key, 40).replace("_", " "), _said(value)


def _said(value: object) -> str:
    if isinstance(value, dict):
        return sanitise(", ".join(f"{k} {v}" for k, v in value.items()))
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1 << 30:
        return f"{value / (1 << 30):.1f} GiB" if value < 1 << 50 else str(value)
    return sanitise(value)
