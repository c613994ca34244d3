"""`mlb report`: a run's report, made again from its files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from .options import Json


def report(
    run: Annotated[
        list[str] | None, typer.Argument(help="Runs by id, part of it, or folder; the newest if left out.")
    ] = None,
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--md", help="As Markdown.")] = False,
    trace: Annotated[Path | None, typer.Option(help="Write a Chrome trace, for ui.perfetto.dev.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write a Parquet table, a row a step and rank.")] = None,
    mllog: Annotated[Path | None, typer.Option(help="Write MLPerf's log lines; not an MLPerf result.")] = None,
) -> None:
    """Report on RUN...: goal, time to it, and where the time went."""
    from ..provisioner.runs import find, state_of
    from ..results.metrics import compute
    from ..results.report import to_markdown
    from .bench_raw import is_raw
    from .bench_raw import show as show_raw
    from .console import show_json, show_text
    from .dirs import runs_dir
    from .show import show_metrics

    names: list[str | None] = [*run] if run else [None]
    files = {kind: path for kind, path in (("trace", trace), ("parquet", parquet), ("mllog", mllog)) if path}
    if files:
        _export(names, files)
        return
    all_metrics = []
    for name in names:
        folder = find(runs_dir(), name)
        if is_raw(folder):
            show_raw(folder, as_json=as_json, markdown=markdown)
            continue
        over = state_of(folder).over
        all_metrics.append(compute(folder))
        if over:
            all_metrics[-1].refuse_if_nothing_is_known()
    if as_json and len(all_metrics) > 1:
        show_json({"runs": [metrics.to_json() for metrics in all_metrics]})
        return
    for metrics in all_metrics:
        if markdown:
            show_text(to_markdown(metrics))
        else:
            show_metrics(metrics, as_json)


def _export(names: Sequence[str | None], files: Mapping[str, Path]) -> None:
    """Write one run to files.

    Raises:
        UsageError: more than one run, or a file that cannot be written.
    """
    from ..errors import UsageError
    from ..provisioner.runs import find
    from ..results.export import export
    from .console import note
    from .dirs import runs_dir

    if len(names) > 1:
        raise UsageError("A file can hold one run only.", fix="Name one run beside --" + ", --".join(files) + ".")
    folder = find(runs_dir(), names[0])
    for kind, path in files.items():
        written = export(folder, kind, path)
        note(f"{path}: {written:,} {_UNITS[kind]} of {folder.run_id}")
    if "mllog" in files:
        note("not an MLPerf result, whatever a checker says of it (docs/exports.md)")


_UNITS = {"trace": "events", "parquet": "rows", "mllog": "lines"}
