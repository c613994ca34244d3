"""`mlb scale`: the same task on more and more nodes, and what becomes of its speed."""

from __future__ import annotations

from typing import Annotated

import typer

from . import config
from .bench import Debug
from .options import DataDir, FleetName, Json, Offline, Oversubscribe, Queue, SkipHealth, Wheelhouse


def scale(
    task: Annotated[str, typer.Argument(help="Which task; `mlb bench list` shows them.")],
    nodes: Annotated[str, typer.Option(help="Numbers of nodes, such as 1,2,4.")],
    gpus: Annotated[str | None, typer.Option(help="Numbers of GPUs of each node, such as 1,2. [default: all]")] = None,
    mode: Annotated[
        str, typer.Option(help="weak: the batch of a rank stays; strong: the batch of all ranks together stays.")
    ] = "weak",
    global_batch: Annotated[int | None, typer.Option(min=1, help="Of all ranks together; for --mode strong.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="So many runs of each size, each with a seed of its own.")] = 1,
    goal: Annotated[str | None, typer.Option(help="full, light or smoke.")] = None,
    ranks: Annotated[int | None, typer.Option(help="Processes on each node, where there are no GPUs.")] = None,
    backend: Annotated[str | None, typer.Option(help="gloo or nccl.")] = None,
    aggregation: Annotated[str | None, typer.Option(help="Communication pattern: allreduce or ddp.")] = None,
    data: Annotated[str | None, typer.Option(help="real, or synthetic (needs no download).")] = None,
    data_dir: DataDir = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the first run of each size; others count up.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="End each run after so many training steps.")] = None,
    fleet: FleetName = None,
    queue: Queue = False,
    skip_health: SkipHealth = False,
    wheelhouse: Wheelhouse = None,
    offline: Offline = False,
    oversubscribe: Oversubscribe = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run TASK on each number of nodes, and show time, throughput and efficiency side by side.

    The same command again goes on where the last one ended.
    """
    from . import scale_run
    from .bench_spec import Request

    request = Request(
        task=task,
        goal=config.value("goal", goal),
        recipe=None,
        settings=(),
        ranks=config.value("ranks", ranks),
        backend=config.value("backend", backend),
        aggregation=config.value("aggregation", aggregation),
        data=config.value("data", data),
        data_dir=config.value("data_dir", data_dir),
        seed=config.value("seed", seed),
        max_epochs=None,
        max_steps=steps,
        checkpoint_steps=None,
        offline=offline,
        oversubscribe=oversubscribe,
        fleet=config.value("fleet", fleet),
        queue=queue,
        skip_health=skip_health,
        wheelhouse=wheelhouse,
    )
    sizes = scale_run.sizes(nodes, gpus)
    raise typer.Exit(scale_run.scale(request, sizes, mode, global_batch, repeat, as_json=as_json))
