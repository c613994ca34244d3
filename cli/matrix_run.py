"""The engine of every series of runs: one after the other, each written down before it begins and when it is over."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import Interrupted, MlbError, PreflightError, RunFailed, UsageError
from ..provisioner.fleet import Fleet
from ..provisioner.runs import RunState
from ..results.matrix import (
    BROKEN,
    LOST,
    SUCCEEDED,
    Cell,
    Matrix,
    all_matrices,
    interleaved,
    new_matrix_id,
    read_matrix,
    working_on,
    write_matrix,
)
from ..results.matrix_compare import words_of
from ..results.node import is_loss
from ..results.run import RunFolder, RunSpec
from ..results.text import count, duration
from ..tasks import catalogue
from . import bench_run
from .bench_spec import Ask, new_run_id
from .console import note, plain
from .dirs import runs_dir
from .fleets import THIS_MACHINE, chosen, watcher
from .follow import follow, settle
from .request import Request

SETTING = "set."
"""What the name of a hyperparameter begins with in a cell's changes."""
_CIRCUMSTANCES = ("queue", "offline", "wheelhouse", "run_id")
"""What may differ between a command and the one that goes on with it."""


def matrices_dir() -> Path:
    """The folder of all matrices, beside that of the runs."""
    return runs_dir().parent / "matrices"


def request_of(request: Request, changes: Mapping[str, Any]) -> Request:
    """The request of a configuration."""
    fields = {name: value for name, value in changes.items() if not name.startswith(SETTING)}
    settings = [f"{name.removeprefix(SETTING)}={value}" for name, value in changes.items() if name.startswith(SETTING)]
    return replace(request, **fields, settings=(*request.settings, *settings))


def first_seed(request: Request) -> int:
    """The seed of the first run of each configuration."""
    return catalogue.task(request.task).default_seed if request.seed is None else request.seed


def matrix_for(
    kind: str,
    request: Request,
    configurations: Sequence[Mapping[str, Any]],
    repeats: int,
    *,
    keeps_failures: bool = False,
    **more: Any,
) -> tuple[Path, Matrix]:
    """The matrix that was asked for: the one that the same request began and did not end, or a new one.

    Args:
        more: what else makes two commands the same.

    Raises:
        UsageError, PreflightError: a configuration cannot be run; said before any of them is.
    """
    refuse_what_cannot_be(request, configurations)
    fleet = chosen(request.fleet)
    name = fleet.name if fleet else THIS_MACHINE
    asked = {
        **{key: value for key, value in plain(request).items() if key not in _CIRCUMSTANCES},
        "fleet": name,
        "fleet_ends": fleet.expires_at if fleet else None,
        **(_identity_of(fleet) if fleet else {}),
        "configurations": [dict(changes) for changes in configurations],
        "repeats": repeats,
        "first_seed": first_seed(request),
        **more,
    }
    asked = json.loads(json.dumps(asked))
    for folder in all_matrices(matrices_dir()):
        try:
            known = read_matrix(folder)
        except MlbError as error:
            note(f"{error.what} It is left out.")
            continue
        if (known.kind, dict(known.request)) == (kind, asked) and not (known.done and known.shown):
            note(
                f"going on with {known.matrix_id}: {len(known.cells) - known.left} of {len(known.cells)} runs are done"
            )
            return folder, known
    cells = interleaved(configurations, repeats, first_seed(request))
    matrix = Matrix(new_matrix_id(kind, request.task, name), kind, asked, cells, keeps_failures)
    return matrices_dir() / matrix.matrix_id, matrix


def _identity_of(fleet: Fleet) -> dict[str, Any]:
    """What tells a fleet from others of its name: made anew, of another size, of other hosts.

    A rented machine that was replaced keeps its name; a host that somebody has is the one at its address.
    """
    by_address = fleet.cloud == "ssh"
    hosts = [f"{node.ssh_host}:{node.ssh_port}" if by_address else node.name for node in fleet.nodes]
    begun = fleet.ledger[0].from_unix_s if fleet.ledger else None
    return {"fleet_begun": begun, "fleet_nodes": hosts}


