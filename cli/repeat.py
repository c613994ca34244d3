"""`mlb bench TASK --repeat N`: the same run with new seeds, and what they come to together."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev

from ..errors import Interrupted
from ..results.metrics import Metrics, compute
from ..results.run import RunFolder
from ..results.table import Table, text_of_table
from ..results.text import duration
from . import matrix_run
from .console import result_width, show_json, show_text
from .dirs import runs_dir
from .edge import INTERRUPTED
from .follow import exit_code
from .request import Request


def bench_repeated(request: Request, times: int, *, as_json: bool) -> int:
    """Run a request so many times, the seed counted up; the exit code is that of the worst run.

    A run that is interrupted is named and left out of the summary; the same command makes it again.

    Raises:
        RunFailed: a run failed; the ones after it were not started.
    """
    folder, matrix = matrix_run.matrix_for("repeat", request, [{}], times)
    matrix, detached = matrix_run.run_all(folder, matrix, request)
    if detached:
        return INTERRUPTED
    finished = [compute(RunFolder(runs_dir() / cell.run_id)) for cell in matrix.cells if cell.succeeded]
    if as_json:
        show_json({"runs": [metrics.to_json() for metrics in finished], "interrupted": matrix.left})
    else:
        show_text("\n".join(text_of_table(_table(finished, times), result_width())))
    matrix_run.shown(folder, matrix)
    return max([exit_code(metrics) for metrics in finished], default=Interrupted.exit_code)


def _table(runs: Sequence[Metrics], times: int) -> Table:
    rows = [
        (
            metrics.spec.run_id,
            str(metrics.spec.seed),
            metrics.status,
            duration(metrics.time_to_target_s),
            f"{metrics.throughput.samples_per_s or 0:,.1f}",
        )
        for metrics in runs
    ]
    reached = [metrics.time_to_target_s for metrics in runs if metrics.time_to_target_s is not None]
    rates = [metrics.throughput.samples_per_s for metrics in runs if metrics.throughput.samples_per_s]
    rows.append(("mean ± sd", "", f"{len(reached)} of {times} reached", _spread(reached, 3), _spread(rates, 1)))
    headers = ("run", "seed", "result", "time to target", "samples/s")
    missing = times - len(runs)
    notes = (f"{missing} interrupted, left out.",) if missing else ()
    return Table(f"{times} runs", headers, tuple(rows), sums_up=True, notes=notes)


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return "-"
    return f"{mean(values):,.{digits}f}" + (f" ± {stdev(values):,.{digits}f}" if len(values) > 1 else "")
