"""`mlb bench`: run a task, and find a run again."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import config
from .options import DataDir, Json, Offline


class _TaskOrVerb(TyperGroup):
    """`mlb bench TASK` beside `mlb bench list`: what is no verb is a task, and goes to the hidden command `run`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_TaskOrVerb,
    help="Run a task: mlb bench TASK [OPTIONS]. The options: mlb bench TASK --help.",
    no_args_is_help=True,
    rich_markup_mode=None,
    subcommand_metavar="TASK|COMMAND [ARGS]...",
)

Run = Annotated[str | None, typer.Argument(help="A run's id, a part of it, or its folder; the newest if left out.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and the time of each stage.")]


@app.command("run", hidden=True)
def run(
    task: Annotated[str, typer.Argument(help="Which task; `mlb bench list` shows them.")],
    goal: Annotated[str | None, typer.Option(help="full, light or smoke.")] = None,
    ranks: Annotated[int | None, typer.Option(help="Processes; a GPU each where there are GPUs.")] = None,
    backend: Annotated[str | None, typer.Option(help="gloo or nccl.")] = None,
    aggregation: Annotated[str | None, typer.Option(help="Communication pattern: allreduce or ddp.")] = None,
    data: Annotated[str | None, typer.Option(help="real, or synthetic (needs no download).")] = None,
    data_dir: DataDir = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, dropout and data order.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="End after so many training steps, goal or not.")] = None,
    offline: Offline = False,
    oversubscribe: Annotated[bool, typer.Option("--oversubscribe", help="Allow more CPU ranks than cores.")] = False,
    measure_overhead: Annotated[
        bool,
        typer.Option("--measure-overhead", help="Leave half of the steps unmeasured, to say what measuring costs."),
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Start the run and return at once.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be started, and stop.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run TASK to its goal on this machine, and report where the time went."""
    from . import bench_run

    request = bench_run.Request(
        task=task,
        goal=config.value("goal", goal),
        ranks=config.value("ranks", ranks),
        backend=config.value("backend", backend),
        aggregation=config.value("aggregation", aggregation),
        data=config.value("data", data),
        data_dir=config.value("data_dir", data_dir),
        seed=config.value("seed", seed),
        max_steps=steps,
        offline=offline,
        oversubscribe=oversubscribe,
        measure_overhead=measure_overhead,
    )
    raise typer.Exit(bench_run.bench(request, detach=detach, dry_run=dry_run, as_json=as_json))


@app.command("list")
def list_tasks(as_json: Json = False) -> None:
    """The tasks and their goals."""
    from . import bench_run

    bench_run.show_tasks(as_json)


@app.command()
def attach(run: Run = None, as_json: Json = False, debug: Debug = False) -> None:
    """Follow a run to its end, from its first event on; ctrl-C lets go of it again."""
    from . import bench_verbs

    raise typer.Exit(bench_verbs.attach(run, as_json))


@app.command()
def status(run: Run = None, as_json: Json = False) -> None:
    """How a run stands."""
    from . import bench_verbs

    bench_verbs.status(run, as_json)


@app.command()
def stop(run: Run = None, as_json: Json = False) -> None:
    """Stop a run; its logs stay."""
    from . import bench_verbs

    bench_verbs.stop(run, as_json)


@app.command()
def logs(
    run: Run = None,
    rank: Annotated[int | None, typer.Option(min=0, help="Only this rank's output.")] = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="The last so many lines of each file.")] = 50,
) -> None:
    """The output of a run's agent and ranks."""
    from . import bench_verbs

    bench_verbs.logs(run, rank, lines)
