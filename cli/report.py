"""`mlb report`: a run's report, made again from its files alone."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Json


def report(
    run: Annotated[
        list[str] | None, typer.Argument(help="Runs by id, part of it, or folder; the newest if left out.")
    ] = None,
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--md", help="As Markdown.")] = False,
) -> None:
    """Report on RUN...: goal, time to it, and where the time went."""
    from ..provisioner.runs import find, state_of
    from ..results.metrics import compute
    from ..results.report import to_markdown
    from .console import show_json, show_text
    from .dirs import runs_dir
    from .show import show_metrics

    names: list[str | None] = [*run] if run else [None]
    all_metrics = []
    for name in names:
        folder = find(runs_dir(), name)
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
