"""`mlb bench task0a`: the raw speed of collectives; no data, no model, a report of its own."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from .. import __version__
from ..errors import RunFailed, UsageError
from ..provisioner.launch import launch, prepare_folder
from ..provisioner.nodes import this_machine
from ..provisioner.plan import plan_local
from ..provisioner.runs import RunState, going_on
from ..provisioner.shape import choose
from ..provisioner.transport import LocalTransport
from ..results.raw import points_of, report_of, to_json
from ..results.run import RunFolder, RunSpec, write_json
from ..results.table import markdown_of, text_of
from .bench_spec import new_run_id
from .console import note, result_width, show_json, show_text
from .dirs import runs_dir
from .edge import INTERRUPTED
from .follow import follow, settle
from .revision import git_revision

TASK = "task0a"
GOALS = ("full", "quick")
_MEMORY_BYTES_PER_RANK = {"full": 2 << 30, "quick": 1 << 29}


@dataclass(frozen=True)
class RawRequest:
    """What the user asked for; None is "choose for me"."""

    goal: str | None
    ranks: int | None
    backend: str | None
    oversubscribe: bool


def bench(request: RawRequest, *, detach: bool, as_json: bool) -> int:
    """Measure, and report; returns the exit code.

    Raises:
        UsageError: no such goal, or fewer than two ranks.
    """
    spec = _spec(request)
    folder = RunFolder(runs_dir() / spec.run_id)
    plan = plan_local(spec, folder)
    prepare_folder(folder, spec, plan)
    launch(plan, folder, {0: LocalTransport()})
    if detach:
        show_json({"run": folder.run_id, "path": str(folder.path)}) if as_json else show_text(folder.run_id)
        return 0
    note(f"run {spec.run_id}: {spec.ranks} ranks over {spec.backend}, goal {spec.goal}; logs: {folder.path}")
    return conclude(folder, follow(folder), as_json)


def conclude(folder: RunFolder, state: RunState | None, as_json: bool) -> int:
    """Report on a run that was followed to its end, None if it was let go of; gives its exit code.

    Raises:
        RunFailed, Interrupted: the run failed, or was stopped.
    """
    if state is None:
        note(f"detached: the run goes on. mlb bench stop {folder.run_id}; mlb report {folder.run_id}")
        return INTERRUPTED
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


def _spec(request: RawRequest) -> RunSpec:
    goal = request.goal or "full"
    if goal not in GOALS:
        raise UsageError(f"task0a has no goal {goal!r}.", fix=f"Goals of task0a: {', '.join(GOALS)}.")
    shape = choose(
        this_machine(),
        ranks=request.ranks,
        backend=request.backend,
        memory_bytes_per_rank=_MEMORY_BYTES_PER_RANK[goal],
        oversubscribe=request.oversubscribe,
    )
    if shape.ranks < 2:
        raise UsageError("One rank has nobody to communicate with.", fix="Give --ranks a number from 2.")
    now = time.time_ns()
    return RunSpec(
        run_id=new_run_id(TASK, "local"),
        task=TASK,
        goal=goal,
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
        threads_per_rank=shape.threads_per_rank,
        fleet="local",
        created_unix_ns=now,
        beside=tuple(other.run_id for other in going_on(runs_dir())),
        argv=("mlb", *sys.argv[1:]),
        mlb_version=__version__,
        git_revision=git_revision(),
        launched_unix_ns=now,
    )
