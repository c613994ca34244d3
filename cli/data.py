"""`mlb data`: is a task's data here, and make it ready."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import config
from .options import DataDir, Json, Offline

app = typer.Typer(help="A task's data: is it here, make it ready.", no_args_is_help=True, rich_markup_mode=None)

Goal = Annotated[str | None, typer.Option(help="Goal to prepare for: data set and vocabulary depend on it.")]
Task = Annotated[str, typer.Argument(help="Which task; `mlb bench list` shows them.")]


@app.command()
def status(task: Task, goal: Goal = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Where a task's data would be taken from, and whether it is sound."""
    from ..tasks import catalogue
    from .console import plain, show_json, show_table, show_text
    from .dirs import cache_dir

    info = catalogue.task(task)
    folder = config.value("data_dir", data_dir)
    chosen = info.goal(config.value("goal", goal) or info.default_goal)
    found = catalogue.data_status(chosen, data_dir=folder, cache_dir=cache_dir())
    if as_json:
        show_json({"task": info.name, **plain(found)})
        return
    rows = [(raw.name, raw.problem or raw.state, str(raw.path or ""), _bytes(raw.expected_bytes)) for raw in found.raw]
    rows += [(p.path.name, "prepared" if p.prepared else "damaged", str(p.path), "") for p in found.prepared]
    show_table(f"{found.name}: {found.title} ({found.licence})", ("file", "state", "where", "bytes"), rows)
    for source in found.sources:
        show_text(f"source: {source}")


@app.command()
def prepare(
    task: Task,
    goal: Goal = None,
    data: Annotated[str | None, typer.Option(help="real, or the name of a data set that stands in for it.")] = None,
    data_dir: DataDir = None,
    source: Annotated[Path | None, typer.Option("--from", help="Folder with the raw files; no download then.")] = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Find, download where needed, verify and prepare a task's data."""
    from ..tasks import catalogue
    from .console import plain, progress, show_json, show_text
    from .dirs import cache_dir

    info = catalogue.task(task)
    with progress(f"data of {info.name}") as report:
        prepared = catalogue.prepare_data(
            info.goal(config.value("goal", goal) or info.default_goal),
            data=config.value("data", data),
            data_dir=source or config.value("data_dir", data_dir),
            cache_dir=cache_dir(),
            offline=offline or source is not None,
            progress=report,
        )
    if as_json:
        show_json({"task": info.name, **plain(prepared)})
        return
    counts = ", ".join(f"{split} {count:,}" for split, count in prepared.counts.items())
    words = f"; {prepared.vocabulary_size:,} words" if prepared.vocabulary_size else ""
    show_text(f"{prepared.name} from {prepared.origin}: {prepared.unit}: {counts}{words}\n{prepared.path}")
    for reason, count in prepared.skipped.items():
        show_text(f"left out: {count:,} {reason}")
    for what, count in prepared.changed.items():
        show_text(f"changed: {count:,} images {what}")


def _bytes(count: int | None) -> str:
    return "not published" if count is None else f"{count:,}"
