"""A matrix of runs that belong together: what is varied, which run is whose, and how far it has come.

`mlb compare --vary`, `mlb scale` and `mlb bench --repeat` each run one; `matrix.json` says what a command that was
ended has to go on with.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ..errors import Locked, ResultsInvalid
from .run import write_json

SCHEMA_VERSION = 1

SUCCEEDED: Final = "succeeded"
LOST: Final = "lost"
"""Of a cell: a node of the run, or the way to it, was lost."""
BROKEN: Final = ("failed", "hang")
"""States of a run that failed by itself. One that was lost, stopped or interrupted says nothing and is run again."""


@dataclass(frozen=True)
class Cell:
    """One run of the matrix."""

    changes: Mapping[str, Any]
    """What is varied and its value here; a hyperparameter is `set.NAME`."""
    repeat: int
    """From 0."""
    seed: int
    run_id: str = ""
    """Empty before it was first started; written down before the run begins, so that no run is ever forgotten."""
    state: str = ""
    """How it ended, as `RunState` has it; empty before that."""
    why: str = ""
    """The cause, where it failed."""

    @property
    def succeeded(self) -> bool:
        """Whether it came to its own end, goal or not."""
        return self.state == SUCCEEDED

    @property
    def broken(self) -> bool:
        return self.state in BROKEN


@dataclass(frozen=True)
class Matrix:
    """What `matrix.json` holds."""

    matrix_id: str
    kind: str
    """`compare`, `scale` or `repeat`."""
    request: Mapping[str, Any]
    """What the command was asked for: a command that asks for the same goes on with it."""
    cells: tuple[Cell, ...]
    """In the order in which they are run."""
    keeps_failures: bool = False
    """Whether a run that failed is a result; otherwise it is run again."""
    shown: bool = False
    """Whether its result was shown: the same command then begins a new one."""
    schema_version: int = SCHEMA_VERSION

    def settled(self, cell: Cell) -> bool:
        """Whether a cell needs no further run."""
        return cell.succeeded or (self.keeps_failures and cell.broken)

    @property
    def left(self) -> int:
        """Runs that are still to be made."""
        return sum(not self.settled(cell) for cell in self.cells)

    @property
    def done(self) -> bool:
        return not self.left

    @property
    def configurations(self) -> tuple[Mapping[str, Any], ...]:
        """The different cells without their repeats, in the order in which they were asked for."""
        found: dict[str, Mapping[str, Any]] = {}
        for cell in self.cells:
            found.setdefault(json.dumps(cell.changes), cell.changes)
        return tuple(found.values())

    def cells_of(self, changes: Mapping[str, Any]) -> tuple[Cell, ...]:
        """The repeats of a configuration, in the order of their seeds."""
        return tuple(sorted((c for c in self.cells if c.changes == changes), key=lambda cell: cell.repeat))

    def with_cell(self, index: int, **changes: Any) -> Matrix:
        """The matrix with one cell changed."""
        cells = list(self.cells)
        cells[index] = replace(cells[index], **changes)
        return replace(self, cells=tuple(cells))


def interleaved(configurations: Sequence[Mapping[str, Any]], repeats: int, seed: int) -> tuple[Cell, ...]:
    """All configurations once, then all once more, every other round backwards; each round has a seed of its own.

    What drifts steadily over time then falls on all of them alike, and a seed's luck too.
    """
    rounds = [configurations if repeat % 2 == 0 else configurations[::-1] for repeat in range(repeats)]
    return tuple(Cell(changes, i, seed + i) for i, one_round in enumerate(rounds) for changes in one_round)


def new_matrix_id(kind: str, task: str, fleet: str) -> str:
    """Sorts by time, says what and where, and is unique without asking anybody."""
    return f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}_{kind}_{task}_{fleet}_{secrets.token_hex(3)}"


def read_matrix(folder: Path) -> Matrix:
    """The matrix in a folder.

    Raises:
        ResultsInvalid: it holds none that can be read.
    """
    path = folder / "matrix.json"
    try:
        raw = json.loads(path.read_text())
        if raw["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"it has format {raw['schema_version']!r}, this version reads {SCHEMA_VERSION}")
        cells = tuple(Cell(**cell) for cell in raw["cells"])
        if not all(isinstance(cell.changes, dict) and isinstance(cell.run_id, str) for cell in cells):
            raise ValueError("a cell does not say what it is")
        return Matrix(**{**raw, "cells": cells})
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ResultsInvalid(
            f"{path} is not a matrix of runs.",
            why=f"{type(error).__name__}: {error}",
            fix="Its runs are whole without it: mlb runs",
        ) from error


def write_matrix(folder: Path, matrix: Matrix) -> None:
    """Write the matrix down in one step."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(folder / "matrix.json", asdict(matrix))


def all_matrices(matrices_dir: Path) -> Iterator[Path]:
    """The folders of all matrices, the newest first."""
    if matrices_dir.is_dir():
        yield from sorted((p for p in matrices_dir.iterdir() if (p / "matrix.json").is_file()), reverse=True)


@contextmanager
def working_on(folder: Path) -> Iterator[None]:
    """Hold a matrix while its runs are made; the kernel lets go of it for a process that dies.

    Raises:
        Locked: another process makes its runs.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(
                f"Another command is making the runs of {folder.name}.",
                fix="Wait for its end, or follow its run: mlb bench attach",
            ) from None
        yield
    finally:
        os.close(handle)