def refuse_what_cannot_be(request: Request, configurations: Sequence[Mapping[str, Any]]) -> None:
    """Look every configuration up, then say what it would run.

    Raises:
        UsageError, PreflightError: names the first configuration that cannot be run, and why; or two that are the same.
    """
    wanted = [(changes, request_of(request, changes)) for changes in configurations]
    # First what needs no data: a wrong word is said before anything is downloaded.
    for changes, one in wanted:
        with _named(changes):
            Ask.of(one)
    known: list[tuple[Mapping[str, Any], RunSpec]] = []
    for changes, one in wanted:
        with _named(changes):
            spec = bench_run.spec_of(one)
        work = replace(spec, run_id="", created_unix_ns=0, launched_unix_ns=0, beside=())
        for others, other in known:
            if work == other:
                raise UsageError(
                    f"{words_of(others)} and {words_of(changes)} are the same run.",
                    why=f"Both come to {spec.ranks} ranks over {spec.backend}, and all else is alike.",
                    fix="Leave one of them out, or the option that decides for both.",
                )
        known.append((changes, work))


@contextmanager
def _named(changes: Mapping[str, Any]) -> Iterator[None]:
    """Inside, an error names the configuration."""
    try:
        yield
    except (UsageError, PreflightError) as error:
        if changes:
            error.what = f"{words_of(changes)}: {error.what}"
        raise


def run_all(folder: Path, matrix: Matrix, request: Request) -> tuple[Matrix, bool]:
    """Make every run that is still to be made; the matrix then, and whether the user let go of one that goes on.

    A run that is interrupted is named, and run again by the same command.

    Raises:
        Locked: another command makes them.
        MlbError: a run could not be started, or failed and failures are no result; the same command goes on.
    """
    with working_on(folder):
        # Read again: another command may have made some meanwhile.
        matrix = read_matrix(folder) if (folder / "matrix.json").is_file() else matrix
        write_matrix(folder, matrix)
        begun_s, made = time.monotonic(), 0
        for index, cell in enumerate(matrix.cells):
            if matrix.settled(cell):
                continue
            place = f"run {index + 1} of {len(matrix.cells)}"
            words = (place, words_of(cell.changes), f"seed {cell.seed}")
            note(f"{matrix.matrix_id}: {', '.join(filter(None, words))}")
            matrix = _run_cell(folder, matrix, index, request)
            if not matrix.cells[index].state:
                note(f"detached; the same command goes on with {matrix.matrix_id}")
                return matrix, True
            made += 1
            if matrix.left:
                left_s = (time.monotonic() - begun_s) / made * matrix.left
                note(f"{count(matrix.left, 'run')} to go, about {duration(round(left_s, 1))}")
    return matrix, False


def shown(folder: Path, matrix: Matrix) -> None:
    """Its result was shown: the same command is to begin anew."""
    if matrix.done:
        write_matrix(folder, replace(matrix, shown=True))


def _run_cell(folder: Path, matrix: Matrix, index: int, request: Request) -> Matrix:
    cell = matrix.cells[index]
    run = _begun(cell)
    if run is None:
        mine = replace(request_of(request, cell.changes), seed=cell.seed)
        mine = replace(mine, run_id=new_run_id(mine.task, str(matrix.request["fleet"])))
        matrix = matrix.with_cell(index, run_id=mine.run_id, state="", why="")
        write_matrix(folder, matrix)
        started = bench_run.start(mine)
        bench_run.announce(started)
        if started.interrupted:
            return matrix
        run = started.folder
    state = follow(run)
    if state is None:
        return matrix
    matrix, error = _ended(matrix, index, run, state)
    write_matrix(folder, matrix)
    if error is None:
        return matrix
    note(f"{error.what} {error.why}".strip())
    if not isinstance(error, Interrupted) and not matrix.settled(matrix.cells[index]):
        note(f"the run is not counted; the same command makes it again and goes on with {matrix.matrix_id}")
        raise error
    return matrix


def _begun(cell: Cell) -> RunFolder | None:
    """The run of a cell that was begun and not seen to its end, if it goes on or has come to its own end."""
    run = RunFolder(runs_dir() / cell.run_id) if cell.run_id and not cell.state else None
    if run is None or not run.spec.is_file():
        return None
    with watcher(run) as watch:
        watch.look_once()
        state = watch.state()
    if state.over and _outcome(state) not in (SUCCEEDED, *BROKEN):
        note(f"the run {run.run_id} did not come to its own end ({_outcome(state)}): it is not counted, and made again")
        return None
    return run


def _ended(matrix: Matrix, index: int, run: RunFolder, state: RunState) -> tuple[Matrix, MlbError | None]:
    try:
        settle(run, state)
    except (RunFailed, Interrupted) as error:
        return matrix.with_cell(index, state=_outcome(state), why=error.what), error
    return matrix.with_cell(index, state=_outcome(state)), None


def _outcome(state: RunState) -> str:
    """How a cell's run ended: one that lost a node says nothing of its configuration."""
    return LOST if state.state == "failed" and is_loss(state.nodes) else state.state
