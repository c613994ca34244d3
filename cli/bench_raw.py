"""`mlb bench task0a`: the raw speed of collectives; no data, no model, a report of its own."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import RunFailed, UsageError
from ..provisioner.launch import launch, prepare_folder
from ..provisioner.nodes import this_machine
from ..provisioner.plan import LaunchPlan, plan_local
from ..provisioner.runs import RunState, going_on
from ..provisioner.shape import Shape
from ..provisioner.transport import LocalTransport
from ..results.raw import points_of, report_of, to_json
from ..results.run import RunFolder, RunSpec, write_json
from ..results.table import markdown_of, text_of
from . import config, fleets
from .bench_spec import Where, new_run_id, shape_of
from .console import note, result_width, show_json, show_text
from .dirs import runs_dir
from .edge import INTERRUPTED
from .fleets import let_go
from .follow import follow, settle
from .plan_view import show_plan
from .raw_backends import libraries_of, measured
from .request import Request, request_options
from .revision import git_revision

if TYPE_CHECKING:
    from ..provisioner.fleet import Fleet

TASK = "task0a"
GOALS = ("full", "quick")
_ITS_OPTIONS = (
    "goal", "ranks", "backend", "fleet", "nodes", "gpus", "queue", "hang_after_s", "skip_health", "wheelhouse",
    "oversubscribe",
)  # fmt: skip
"""Fields of a request that mean something here."""
_MEMORY_BYTES_PER_RANK = {"full": 2 << 30, "quick": 1 << 29}


def bench(request: Request, *, detach: bool, dry_run: bool, as_json: bool) -> int:
    """Measure on the fleet that is meant or on this machine, and report; returns the exit code.

    Raises:
        UsageError: no such goal, an option that this task does not have, or one rank that is not on a GPU.
    """
    _refuse_what_is_not_its(request)
    fleet = fleets.chosen(request.fleet)
    if dry_run:
        show_plan(_planned(fleet, request), as_json)
        return 0
    folder, interrupted = _start_here(request) if fleet is None else _start_on(fleet, request)
    if interrupted:
        return conclude(folder, None, as_json)
    if detach:
        show_json({"run": folder.run_id, "path": str(folder.path)}) if as_json else show_text(folder.run_id)
        return 0
    spec = folder.read_spec()
    over = ", ".join(spec.backends)
    note(f"run {spec.run_id}: {_shape_of(spec)} over {over}, goal {spec.goal}; logs: {folder.path}")
    return conclude(folder, follow(folder), as_json)


def _start_here(request: Request) -> tuple[RunFolder, bool]:
    spec = _spec_here(request)
    folder = RunFolder(runs_dir() / spec.run_id)
    plan = plan_local(spec, folder)
    prepare_folder(folder, spec, plan)
    launch(plan, folder, {0: LocalTransport()})
    return folder, False


def _spec_here(request: Request) -> RunSpec:
    if request.nodes not in (None, 1):
        raise UsageError(
            f"This machine is one node, not {request.nodes}.",
            fix="Apply a fleet first: mlb infra apply --cloud docker --nodes 4",
        )
    machine = this_machine()
    shape = shape_of(machine, request, _memory(request))
    return _spec(request, shape, Where(new_run_id(TASK, fleets.THIS_MACHINE), fleets.THIS_MACHINE))


def _start_on(fleet: Fleet, request: Request) -> tuple[RunFolder, bool]:
    from . import bench_fleet as on
    from . import bench_health as health

    where = on.where_on(fleet, request)
    names, limits = where.node_names, health.limits_of(fleet, request)
    with on.held(fleet, where.run_id, queue=request.queue), fleets.doors_to(fleet, names) as doors:
        ready = on.make_ready(request, names, doors, libraries_of(request))
        found = health.health_of(fleet, ready, doors, limits)
        shape = on.shape_on([node.node for node in ready], fleet, request, _memory(request))
        where = replace(where, caveats=(*where.caveats, *health.caveats_of(found)), network=found.network)
        folder, interrupted = on.launched(_spec(request, shape, where), fleet, ready, doors, None)
        write_json(folder.health, found)
    return folder, interrupted


def _planned(fleet: Fleet | None, request: Request) -> LaunchPlan:
    if fleet is None:
        spec = _spec_here(request)
        return plan_local(spec, RunFolder(runs_dir() / spec.run_id))
    from . import bench_fleet as on
    from .bench_health import limits_of

    where, _ = on.where_on(fleet, request), limits_of(fleet, request)
    nodes = on.known_nodes(fleet, where.node_names, request.ranks)
    return on.plan_of(_spec(request, on.shape_on(nodes, fleet, request, _memory(request)), where), fleet)


def conclude(folder: RunFolder, state: RunState | None, as_json: bool) -> int:
    """Report on a run that was followed to its end, None if it was let go of; gives its exit code.

    Raises:
        RunFailed, Interrupted: the run failed, or was stopped.
    """
    if state is None:
        note(f"detached: the run goes on. mlb bench stop {folder.run_id}; mlb report {folder.run_id}")
        return INTERRUPTED
    let_go(folder)
    if state.state != "succeeded":
        settle(folder, state)
        raise RunFailed(f"The run {folder.run_id} ended as {state.state}.", fix=f"mlb bench logs {folder.run_id}")
    return show(folder, as_json=as_json, markdown=False)


def is_raw(folder: RunFolder) -> bool:
    """Whether a run is one of this task, whose report is another than that of a training."""
    return folder.read_spec().task == TASK


def show(folder: RunFolder, *, as_json: bool, markdown: bool) -> int:
    """Write the plot data into the run folder and print the report; 7 where a result was wrong."""
    points = points_of(folder)
    value = to_json(folder, points)
    write_json(folder.metrics, value)
    if as_json:
        show_json(value)
    elif markdown:
        show_text(markdown_of(report_of(folder, points)))
    else:
        show_text(text_of(report_of(folder, points), result_width()).rstrip())
    return 0 if value["all_correct"] else 7


def _refuse_what_is_not_its(request: Request) -> None:
    plain, flags = Request(TASK), request_options()
    asked = {name for name in flags if getattr(request, name) != getattr(plain, name)}
    if wrong := sorted(asked - set(_ITS_OPTIONS) - set(config.SETTINGS)):
        raise UsageError(
            f"task0a trains nothing: it has no {', '.join('--' + flags[name].flag for name in wrong)}.",
            fix="Its options: " + ", ".join("--" + flags[name].flag for name in _ITS_OPTIONS),
        )


def _goal(request: Request) -> str:
    goal = request.goal or "full"
    if goal not in GOALS:
        raise UsageError(f"task0a has no goal {goal!r}.", fix=f"Goals of task0a: {', '.join(GOALS)}.")
    return goal


def _memory(request: Request) -> int:
    return _MEMORY_BYTES_PER_RANK[_goal(request)]


def _shape_of(spec: RunSpec) -> str:
    return f"{spec.ranks} ranks" + (f", {spec.nodes} nodes x {spec.ranks_per_node}" if spec.nodes > 1 else "")


def _spec(request: Request, shape: Shape, where: Where) -> RunSpec:
    if shape.ranks < 2 and shape.backend != "nccl":
        raise UsageError("One rank has nobody to communicate with.", fix="Give --ranks a number from 2, or more nodes.")
    backends, left_out = measured(request, shape, on_fleet=bool(where.node_names))
    for why in left_out:
        note(why)
    now = time.time_ns()
    return RunSpec(
        run_id=where.run_id,
        task=TASK,
        goal=_goal(request),
        recipe="raw",
        division="open",
        comparable=False,
        metric="bus bandwidth",
        target=0.0,
        target_is_upper_bound=False,
        max_epochs=0,
        max_steps=None,
        seed=0,
        dataset="",
        data_path="",
        data_origin="",
        best_possible=None,
        ranks=shape.ranks,
        backend=shape.backend,
        backends=backends,
        threads_per_rank=shape.threads_per_rank,
        fleet=where.fleet,
        nodes=max(1, len(where.node_names)),
        node_names=where.node_names,
        caveats=where.caveats,
        hang_after_s=request.hang_after_s,
        created_unix_ns=now,
        beside=() if where.node_names else tuple(other.run_id for other in going_on(runs_dir())),
        argv=("mlb", *sys.argv[1:]),
        mlb_version=__version__,
        git_revision=git_revision(),
        launched_unix_ns=now,
    )
