"""`mlb bench TASK --repeat N`: the same run with new seeds, and what they come to together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean, stdev
from typing import TYPE_CHECKING

from ..errors import Interrupted
from ..results.metrics import Metrics
from ..results.table import Table, text_of_table
from ..results.text import duration
from ..tasks import catalogue
from . import bench_run
from .console import note, result_width, show_json, show_text
from .edge import INTERRUPTED
from .follow import exit_code, follow, settle

if TYPE_CHECKING:
    from .bench_spec import Request


def bench_repeated(request: Request, times: int, *, as_json: bool) -> int:
    """Run a request so many times, the seed counted up; the exit code is that of the worst run.

    A run that is interrupted is named and left out of the summary.

    Raises:
        RunFailed: a run failed; the ones after it were not started.
    """
    base = catalogue.task(request.task).default_seed if request.seed is None else request.seed
    finished: list[Metrics] = []
    for number in range(times):
        started = bench_run.start(replace(request, seed=base + number))
        note(f"run {number + 1} of {times}")
        bench_run.announce(started)
        state = None if started.interrupted else follow(started.folder)
        if state is None:
            note(f"detached: this run goes on, the {times - number - 1} after it were not started")
            return INTERRUPTED
        try:
            finished.append(settle(started.folder, state))
        except Interrupted as error:
            note(error.what)
    if as_json:
        show_json({"runs": [metrics.to_json() for metrics in finished], "interrupted": times - len(finished)})
    else:
        show_text("\n".join(text_of_table(_table(finished, times), result_width())))
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
