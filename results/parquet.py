"""A run as one tidy Parquet table: a row a step and rank; docs/exports.md describes the columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from .breakdown import STEP_PARTS, Breakdown
from .keys import PHASES
from .reduction import ALIGNED, Alignment, Taker, reduce
from .run import RunFolder

COLUMNS: Final = (
    "rank",
    "step",
    "warmup",
    "start_ns",
    "step_ns",
    *(f"{phase}_ns" for phase in PHASES),
    *(f"{part}_ns" for part in STEP_PARTS if part.startswith("exposed")),
    "transfer_ns",
    "wait_ns",
    "hidden_ns",
    "hidden_transfer_ns",
    "collectives",
    "payload_bytes",
    "wire_bytes",
    "samples",
    "tokens",
)


def write(folder: RunFolder, path: Path) -> int:
    """Write the joined steps; gives the number of rows."""
    import pyarrow
    from pyarrow import parquet

    writer: Any = None
    rows = 0

    def begin(alignment: Alignment) -> Taker:
        nonlocal writer, rows
        if writer is not None:
            writer.close()
        about = {"run": folder.run_id, "told_apart_by": alignment.method, "schema_version": "1"}
        types = {"warmup": pyarrow.bool_(), "rank": pyarrow.int32()}
        fields = [(name, types.get(name, pyarrow.int64())) for name in COLUMNS]
        writer, rows = parquet.ParquetWriter(path, pyarrow.schema(fields, metadata=about), compression="zstd"), 0

        def take(steps: Breakdown) -> None:
            nonlocal rows
            table = pyarrow.table(_columns(steps, alignment), schema=writer.schema)
            writer.write_table(table)
            rows += table.num_rows

        return take

    try:
        reduce(folder, folder.read_spec(), begin)
    finally:
        if writer is not None:
            writer.close()
    return rows


def _columns(steps: Breakdown, alignment: Alignment) -> dict[str, Any]:
    """Rank by rank, each rank's steps in order."""
    joined = steps.joined
    ranks, number = joined["step"].shape
    start = joined["start_ns"].copy()
    if alignment.method == ALIGNED:
        for place, rank in enumerate(joined.ranks):
            start[place] += (alignment.clocks or {})[rank].to_first_ns(start[place])
    each = {
        "start_ns": start,
        **{name: joined[name] for name in ("step", "step_ns", "samples", "tokens", *(f"{p}_ns" for p in PHASES))},
        **{f"{part}_ns": steps.parts[part] for part in STEP_PARTS if part.startswith("exposed")},
        "transfer_ns": steps.transfer_ns,
        "wait_ns": steps.wait_ns,
        "hidden_ns": steps.hidden_ns,
        "hidden_transfer_ns": steps.hidden_transfer_ns,
    }
    alike = {
        "warmup": joined.warmup,
        "collectives": (joined.operation >= 0).sum(axis=1),
        "payload_bytes": np.maximum(joined.payload_bytes, 0).sum(axis=1),
        "wire_bytes": steps.wire_bytes,
    }
    columns = {name: values.ravel() for name, values in each.items()}
    columns |= {name: np.tile(values, ranks) for name, values in alike.items()}
    columns["rank"] = np.repeat(np.array(joined.ranks, np.int32), number)
    return columns
