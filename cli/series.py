"""A series of runs that was made together, found by its id and shown as what it is: a scaling or a comparison."""

from __future__ import annotations

from typing import Any

from ..errors import UsageError
from ..results.compare_report import render_comparison
from ..results.matrix import Matrix, all_matrices, read_matrix
from ..results.matrix_compare import compare_matrix
from ..results.scale import Scaling, scaling_of
from ..results.scale_report import render_scaling
from ..results.table import Report, markdown_of, text_of
from . import matrix_run
from .console import result_width, show_json, show_text
from .dirs import runs_dir
from .report_files import Files, write_drawn


def series_called(name: str) -> Matrix | None:
    """The series of this id, or whose id ends so; None where there is none."""
    folders = [f for f in all_matrices(matrix_run.matrices_dir()) if f.name == name or f.name.endswith(f"_{name}")]
    return read_matrix(folders[0]) if folders else None


def show_series(matrix: Matrix, files: Files, *, as_json: bool, markdown: bool) -> None:
    """A series in the form that was asked for.

    Raises:
        UsageError: none of its runs is over, or a file cannot be written.
    """
    if files.csv:
        raise UsageError("A series has no CSV of its own.", fix="Name its runs: mlb report RUN... --csv FILE")
    if matrix.kind == "scale":
        show_scaling(scaling_of(matrix, runs_dir()), files, as_json=as_json, markdown=markdown)
        return
    made = compare_matrix(matrix, runs_dir())
    if made is None:
        raise _nothing_yet(matrix)
    if files.drawn:
        from ..pages import compare_charts, page

        write_drawn(files, page.comparison_page(made), compare_charts.charts_of_comparison(made))
    facts = {"matrix": matrix.matrix_id, "left": matrix.left, **made.to_json()}
    _show(render_comparison(made), facts, files, as_json=as_json, markdown=markdown)


def show_scaling(scaling: Scaling, files: Files, *, as_json: bool, markdown: bool) -> None:
    """A scaling series; raises as `show_series`."""
    if not scaling.points and scaling.left_out:
        raise UsageError(
            f"No run of {scaling.matrix.matrix_id} may stand for its size.",
            why="\n".join(f"{run.metrics.spec.run_id}: {run.left_out}" for run in scaling.left_out),
            fix="Pull the logs of its runs again, or make the series anew.",
        )
    if not scaling.points:
        raise _nothing_yet(scaling.matrix)
    if files.drawn:
        from ..pages import page, scale_charts

        write_drawn(files, page.scaling_page(scaling), scale_charts.charts_of_scaling(scaling))
    _show(render_scaling(scaling), scaling.to_json(), files, as_json=as_json, markdown=markdown)


def _show(report: Report, facts: dict[str, Any], files: Files, *, as_json: bool, markdown: bool) -> None:
    if as_json:
        show_json(facts)
    elif markdown:
        show_text(markdown_of(report).rstrip())
    elif not files.drawn:
        show_text(text_of(report, result_width(off_terminal=200)).rstrip())


def _nothing_yet(matrix: Matrix) -> UsageError:
    return UsageError(f"No run of {matrix.matrix_id} is over yet.", fix="The command that began it goes on.")
