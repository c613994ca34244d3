"""`mlb scale`: the same task on more and more nodes, and what becomes of its speed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .bench import Debug
from .options import Json
from .report import Html, Markdown, Png, Svg
from .request import request_from, takes_request


@takes_request(without=("nodes", "gpus"))
def scale(
    task: Annotated[str, typer.Argument(help="Which task; `mlb bench list` shows them.")],
    nodes: Annotated[str, typer.Option(help="Numbers of nodes, such as 1,2,4.")],
    given: dict[str, Any],
    gpus: Annotated[str | None, typer.Option(help="Numbers of GPUs of each node, such as 1,2. [default: all]")] = None,
    mode: Annotated[
        str, typer.Option(help="weak: the batch of a rank stays; strong: the batch of all ranks together stays.")
    ] = "weak",
    global_batch: Annotated[int | None, typer.Option(min=1, help="Of all ranks together; for --mode strong.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="So many runs of each size, each with a seed of its own.")] = 1,
    as_json: Json = False,
    markdown: Markdown = False,
    html: Html = None,
    svg: Svg = None,
    png: Png = None,
    debug: Debug = False,
) -> None:
    """Run TASK on each number of nodes: speed-up, efficiency of hardware and of training, a fit, a prediction.

    The same command again goes on where the last one ended.
    """
    from . import scale_run
    from .report_files import Files

    sizes = scale_run.sizes(nodes, gpus)
    request = request_from(task, given)
    files = Files(html=html, svg=svg, png=png)
    raise typer.Exit(
        scale_run.scale(request, sizes, mode, global_batch, repeat, files=files, as_json=as_json, markdown=markdown)
    )
