"""A run as a Chrome trace: a process a rank, its phases on one track and its collectives on others, on one clock.

The format: "Trace Event Format" (Google, 2016), which ui.perfetto.dev reads; times in microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from .breakdown import Breakdown
from .columns import ABSENT, OPERATIONS
from .keys import PHASES
from .reduction import Alignment, Taker, reduce
from .run import RunFolder

_STEPS, _PHASES, _FIRST_COLLECTIVE = 0, 1, 2


def write(folder: RunFolder, path: Path) -> int:
    """Write the joined steps; gives the number of events, names of tracks left out."""
    written, zero_ns = 0, None

    def begin(alignment: Alignment) -> Taker:
        nonlocal written, zero_ns
        # A pass that is begun again, without clocks, begins the file again.
        file.seek(0)
        file.truncate()
        file.write(
            '{"displayTimeUnit":"ms","otherData":' + json.dumps(_facts(folder, alignment)) + ',"traceEvents":[\n'
        )
        written, zero_ns = 0, None

        def take(steps: Breakdown) -> None:
            nonlocal written, zero_ns
            starts = _starts(steps, alignment)
            if zero_ns is None:
                zero_ns = int(starts.min())
            written += _write_events(file, _events(steps, starts - zero_ns))

        return take

    with path.open("w") as file:
        spec = folder.read_spec()
        reduction = reduce(folder, spec, begin)
        names = (event for rank in reduction.joined_ranks for event in _names(rank))
        # Last, so that no comma is left open behind the events.
        file.write(",\n".join(json.dumps(name) for name in names) + "\n]}\n")
    return written


def _facts(folder: RunFolder, alignment: Alignment) -> dict[str, Any]:
    return {"run": folder.run_id, "told_apart_by": alignment.method, "clock_error_ns": alignment.error_ns}


def _starts(steps: Breakdown, alignment: Alignment) -> Any:
    """Starts on rank 0's clock, shape (R, S); without clocks each rank's own, from its own first step."""
    starts = steps.joined["start_ns"].copy()
    for place, rank in enumerate(steps.joined.ranks):
        if alignment.clocks is not None:
            starts[place] += alignment.clocks[rank].to_first_ns(starts[place])
    return starts


def _write_events(file: TextIO, events: Iterator[dict[str, Any]]) -> int:
    number = 0
    for event in events:
        file.write(json.dumps(event, separators=(",", ":")) + ",\n")
        number += 1
    return number


def _events(steps: Breakdown, starts: Any) -> Iterator[dict[str, Any]]:
    joined = steps.joined
    for place, rank in enumerate(joined.ranks):
        for s in range(starts.shape[1]):
            start, number = int(starts[place, s]), int(joined["step"][place, s])
            facts = {"step": number, "tokens": int(joined["tokens"][place, s]), "warmup": bool(joined.warmup[s])}
            yield _slice(rank, _STEPS, f"step {number}", start, int(joined["step_ns"][place, s]), facts)
            at = start
            for phase in PHASES:
                length = int(joined[f"{phase}_ns"][place, s])
                if length:
                    yield _slice(rank, _PHASES, phase, at, length, {})
                at += length
            yield from _collectives(steps, place, s, start)


def _collectives(steps: Breakdown, place: int, s: int, start: int) -> Iterator[dict[str, Any]]:
    """Each on a track of its own, since they may overlap: the whole, with waiting and transfer inside it."""
    joined = steps.joined
    for k in range(joined.operation.shape[1]):
        arrival, end = int(joined.arrival_ns[place, s, k]), int(joined.end_ns[place, s, k])
        if arrival == ABSENT:
            continue
        release, track = int(steps.release_ns[place, s, k]), _FIRST_COLLECTIVE + k
        operation = (*OPERATIONS, "collective")[int(joined.operation[s, k])]
        rank, facts = joined.ranks[place], {"payload_bytes": int(joined.payload_bytes[s, k]), "sequence": k}
        yield _slice(rank, track, operation, start + arrival, end - arrival, facts)
        if release > arrival:
            yield _slice(rank, track, "waiting", start + arrival, release - arrival, {})
        if end > release:
            yield _slice(rank, track, "transfer", start + release, end - release, {})


def _slice(rank: int, track: int, name: str, start_ns: int, length_ns: int, facts: dict[str, Any]) -> dict[str, Any]:
    event = {"ph": "X", "pid": rank, "tid": track, "name": name, "ts": start_ns / 1e3, "dur": length_ns / 1e3}
    return event | ({"args": facts} if facts else {})


def _names(rank: int) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "pid": rank, "tid": 0, "name": "process_name", "args": {"name": f"rank {rank}"}}
    for track, name in ((_STEPS, "steps"), (_PHASES, "phases"), (_FIRST_COLLECTIVE, "collectives")):
        yield {"ph": "M", "pid": rank, "tid": track, "name": "thread_name", "args": {"name": name}}
