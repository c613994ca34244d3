"""From `--vary` to a comparison: check every configuration, quote, make the runs, show them side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import RunFailed, UsageError
from ..results.compare import compare, entry_of
from ..results.compare_report import render_comparison
from ..results.comparison import Comparison
from ..results.matrix import Matrix
from ..results.matrix_compare import CONFIGURATIONS_AT_MOST, compare_matrix, words_of
from ..results.statistics import least_runs
from ..results.table import Table, markdown_of, text_of, text_of_table
from ..results.text import count, duration
from . import matrix_run
from .console import note, result_width, show_json, show_text
from .dirs import runs_dir
from .edge import INTERRUPTED
from .estimate import Estimate, estimate
from .report import find_all
from .report_files import write
from .request import Request
from .series import series_called
from .vary import configurations_of


def of_runs(names: Sequence[str], *, mixed: bool, by: Sequence[str]) -> Comparison:
    """The comparison of runs that exist, or of a matrix by its id.

    Raises:
        UsageError: there is no such run, or they do not belong side by side.
    """
    if len(names) == 1 and (matrix := series_called(names[0])) is not None:
        if (made := compare_matrix(matrix, runs_dir())) is None:
            raise UsageError(f"No run of {matrix.matrix_id} is over yet.", fix="The command that began it goes on.")
        return made
    return compare([entry_of(folder) for folder in find_all(names)], mixed=mixed, by=by)


def vary(
    request: Request,
    axes: Mapping[str, list[Any]],
    repeats: int | None,
    *,
    dry_run: bool,
    as_json: bool,
    markdown: bool,
    html: Path | None,
) -> int:
    """Make the runs that are still to be made, and compare; 0 also where a goal was missed, 7 where a run failed.

    Args:
        repeats: runs of each configuration; None for as many as a winner can be told with.

    Raises:
        UsageError, PreflightError: a configuration cannot be; no run was started.
        MlbError: a run could not be started; the same command goes on.
    """
    configurations = configurations_of(axes)
    if len(configurations) > CONFIGURATIONS_AT_MOST:
        raise UsageError(
            f"{len(configurations)} configurations are too many to compare at once; "
            f"the most is {CONFIGURATIONS_AT_MOST}.",
            fix="Vary fewer keys or values.",
        )
    repeats = repeats or _least(len(configurations))
    folder, matrix = matrix_run.matrix_for("compare", request, configurations, repeats, keeps_failures=True)
    quoted = quote(matrix, request)
    if dry_run:
        _show_plan(matrix, quoted, as_json=as_json)
        return 0
    _say_quote(matrix, repeats, quoted)
    matrix, detached = matrix_run.run_all(folder, matrix, request)
    if detached:
        return INTERRUPTED
    made = compare_matrix(matrix, runs_dir())
    if made is None:
        raise RunFailed("No run has come to its end.", fix="What was interrupted is run again by the same command.")
    show(made, as_json=as_json, markdown=markdown, html=html, matrix=matrix)
    note(f"again, and in other forms: mlb compare {matrix.matrix_id} --html FILE")
    matrix_run.shown(folder, matrix)
    return RunFailed.exit_code if any(cell.broken for cell in matrix.cells) else 0


def show(made: Comparison, *, as_json: bool, markdown: bool, html: Path | None, matrix: Matrix | None = None) -> None:
    """A comparison in the form that was asked for."""
    if html:
        from ..pages.page import comparison_page

        write(html, comparison_page(made))
    if as_json:
        identity = {"matrix": matrix.matrix_id, "left": matrix.left} if matrix else {}
        show_json({**identity, **made.to_json()})
    elif not html:
        report = render_comparison(made)
        show_text((markdown_of(report) if markdown else text_of(report, result_width(off_terminal=200))).rstrip())


def quote(matrix: Matrix, request: Request) -> Estimate:
    """What the runs that are still to be made will take."""
    left = [cell for cell in matrix.cells if not matrix.settled(cell)]
    return estimate([matrix_run.request_of(request, cell.changes) for cell in left])


def _say_quote(matrix: Matrix, repeats: int, quoted: Estimate) -> None:
    configurations = len(matrix.configurations)
    note(
        f"{matrix.matrix_id}: {count(matrix.left, 'run')} of {len(matrix.cells)} to make "
        f"({count(configurations, 'configuration')}, {repeats} of each): {_words(quoted)}"
    )
    least = _least(configurations)
    if configurations > 1 and repeats < least:
        note(f"with {repeats} of each no winner can be told from noise; --repeat {least} is the least that can")
    if quoted.seconds and time.time() + quoted.seconds > quoted.fleet_ends_unix_s:
        note("warning: the fleet ends before that: mlb infra status")


def _least(configurations: int) -> int:
    """Runs of each configuration with which a winner can be told; one where there is nothing to win against."""
    return least_runs(configurations - 1) if configurations > 1 else 1


def _words(quoted: Estimate) -> str:
    if quoted.seconds is None:
        rate = {None: "nor its cost", 0.0: "nothing is rented"}.get(quoted.usd_per_hour)
        rate = rate or f"${quoted.usd_per_hour:.2f} an hour"
        return f"how long is not known, no such run was made before ({rate})"
    cost = "cost not known" if quoted.usd is None else f"${quoted.usd:.2f}" if quoted.usd else "nothing is rented"
    return f"about {duration(round(quoted.seconds, 1))} by {count(quoted.known, 'earlier run')}, {cost}"


def _show_plan(matrix: Matrix, quoted: Estimate, *, as_json: bool) -> None:
    cells = [{"changes": dict(c.changes), "seed": c.seed, "done": matrix.settled(c)} for c in matrix.cells]
    if as_json:
        facts: dict[str, Any] = {"seconds": quoted.seconds, "usd": quoted.usd, "known_runs": quoted.known}
        show_json({"runs": cells, "left": matrix.left, "estimate": facts})
        return
    rows = tuple(
        (str(i), words_of(c.changes), str(c.seed), "done" if matrix.settled(c) else "to be made")
        for i, c in enumerate(matrix.cells, start=1)
    )
    table = Table(f"{count(len(matrix.cells), 'run')}", ("run", "configuration", "seed", "state"), rows)
    show_text("\n".join(text_of_table(table, result_width())))
    show_text(f"{count(matrix.left, 'run')} to make: {_words(quoted)}")
