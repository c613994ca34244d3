"""`mlb bench TASK --repeat N`: the same run with new seeds, and what they come to together."""

from __future__ import annotations

from ..errors import Interrupted, RunFailed
from ..results.metrics import compute
from ..results.run import RunFolder
from . import matrix_run
from .console import note
from .dirs import runs_dir
from .edge import INTERRUPTED
from .follow import exit_code
from .report_files import Files
from .request import Request
from .series import show_series


def bench_repeated(request: Request, times: int, *, as_json: bool) -> int:
    """Run a request so many times, the seed counted up; the exit code is that of the worst run.

    A run that failed stays in the summary, in no number of it; one that is interrupted is named and left out, and the
    same command makes it again.

    Raises:
        UsageError: no run has come to its end.
        MlbError: a run could not be started; the same command goes on.
    """
    folder, matrix = matrix_run.matrix_for("repeat", request, [{}], times, keeps_failures=True)
    matrix, detached = matrix_run.run_all(folder, matrix, request)
    if detached:
        return INTERRUPTED
    if not any(matrix.settled(cell) for cell in matrix.cells):
        return Interrupted.exit_code
    show_series(matrix, Files(), as_json=as_json, markdown=False)
    note(f"again, and in other forms: mlb report {matrix.matrix_id} --html FILE")
    matrix_run.shown(folder, matrix)
    finished = [compute(RunFolder(runs_dir() / cell.run_id)) for cell in matrix.cells if cell.succeeded]
    broken = [RunFailed.exit_code for cell in matrix.cells if cell.broken]
    return broken[0] if broken else max((exit_code(metrics) for metrics in finished), default=0)
