"""`mlb bench --resume RUN`: a run that goes on from another one's last checkpoint, as a run of its own."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

from .. import __version__
from ..errors import PreflightError, UsageError
from ..provisioner import runs
from ..provisioner.plan import plan_local
from ..results.run import RunFolder, RunSpec
from ..tasks import catalogue
from . import bench_run
from .bench_spec import new_run_id
from .dirs import runs_dir
from .plan_view import show_plan
from .revision import git_revision


def bench_resumed(name: str, *, task: str | None, detach: bool, dry_run: bool, as_json: bool) -> int:
    """Go on with a run; returns the exit code.

    Raises:
        UsageError: there is no such run, it still goes on, or it is of another task.
        PreflightError: it left no whole checkpoint, or its data is gone.
    """
    asked_ns = time.time_ns()
    folder = runs.find(runs_dir(), name)
    old = folder.read_spec()
    if task is not None and task != old.task:
        raise UsageError(f"{old.run_id} is a run of {old.task}, not of {task}.", fix=f"Leave {task} out.")
    if old.node_names:
        raise UsageError(
            f"{old.run_id} ran on the fleet {old.fleet}: only a run on this machine can be resumed so far.",
            why="Its checkpoints lie on the fleet's nodes.",
            fix=f"Start it anew: mlb bench {old.task} --goal {old.goal}",
        )
    if not runs.state_of(folder).over:
        raise UsageError(f"{old.run_id} still goes on.", fix=f"mlb bench attach {old.run_id}")
    if not Path(old.data_path).is_dir():
        raise PreflightError(
            f"The data of {old.run_id} is gone: {old.data_path}.",
            fix=f"Make it anew: mlb data prepare {old.task} --goal {old.goal}",
        )
    goal = catalogue.task(old.task).goal(old.goal)
    spec = _going_on(old, _last_checkpoint(folder, old), asked_ns)
    if dry_run:
        show_plan(plan_local(spec, RunFolder(runs_dir() / spec.run_id)), as_json)
        return 0
    return bench_run.finish(bench_run.launch_here(spec, goal), detach=detach, as_json=as_json)


def _last_checkpoint(folder: RunFolder, spec: RunSpec) -> Path:
    """The newest checkpoint that every rank has written."""
    if whole := folder.whole_checkpoints(spec.ranks):
        return whole[-1]
    raise PreflightError(
        f"{folder.run_id} left no checkpoint to go on from.",
        why="Checkpoints are taken where they are asked for: --checkpoint STEPS.",
        fix=f"Start the run anew: mlb bench {spec.task} --goal {spec.goal} --checkpoint 500",
    )


def _going_on(old: RunSpec, checkpoint: Path, asked_ns: int) -> RunSpec:
    return replace(
        old,
        run_id=new_run_id(old.task, old.fleet),
        # Its clock does not hold the time before the checkpoint.
        division="open",
        comparable=False,
        resumed_run=old.run_id,
        resume_from=str(checkpoint.resolve()),
        created_unix_ns=asked_ns,
        launched_unix_ns=time.time_ns(),
        beside=tuple(other.run_id for other in runs.going_on(runs_dir())),
        argv=("mlb", *sys.argv[1:]),
        mlb_version=__version__,
        git_revision=git_revision(),
    )
