"""The files that `mlb report` writes of task 0a's runs: a page, pictures, a row a point."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..errors import UsageError
from ..pages.page import raw_page
from ..pages.raw_charts import charts_of_points
from ..results.flat import csv_of
from ..results.raw import points_of, rows_of
from ..results.run import RunFolder
from .bench_raw import is_raw
from .report_files import Files, write, write_drawn

_VALID = "--html FILE, --csv FILE, --svg FOLDER, --png FOLDER, --json or --md"


def write_raw(folders: Sequence[RunFolder], files: Files, others: Collection[str]) -> None:
    """Write what is wanted of runs of which one is of task 0a, at least.

    Args:
        others: what else was asked for: `trace`, `mlflow`, ...

    Raises:
        UsageError: this task has no such file, the runs do not belong together, or a file cannot be written.
        ResultsInvalid: a log cannot be read.
        PreflightError: what draws PNG files is not installed.
    """
    if others:
        raise UsageError(
            f"A run of task0a has no --{' or --'.join(others)}.",
            why="It trains nothing, and that is made of training steps.",
            fix=f"Take {_VALID}.",
        )
    if not all(is_raw(folder) for folder in folders):
        raise UsageError(
            "A run of task0a and a training cannot be in one file.",
            why="A training is a row or a curve, a run of task0a a row for each operation and size.",
            fix="Name runs of one kind.",
        )
    if files.drawn and len(folders) > 1:
        raise UsageError(
            "A page or a picture shows one run of task0a only.",
            fix="Name one run, or write all of them with --csv FILE.",
        )
    runs = [(folder, points_of(folder)) for folder in folders]
    if files.csv:
        write(files.csv, csv_of([row for folder, points in runs for row in rows_of(folder, points)]))
    if files.drawn:
        write_drawn(files, raw_page(*runs[0]), charts_of_points(runs[0][1]))
