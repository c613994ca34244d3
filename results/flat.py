"""Runs as rows of plain cells: CSV that a spreadsheet opens without executing anything."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .metrics import Metrics
from .split import PARTS
from .text import sanitise

_STARTS_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def to_csv(runs: Sequence[Metrics]) -> str:
    """One row a run, one column a number; what is not known is empty."""
    return csv_of([_row(metrics) for metrics in runs])


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of named cells as CSV; a name that a row lacks is an empty cell.

    Text that a spreadsheet would take for a formula gets an apostrophe in front (OWASP's advice): a host may
    call itself `=cmd()`.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return out.getvalue()


def _row(metrics: Metrics) -> Mapping[str, Any]:
    spec, quality, rates = metrics.spec, metrics.quality, metrics.throughput
    return {
        "run": spec.run_id,
        "task": spec.task,
        "goal": spec.goal,
        "recipe": spec.recipe,
        "division": spec.division,
        "comparable": spec.comparable,
        "status": metrics.status,
        "fleet": spec.fleet,
        "hosts": " ".join(metrics.hosts),
        "ranks": spec.ranks,
        "backend": spec.backend,
        "dataset": spec.dataset,
        "seed": spec.seed,
        "mlb_version": spec.mlb_version,
        "git_revision": spec.git_revision,
        "launched_unix_ns": metrics.launched_unix_ns,
        "metric": spec.metric,
        "target": spec.target,
        "best_quality": quality.best.value if quality.best else None,
        "test_quality": quality.test.value if quality.test else None,
        "time_to_target_s": metrics.time_to_target_s,
        "time_to_target_from_launch_s": metrics.time_to_target_from_launch_s,
        "training_only_s": metrics.training_only_s,
        "wall_s": metrics.split.wall_s,
        "epochs": metrics.epochs,
        "steps": metrics.steps,
        "samples": metrics.samples,
        "tokens": metrics.tokens,
        "tokens_per_s": rates.tokens_per_s,
        "samples_per_s": rates.samples_per_s,
        **{f"{part}_s": metrics.split.mean_seconds(part) for part in PARTS},
        "warnings": len(metrics.warnings),
    }


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = sanitise(value)
    return "'" + text if text.startswith(_STARTS_FORMULA) else text
