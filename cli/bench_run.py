"""From a request to a finished run: check, prepare the data, plan, launch, follow, report."""

from __future__ import annotations

import secrets
import shlex
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..provisioner.launch import launch, prepare_folder
from ..provisioner.nodes import this_machine
from ..provisioner.plan import LaunchPlan, plan_local
from ..provisioner.runs import going_on
from ..provisioner.shape import Shape, choose
from ..provisioner.transport import LocalTransport
from ..results.run import RunFolder, RunSpec
from ..tasks import catalogue
from ..tasks.catalogue import Goal, TaskInfo
from .console import note, progress, show_json, show_table, show_text
from .dirs import cache_dir, runs_dir
from .edge import debugging

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
    measure_overhead: bool


def bench(request: Request, *, detach: bool, dry_run: bool, as_json: bool) -> int:
    """Run a request; returns the exit code."""
    asked_ns = time.time_ns()
    info = catalogue.task(request.task)
    goal = info.goal(request.goal or info.default_goal)
    shape = choose(
        this_machine(),
        ranks=request.ranks,
        backend=request.backend,
        memory_bytes_per_rank=goal.memory_bytes_per_rank,
        oversubscribe=request.oversubscribe,
    )
    prepared = _prepare(request, info, goal)
    _debug_stage("data ready", asked_ns)
    spec = _spec(request, info, goal, shape, prepared, asked_ns)
    folder = RunFolder(runs_dir() / spec.run_id)
    plan = plan_local(spec, folder)
    if dry_run:
        _show_plan(plan, as_json)
        return 0
    prepare_folder(folder, spec, plan)
    launch(plan, folder, {0: LocalTransport()})
    _debug_stage("launched", asked_ns)
    if detach:
        _say_detached(folder, as_json)
        return 0
    _announce(spec, folder, goal)
    # Not before the launch: what reads logs is slower to load than all that starts a run.
    from .follow import conclude, follow

    return conclude(folder, follow(folder), as_json)


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


def _prepare(request: Request, info: TaskInfo, goal: Goal) -> Prepared:
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


def _spec(request: Request, info: TaskInfo, goal: Goal, shape: Shape, prepared: Prepared, asked_ns: int) -> RunSpec:
    # A run cut short, or on generated text, says nothing about how long the task takes.
    comparable = goal.comparable and prepared.name == info.datasets[0] and request.max_steps is None
    return RunSpec(
        run_id=_run_id(info.name, "local"),
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
        fleet="local",
        created_unix_ns=asked_ns,
        beside=tuple(other.run_id for other in going_on(runs_dir())),
        argv=("mlb", *sys.argv[1:]),
        mlb_version=__version__,
        git_revision=_git_revision(),
        launched_unix_ns=time.time_ns(),
        aggregation=request.aggregation,
        measure_overhead=request.measure_overhead,
    )


def _run_id(task: str, fleet: str) -> str:
    """Sorts by time, says what and where, and is unique without asking anybody."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{stamp}_{task}_{fleet}_{secrets.token_hex(3)}"


def _git_revision() -> str:
    """The commit of the tree mlb runs from; empty where it is no checkout."""
    here = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        run = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
        return run.stdout.strip()

    try:
        # A checkout of something else that mlb happens to be installed under says nothing about mlb.
        if Path(git("rev-parse", "--show-toplevel")) != here:
            return ""
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _announce(spec: RunSpec, folder: RunFolder, goal: Goal) -> None:
    note(
        f"run {spec.run_id}: {spec.ranks} ranks over {spec.backend} ({spec.aggregation}), "
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


def _debug_stage(name: str, since_ns: int) -> None:
    if debugging():
        note(f"[{(time.time_ns() - since_ns) / 1e9:6.3f} s] {name}")
