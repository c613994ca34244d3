"""`mlb compare`: runs side by side, those that exist or those that it makes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import UsageError
from .bench import Debug
from .options import Json
from .report import Html, Markdown, Mixed
from .request import request_from, takes_request, typed


@takes_request()
def compare(
    what: Annotated[
        list[str],
        typer.Argument(metavar="RUN...|TASK", help="Runs by id, part of it, or folder; with --vary: which task."),
    ],
    given: dict[str, Any],
    vary: Annotated[
        list[str] | None,
        typer.Option("--vary", metavar="KEY=VALUE,...", help="Make runs of TASK with each value; once a KEY."),
    ] = None,
    repeat: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --vary: so many runs of each, with a seed each; the least that can tell a winner if left out.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --vary: print what would be run, and stop.")] = False,
    mixed: Mixed = False,
    by: Annotated[
        str, typer.Option(metavar="WORD,...", help="Group RUN... by these words of the configuration: ranks,backend.")
    ] = "",
    as_json: Json = False,
    markdown: Markdown = False,
    html: Html = None,
    debug: Debug = False,
) -> None:
    """Compare RUN... that exist, or with --vary make the runs of TASK: every combination, interleaved, repeated.

    The same command with --vary goes on where the last one ended. Every option of mlb bench can be given or varied.
    """
    from . import compare_run

    if not vary:
        if options := [*typed(given), *(["--dry-run"] if dry_run else [])]:
            raise UsageError(
                f"{', '.join(options)} is for runs that are to be made.",
                fix="Runs that exist: mlb compare RUN... To make runs: mlb compare TASK --vary KEY=VALUE,VALUE",
            )
        words = [word.strip() for word in by.split(",") if word.strip()]
        comparison = compare_run.of_runs(what, mixed=mixed, by=words)
        compare_run.show(comparison, as_json=as_json, markdown=markdown, html=html)
        return
    if len(what) != 1 or by or mixed:
        raise UsageError(
            "With --vary mlb compare takes one TASK, and neither --by nor --mixed.",
            fix="For example: mlb compare task2a --goal smoke --vary aggregation=allreduce,ddp",
        )
    from .vary import axes_of

    request = request_from(what[0], given)
    raise typer.Exit(
        compare_run.vary(
            request, axes_of(vary, given), repeat, dry_run=dry_run, as_json=as_json, markdown=markdown, html=html
        )
    )
