"""`mlb report`: runs in words, made again from their files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ResultsInvalid
from .options import Json

if TYPE_CHECKING:
    from ..results.metrics import Metrics
    from ..results.run import RunFolder

Runs = Annotated[
    list[str] | None,
    typer.Argument(help="Runs by id, part of it, or folder, or one series by its id; the newest run if left out."),
]
Markdown = Annotated[bool, typer.Option("--md", help="As Markdown.")]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write one self-contained HTML page.")]
Png = Annotated[
    Path | None, typer.Option("--png", metavar="FOLDER", help="Write each chart as a PNG file into FOLDER.")
]
Svg = Annotated[
    Path | None, typer.Option("--svg", metavar="FOLDER", help="Write each chart as an SVG file into FOLDER.")
]
Mixed = Annotated[
    bool, typer.Option("--mixed", help="Compare although divisions or targets differ; the result is marked.")
]


def report(
    run: Runs = None,
    as_json: Json = False,
    markdown: Markdown = False,
    html: Html = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", help="Write a CSV, one row a run, of task0a one a point; - is standard output."
        ),
    ] = None,
    svg: Svg = None,
    png: Png = None,
    mixed: Mixed = False,
    trace: Annotated[Path | None, typer.Option(help="Write a Chrome trace, for ui.perfetto.dev.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write a Parquet table, a row a step and rank.")] = None,
    tensorboard: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Hand the runs to TensorBoard, each in a folder of its own.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="Hand the runs to MLflow: a server, or sqlite:///FILE.db.")
    ] = None,
    wandb: Annotated[
        str | None, typer.Option(metavar="PROJECT", help="Hand the runs to W&B, where it is installed.")
    ] = None,
    mllog: Annotated[Path | None, typer.Option(help="Write MLPerf's log lines; not an MLPerf result.")] = None,
) -> None:
    """Report on RUN...: goal, time to it, and where the time went; on a series: its runs side by side."""
    from . import report_files

    files = report_files.Files(html, csv, svg, png)
    exports = {kind: path for kind, path in (("trace", trace), ("parquet", parquet), ("mllog", mllog)) if path}
    trackers = {k: to for k, to in (("tensorboard", tensorboard), ("mlflow", mlflow), ("wandb", wandb)) if to}
    if run and len(run) == 1 and not (exports or trackers):
        from .series import series_called, show_series

        if (matrix := series_called(run[0])) is not None:
            show_series(matrix, files, as_json=as_json, markdown=markdown)
            return
    folders = find_all(run or [None])
    if (exports or trackers or files.any) and any(map(_is_raw, folders)):
        from .report_raw import write_raw

        write_raw(folders, files, [*exports, *trackers])
        return
    if exports:
        report_files.export_one(folders, exports)
    if trackers:
        report_files.track(folders, trackers)
    runs: list[Metrics] = []
    if files.any:
        runs = report_files.write_pages(folders, files, mixed=mixed)
    elif not (exports or trackers):
        runs = _show(folders, as_json=as_json, markdown=markdown)
    if any(metrics.foreign_ranks for metrics in runs):
        # The report says so itself, and is shown for what it is worth.
        raise typer.Exit(ResultsInvalid.exit_code)


def find_all(names: Sequence[str | None]) -> list[RunFolder]:
    """The runs, each once."""
    from ..provisioner.runs import find
    from .dirs import runs_dir

    folders = [find(runs_dir(), name) for name in names]
    return list({folder.path.resolve(): folder for folder in folders}.values())


def _is_raw(folder: RunFolder) -> bool:
    from .bench_raw import is_raw

    return is_raw(folder)


def _show(folders: Sequence[RunFolder], *, as_json: bool, markdown: bool) -> list[Metrics]:
    from ..provisioner.runs import known_state
    from ..results.metrics import compute
    from ..results.node import GOING_ON
    from ..results.report import to_markdown
    from .bench_raw import show as show_raw
    from .console import show_json, show_text
    from .show import show_metrics

    runs: list[Metrics] = []
    for folder in folders:
        if _is_raw(folder):
            show_raw(folder, as_json=as_json, markdown=markdown)
            continue
        state = known_state(folder)
        runs.append(compute(folder, state=state))
        if state not in GOING_ON:
            runs[-1].refuse_if_nothing_is_known()
    if as_json and len(runs) > 1:
        show_json({"runs": [metrics.to_json() for metrics in runs]})
        return runs
    for metrics in runs:
        if markdown:
            show_text(to_markdown(metrics))
        else:
            show_metrics(metrics, as_json)
    return runs
