"""The nodes' wall clocks, made that of the machine which launched the run: times from the launch are counted by it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Final

from .clocks import RankClock
from .line import as_number
from .node import NodeStatus
from .rank import RankRecord
from .run import RunFolder, RunSpec
from .text import sanitise

AGREE_NS: Final = 50_000_000
"""Wall clocks that are no further apart are left as they are: NTP keeps them so, and no start-up is told closer."""
_MEETING_NS: Final = 10_000_000_000
"""`run_start` comes right behind a meeting of all ranks: one that logs it so much later has another wall clock."""
_SHOWN: Final = 8
_LIMIT_BYTES: Final = 16 << 20


def set_wall_offsets(
    folder: RunFolder,
    spec: RunSpec,
    records: Sequence[RankRecord],
    clocks: Mapping[int, RankClock],
    nodes: Sequence[NodeStatus],
) -> list[str]:
    """Give each record what its node's wall clock was off; in words, what was put right and what is not known.

    A rank's offset to node 0 is that of its comparisons with rank 0, or what its node's agent measured; node 0's to
    the launching machine is that of the checks before the run, which a node's own stands in for.

    Args:
        clocks: of the ranks whose comparisons can be used; rank 0's own among them.
    """
    checked = _checked(folder, spec)
    measured = {status.node: status.clock_offset_ns for status in nodes if _is_measured(status)}
    first = next((record for record in records if record.rank == 0), None)
    off: dict[int, int] = {}
    unknown = []
    for record in records:
        node = spec.node_of(record.rank)
        to_first = _by_comparison(record, first, clocks)
        if to_first is None:
            to_first = 0 if node == 0 else measured.get(node)
        if to_first is not None:
            record.wall_offset_ns = _notable(_notable(to_first) + checked.get(0, 0))
        elif node in checked:
            record.wall_offset_ns = checked[node]
        else:
            unknown.append(record)
        if record.wall_offset_ns:
            off[node] = record.wall_offset_ns
    return [*_put_right(spec, off), *_astray(spec, first, unknown)]


def _by_comparison(record: RankRecord, first: RankRecord | None, clocks: Mapping[int, RankClock]) -> int | None:
    """What to add to the rank's wall clock to have rank 0's, by their monotonic clocks; None where it is not known."""
    if first is None or first.rank not in clocks or record.rank not in clocks:
        return None
    at, zero = clocks[record.rank].syncs[0], clocks[first.rank].syncs[0]
    # The zero is 0 in a real log: rank 0 compares its clock with itself.
    there, here = first.unix_ns(at.time_ns + at.offset_ns - zero.offset_ns), record.unix_ns(at.time_ns)
    return None if there is None or here is None else there - here


def _is_measured(status: NodeStatus) -> bool:
    return status.clock_error_ns is not None or status.clock_offset_ns != 0


def _checked(folder: RunFolder, spec: RunSpec) -> dict[int, int]:
    """Node -> what to add to its wall clock to have the launching machine's, from `health.json`; where it is there.

    0 where the clocks agree within the error of that measurement, half a round trip over SSH.
    """
    try:
        with folder.health.open("rb") as file:
            nodes = json.loads(file.read(_LIMIT_BYTES))["nodes"]
        said = {node: nodes[name] for node, name in enumerate(spec.node_names) if name in nodes}
        found = {node: (as_number(f["clock_offset_s"]), as_number(f["clock_error_s"])) for node, f in said.items()}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return {
        node: _notable(-round(offset * 1e9)) if abs(offset) > error else 0
        for node, (offset, error) in found.items()
        if offset is not None and error is not None and math.isfinite(offset)
    }


def _notable(offset_ns: int) -> int:
    return offset_ns if abs(offset_ns) > AGREE_NS else 0


def _put_right(spec: RunSpec, off: Mapping[int, int]) -> list[str]:
    if not off:
        return []
    shown = [f"{sanitise(spec.name_of(node))} {-ns / 1e9:+.3f} s" for node, ns in list(off.items())[:_SHOWN]]
    more = f" and {len(off) - _SHOWN} more" if len(off) > _SHOWN else ""
    return [f"Wall clocks that were off are put right in times from the launch: {', '.join(shown)}{more}."]


def _astray(spec: RunSpec, first: RankRecord | None, unknown: Sequence[RankRecord]) -> list[str]:
    if first is None or first.run_start_ns is None or (met := first.launch_clock_ns(first.run_start_ns)) is None:
        return []
    begun = [(r, r.launch_clock_ns(r.run_start_ns)) for r in unknown if r.run_start_ns is not None]
    apart = {spec.node_of(r.rank): at - met for r, at in begun if at is not None and abs(at - met) > _MEETING_NS}
    if not apart:
        return []
    shown = [f"{sanitise(spec.name_of(node))} {ns / 1e9:+.0f} s" for node, ns in list(apart.items())[:_SHOWN]]
    return [
        f"By the nodes' wall clocks the ranks did not begin to train together ({', '.join(shown)} from node 0), and "
        "nobody measured these clocks: wall time, launch, ending and cost are off by as much."
    ]
