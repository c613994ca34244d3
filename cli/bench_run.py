"""From a request to a finished run: check, prepare the data, plan, launch, follow, report."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..errors import UsageError
from ..provisioner.launch import launch, prepare_folder
from ..provisioner.nodes import this_machine
from ..provisioner.plan import LaunchPlan, plan_local
from ..provisioner.transport import LocalTransport
from ..results.run import RunFolder, RunSpec
from ..tasks.catalogue import Goal
from . import fleets
from .bench_spec import Ask, Where, make_spec, new_run_id, prepare, shape_of
from .console import note, show_json, show_text
from .dirs import runs_dir
from .edge import debugging
from .plan_view import show_plan
from .request import Request


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
        show_plan(planned(request), as_json)
        return 0
    return finish(start(request), detach=detach, as_json=as_json)


def finish(started: Started, *, detach: bool, as_json: bool) -> int:
    """Let go of a run that was launched, or follow it to its end; returns the exit code."""
    # Not before the launch: what reads logs is slower to load than all that starts a run.
    from .follow import conclude, follow

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
    fleet, spec = fleets.chosen(request.fleet), spec_of(request)
    if fleet is None:
        return plan_local(spec, RunFolder(runs_dir() / spec.run_id))
    from .bench_fleet import plan_of

    return plan_of(spec, fleet)


def spec_of(request: Request) -> RunSpec:
    """What would be run, as far as it is known without asking a node.

    Raises:
        UsageError, PreflightError: it cannot be.
    """
    fleet = fleets.chosen(request.fleet)
    if fleet is None:
        return _ask_here(request)[0]
    from .bench_fleet import spec_on

    return spec_on(fleet, request)


def _start_here(request: Request) -> Started:
    spec, ask = _ask_here(request)
    return launch_here(spec, ask.goal)


def launch_here(spec: RunSpec, goal: Goal) -> Started:
    """Launch what a spec says on this machine."""
    folder = RunFolder(runs_dir() / spec.run_id)
    plan = plan_local(spec, folder)
    prepare_folder(folder, spec, plan)
    launch(plan, folder, {0: LocalTransport()})
    debug_stage("launched", spec.created_unix_ns)
    return Started(spec, folder, goal)


def _ask_here(request: Request) -> tuple[RunSpec, Ask]:
    ask = Ask.of(request)
    if request.nodes not in (None, 1):
        raise UsageError(
            f"This machine is one node, not {request.nodes}.",
            fix="Apply a fleet first: mlb infra apply --cloud docker --nodes 4",
        )
    shape = shape_of(this_machine(), request, ask.goal.memory_bytes_per_rank)
    prepared = prepare(ask, shape)
    debug_stage("data ready", ask.asked_ns)
    return make_spec(
        ask,
        shape,
        prepared,
        Where(request.run_id or new_run_id(ask.info.name, fleets.THIS_MACHINE), fleets.THIS_MACHINE),
    ), ask


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
    if spec.backend != "nccl" and spec.recipe == "reference":
        note(f"{goal.name}: {goal.about}; --goal smoke is for a first look")
    if not goal.comparable:
        note("smoke: not comparable with any other result")
    if spec.changes:
        note(f"open: {', '.join(f'{key}={value}' for key, value in spec.changes.items())}")
    note(f"logs: {folder.path}")
    note("ctrl-C lets the run go on; find it again with: mlb bench attach")


def _say_detached(folder: RunFolder, as_json: bool) -> None:
    if as_json:
        show_json({"run": folder.run_id, "path": str(folder.path), "state": "starting"})
    else:
        show_text(folder.run_id)


def debug_stage(name: str, since_ns: int) -> None:
    if debugging():
        note(f"[{(time.time_ns() - since_ns) / 1e9:6.3f} s] {name}")
