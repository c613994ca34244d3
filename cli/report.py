"""`mlb report` and `mlb compare`: runs in words and pictures, made again from their files alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json

if TYPE_CHECKING:
    from ..results.comparison import Comparison
    from ..results.metrics import Metrics
    from ..results.run import RunFolder

Runs = Annotated[list[str] | None, typer.Argument(help="Runs by id, part of it, or folder; the newest if left out.")]
Markdown = Annotated[bool, typer.Option("--md", help="As Markdown.")]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write one self-contained HTML page.")]
Mixed = Annotated[
    bool, typer.Option("--mixed", help="Compare although divisions or targets differ; the result is marked.")
]


def report(
    run: Runs = None,
    as_json: Json = False,
    markdown: Markdown = False,
    html: Html = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a CSV, one row a run; - is standard output.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FOLDER", help="Write each chart as an SVG file into FOLDER.")
    ] = None,
    mixed: Mixed = False,
) -> None:
    """Report on RUN...: goal, time to it, and where the time went."""
    from ..results.metrics import compute
    from .console import show_json

    folders = _find(run or [None])
    runs = [compute(folder) for folder in folders]
    if html or csv or svg:
        _write_files(folders, runs, html, csv, svg, mixed=mixed)
    elif as_json and len(runs) > 1:
        show_json({"runs": [metrics.to_json() for metrics in runs]})
    else:
        for metrics in runs:
            _show(metrics, as_json=as_json, markdown=markdown)


def compare(
    run: Annotated[list[str], typer.Argument(help="Runs by id, part of it, or folder.")],
    as_json: Json = False,
    markdown: Markdown = False,
    html: Html = None,
    mixed: Mixed = False,
    by: Annotated[
        str, typer.Option(metavar="WORD,...", help="Group by these words of the configuration only: aggregation,ranks.")
    ] = "",
) -> None:
    """Compare RUN...: what differs between them, and which differences are outside noise."""
    from ..pages.page import comparison_page
    from ..results.compare_report import render_comparison
    from ..results.metrics import compute
    from ..results.table import markdown_of, text_of
    from .console import result_width, show_json, show_text

    folders = _find(run)
    made = _comparison(folders, [compute(folder) for folder in folders], mixed=mixed, by=by)
    if html:
        _write(html, comparison_page(made))
    elif as_json:
        show_json(made.to_json())
    else:
        report = render_comparison(made)
        show_text((markdown_of(report) if markdown else text_of(report, result_width(off_terminal=200))).rstrip())


def _find(names: Sequence[str | None]) -> list[RunFolder]:
    from ..provisioner.runs import find
    from .dirs import runs_dir

    folders = [find(runs_dir(), name) for name in names]
    return list({folder.path.resolve(): folder for folder in folders}.values())


def _show(metrics: Metrics, *, as_json: bool, markdown: bool) -> None:
    from ..results.report import to_markdown
    from .console import show_text
    from .show import show_metrics

    if markdown:
        show_text(to_markdown(metrics))
    else:
        show_metrics(metrics, as_json)


def _write_files(
    folders: Sequence[RunFolder],
    runs: Sequence[Metrics],
    html: Path | None,
    csv: Path | None,
    svg: Path | None,
    *,
    mixed: bool,
) -> None:
    from ..pages import charts, compare_charts, page
    from ..results.flat import to_csv
    from ..results.series import series_of
    from .cost import cost_of

    if csv:
        _write(csv, to_csv(runs))
    if not (html or svg):
        return
    if len(runs) > 1:
        comparison = _comparison(folders, runs, mixed=mixed)
        drawn = compare_charts.charts_of_comparison(comparison)
        make: Callable[[], str] = lambda: page.comparison_page(comparison)  # noqa: E731
    else:
        series = series_of(folders[0], runs[0])
        drawn = charts.charts_of(runs[0], series)
        make = lambda: page.run_page(folders[0], runs[0], series, cost_of(runs[0]))  # noqa: E731
    if html:
        _write(html, make())
    for name, text in page.pictures(drawn) if svg else ():
        _write(Path(svg or ".") / name, text)


def _comparison(folders: Sequence[RunFolder], runs: Sequence[Metrics], *, mixed: bool, by: str = "") -> Comparison:
    from ..results.compare import compare as compare_runs
    from ..results.compare import entry_of

    entries = [entry_of(folder, metrics) for folder, metrics in zip(folders, runs, strict=True)]
    return compare_runs(entries, mixed=mixed, by=[word.strip() for word in by.split(",") if word.strip()])


def _write(path: Path, text: str) -> None:
    """Write a file in one step, or to standard output for `-`."""
    from ..errors import UsageError
    from ..results.run import write_text
    from .console import note, show_text

    if str(path) == "-":
        show_text(text.rstrip("\n"))
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written.", why=str(error), fix="Name a file in a folder you may write."
        ) from None
    note(f"wrote {path} ({len(text.encode()) / 1000:,.0f} kB)")
