"""From a request to a finished run: check, prepare the data, plan, launch, follow, report."""

from __future__ import annotations

import secrets
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import UsageError
from ..provisioner.launch import launch, prepare_folder
from ..provisioner.nodes import this_machine
from ..provisioner.plan import LaunchPlan, plan_local
from ..provisioner.runs import going_on
from ..provisioner.shape import Shape, choose
from ..provisioner.transport import LocalTransport
from ..results.run import RunFolder, RunSpec
from ..tasks import catalogue
from ..tasks.catalogue import Goal, TaskInfo
from . import fleets
from .console import note, progress, show_json, show_table, show_text
from .dirs import cache_dir, runs_dir
from .edge import debugging
from .follow import conclude, follow
from .revision import git_revision

if TYPE_CHECKING:
    from ..tasks.catalogue import Prepared


@dataclass(frozen=True)
class Request:
    """What the user asked for; None is "choose for me"."""

    task: str
    goal: str | None
    ranks: int | None
    backend: str | None
    aggregation: str
    data: str
    data_dir: Path | None
    seed: int | None
    max_steps: int | None
    offline: bool
    oversubscribe: bool
    measure_overhead: bool = False
    fleet: str | None = None
    nodes: int | None = None
    gpus: int | None = None
    queue: bool = False
    skip_health: bool = False
    hang_after_s: float = 300.0
    wheelhouse: Path | None = None
    global_batch: int | None = None
    """Of all ranks together; None for the recipe's batch on each rank."""


@dataclass(frozen=True)
class Ask:
    """A request with its task and goal looked up."""

    request: Request
    info: TaskInfo
    goal: Goal
    asked_ns: int

    @classmethod
    def of(cls, request: Request) -> Ask:
        """Raises UsageError: there is no such task or goal."""
        asked_ns = time.time_ns()
        info = catalogue.task(request.task)
        return cls(request, info, info.goal(request.goal or info.default_goal), asked_ns)


@dataclass(frozen=True)
class Where:
    """What a run is called and where it runs."""

    run_id: str
    fleet: str
    node_names: tuple[str, ...] = ()
    """Empty on this machine."""
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Started:
    """A run that was launched."""

    spec: RunSpec
    folder: RunFolder
    goal: Goal
    interrupted: bool = False
    """Whether ctrl-C came while it was launched: it goes on, and is let go of."""


def bench(request: Request, *, detach: bool, dry_run: bool, as_json: bool) -> int:
    """Run a request; returns the exit code."""
    if dry_run:
        _show_plan(planned(request), as_json)
        return 0
    started = start(request)
    if started.interrupted:
        return conclude(started.folder, None, as_json)
    if detach:
        _say_detached(started.folder, as_json)
        return 0
    announce(started)
    return conclude(started.folder, follow(started.folder), as_json)


def start(request: Request) -> Started:
    """Launch a run, on the fleet that is meant or on this machine.

    Raises:
        MlbError: it cannot be launched; nothing goes on.
    """
    fleet = fleets.chosen(request.fleet)
    if fleet is None:
        return _start_here(request)
    from .bench_fleet import start_on

    return start_on(fleet, request)


def planned(request: Request) -> LaunchPlan:
    """The plan of a request, as far as it is known without asking a node."""
    fleet = fleets.chosen(request.fleet)
    if fleet is None:
        spec, _ = _ask_here(request)
        return plan_local(spec, RunFolder(runs_dir() / spec.run_id))
    from .bench_fleet import planned_on

    return planned_on(fleet, request)


def _start_here(request: Request) -> Started:
    spec, ask = _ask_here(request)
    folder = RunFolder(runs_dir() / spec.run_id)
    plan = plan_local(spec, folder)
    prepare_folder(folder, spec, plan)
    launch(plan, folder, {0: LocalTransport()})
    debug_stage("launched", ask.asked_ns)
    return Started(spec, folder, ask.goal)


def _ask_here(request: Request) -> tuple[RunSpec, Ask]:
    ask = Ask.of(request)
    if request.nodes not in (None, 1):
        raise UsageError(
            f"This machine is one node, not {request.nodes}.",
            fix="Apply a fleet first: mlb infra apply --cloud docker --nodes 4",
        )
    shape = choose(
        this_machine(),
        ranks=request.ranks if request.gpus is None else request.gpus,
        backend="nccl" if request.gpus else request.backend,
        memory_bytes_per_rank=ask.goal.memory_bytes_per_rank,
        oversubscribe=request.oversubscribe,
    )
    prepared = prepare(ask)
    debug_stage("data ready", ask.asked_ns)
    return make_spec(
        ask, shape, prepared, Where(new_run_id(ask.info.name, fleets.THIS_MACHINE), fleets.THIS_MACHINE)
    ), ask


