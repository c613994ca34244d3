"""`mlb bench`: run a task, and find a run again."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..errors import UsageError
from .options import Json
from .request import request_from, takes_request


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
@takes_request()
def run(
    given: dict[str, Any],
    task: Annotated[str | None, typer.Argument(help="Which task; `mlb bench list` shows them.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Go on from a run's last checkpoint.")] = None,
    repeat: Annotated[
        int,
        typer.Option(min=1, help="So many runs with a seed each; the same command goes on where it was ended."),
    ] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="task0a: a few sizes only, in seconds.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Start the run and return at once.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be started, and stop.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run TASK to its goal, on the current fleet or else on this machine, and report where the time went."""
    if task == "task0a":
        from . import bench_raw

        given["goal"] = "quick" if quick else given["goal"]
        raise typer.Exit(bench_raw.bench(request_from(task, given), detach=detach, dry_run=dry_run, as_json=as_json))
    if quick:
        raise UsageError("--quick is task0a's alone.", fix="mlb bench task0a --quick, or a task with --goal smoke")
    from . import bench_run

    if resume is not None:
        from .bench_resume import bench_resumed

        raise typer.Exit(bench_resumed(resume, task=task, detach=detach, dry_run=dry_run, as_json=as_json))
    if task is None:
        raise UsageError("Which task?", fix="`mlb bench list` shows them; or name a run to go on with: --resume RUN")
    request = request_from(task, given)
    if repeat > 1 and not dry_run:
        from .repeat import bench_repeated

        if detach:
            raise UsageError(
                "--repeat and --detach do not go together.", fix="Each run starts when the one before ends."
            )
        raise typer.Exit(bench_repeated(request, repeat, as_json=as_json))
    raise typer.Exit(bench_run.bench(request, detach=detach, dry_run=dry_run, as_json=as_json))


@app.command("list")
def list_tasks(as_json: Json = False) -> None:
    """The tasks and their goals."""
    from . import tasks

    tasks.show_tasks(as_json)


@app.command("patterns")
def list_patterns(as_json: Json = False) -> None:
    """The communication patterns and their options, for --aggregation."""
    from . import patterns

    patterns.show_patterns(as_json)


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
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run is over.")] = False,
) -> None:
    """The output of a run's agents and ranks."""
    from . import bench_verbs

    bench_verbs.logs(run, rank, lines, follow_on=follow)


@app.command()
def collect(run: Run = None, as_json: Json = False) -> None:
    """Bring all files of a run from its nodes here, also while it goes on."""
    from . import bench_verbs

    bench_verbs.collect(run, as_json)
