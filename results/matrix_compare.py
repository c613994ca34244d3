"""The runs of a matrix side by side: a group a configuration, and what each value did."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ..errors import ResultsInvalid
from .compare import compared, entry_of, group_of
from .comparison import Comparison, Entry
from .matrix import Cell, Matrix
from .measures import effects_of
from .run import RunFolder

CONFIGURATIONS_AT_MOST: Final = len(string.ascii_uppercase)


def compare_matrix(matrix: Matrix, runs_dir: Path) -> Comparison | None:
    """The comparison of what has been run so far; None where no run is over.

    Runs that failed stay in it, in no number; cells without a run are named.
    """
    groups, missing, broken, runs = [], [], [], []
    configurations = matrix.configurations
    # A key with one value tells nothing apart.
    telling = [key for key in configurations[0] if len({str(one[key]) for one in configurations}) > 1]
    for letter, changes in zip(string.ascii_uppercase, configurations, strict=False):
        entries: list[Entry] = []
        for cell in matrix.cells_of(changes):
            entry = _entry(cell, runs_dir)
            if cell.broken:
                broken.append(f"{letter}: the run with seed {cell.seed} failed: {cell.why}")
            if entry is None:
                missing.append(f"{letter} ({words_of(changes)}): the run with seed {cell.seed} is not there (yet).")
            else:
                entries.append(entry)
                runs.append((_plain(changes), cell.seed, entry))
        if entries:
            label = words_of({key: changes[key] for key in telling})
            groups.append(group_of(letter, label, entries))
    if not groups:
        return None
    effects = effects_of(runs) if any(changes for changes, _, _ in runs) else ()
    made = compared(groups, effects=tuple(effects))
    return replace(made, warnings=(*broken, *missing, *made.warnings))


def words_of(changes: Mapping[str, Any]) -> str:
    """`backend=gloo, nodes=2`."""
    return ", ".join(f"{name}={value}" for name, value in changes.items() if value is not None)


def _plain(changes: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in changes.items()}


def _entry(cell: Cell, runs_dir: Path) -> Entry | None:
    if not (cell.succeeded or cell.broken):
        return None
    try:
        return entry_of(RunFolder(runs_dir / cell.run_id))
    except ResultsInvalid:
        return None