def show_tasks(as_json: bool) -> None:
    """Print the catalogue."""
    if as_json:
        show_json({"tasks": [catalogue.to_json(info) for info in catalogue.TASKS.values()]})
        return
    rows = [
        (info.name if first else "", info.title if first else "", goal.name, _target(goal), goal.about)
        for info in catalogue.TASKS.values()
        for first, goal in ((i == 0, g) for i, g in enumerate(info.goals.values()))
    ]
    show_table("", ("task", "what", "goal", "target", "about"), rows)


def prepare(ask: Ask) -> Prepared:
    request, info, goal = ask.request, ask.info, ask.goal
    with progress(f"data of {info.name}") as report:
        return catalogue.prepare_data(
            info,
            goal,
            data=request.data,
            data_dir=request.data_dir,
            cache_dir=cache_dir(),
            offline=request.offline,
            progress=report,
        )


def make_spec(ask: Ask, shape: Shape, prepared: Prepared, where: Where) -> RunSpec:
    request, info, goal = ask.request, ask.info, ask.goal
    # A run cut short, or on generated text, says nothing about how long the task takes.
    whole = prepared.name == info.datasets[0] and request.max_steps is None
    comparable = goal.comparable and whole and request.global_batch is None
    return RunSpec(
        run_id=where.run_id,
        task=info.name,
        goal=goal.name,
        recipe=goal.recipe,
        division="closed" if comparable else "open",
        comparable=comparable,
        metric=goal.metric,
        target=goal.targets[prepared.name],
        target_is_upper_bound=goal.upper_bound,
        max_epochs=goal.max_epochs,
        max_steps=request.max_steps,
        seed=info.default_seed if request.seed is None else request.seed,
        dataset=prepared.name,
        data_path=str(prepared.path),
        data_origin=prepared.origin,
        best_possible=prepared.best_perplexity,
        ranks=shape.ranks,
        backend=shape.backend,
        threads_per_rank=shape.threads_per_rank,
        fleet=where.fleet,
        nodes=max(1, len(where.node_names)),
        node_names=where.node_names,
        hang_after_s=request.hang_after_s,
        caveats=where.caveats,
        created_unix_ns=ask.asked_ns,
        batch_per_rank=_batch_per_rank(request, shape),
        beside=() if where.node_names else tuple(other.run_id for other in going_on(runs_dir())),
        argv=("mlb", *sys.argv[1:]),
        mlb_version=__version__,
        git_revision=git_revision(),
        launched_unix_ns=time.time_ns(),
        aggregation=request.aggregation,
        measure_overhead=request.measure_overhead,
    )


def new_run_id(task: str, fleet: str) -> str:
    """Sorts by time, says what and where, and is unique without asking anybody."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{stamp}_{task}_{fleet}_{secrets.token_hex(3)}"


def _batch_per_rank(request: Request, shape: Shape) -> int | None:
    """A rank's share of the batch that all ranks together are to keep; None for the recipe's own batch."""
    if request.global_batch is None:
        return None
    if request.global_batch % shape.ranks:
        near = shape.ranks * max(1, request.global_batch // shape.ranks)
        raise UsageError(
            f"A global batch of {request.global_batch} does not divide over {shape.ranks} ranks.",
            fix=f"Take a multiple of {shape.ranks}, such as {near}.",
        )
    return request.global_batch // shape.ranks


def announce(started: Started) -> None:
    """Say on stderr what was launched, and what a reader has to know of it."""
    spec, folder, goal = started.spec, started.folder, started.goal
    nodes = f" on {spec.nodes} nodes of {spec.fleet}" if spec.node_names else ""
    note(
        f"run {spec.run_id}: {spec.ranks} ranks{nodes} over {spec.backend} ({spec.aggregation}), "
        f"{spec.dataset} from {spec.data_origin}"
    )
    for other in spec.beside:
        note(f"warning: {other} is going on on this machine: both will be slower than they are")
    if spec.backend == "gloo" and spec.recipe == "reference":
        note(f"{goal.name}: {goal.about}; --goal smoke is for a first look")
    if not goal.comparable:
        note("smoke: not comparable with any other result")
    note(f"logs: {folder.path}")
    note("ctrl-C lets the run go on; find it again with: mlb bench attach")


def _say_detached(folder: RunFolder, as_json: bool) -> None:
    if as_json:
        show_json({"run": folder.run_id, "path": str(folder.path), "state": "starting"})
    else:
        show_text(folder.run_id)


def _show_plan(plan: LaunchPlan, as_json: bool) -> None:
    if as_json:
        show_json({"plan": asdict(plan)})
        return
    for node in plan.nodes:
        show_text(f"# node {node.node} ({node.name})")
        show_text(" ".join([*(f"{k}={shlex.quote(v)}" for k, v in node.env.items()), shlex.join(node.argv)]))


def _target(goal: Goal) -> str:
    if not goal.targets:
        return "not yet"
    value = next(iter(goal.targets.values()))
    return f"{goal.metric} {'<=' if goal.upper_bound else '>='} {value:g}"


def debug_stage(name: str, since_ns: int) -> None:
    if debugging():
        note(f"[{(time.time_ns() - since_ns) / 1e9:6.3f} s] {name}")
