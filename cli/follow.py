"""Follows a run's logs to its end and concludes: the report, and the exit code that goes with it."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import Interrupted, RunFailed
from ..provisioner.runs import RunState, Watcher
from ..results.log import LogTail
from ..results.metrics import Metrics, compute
from ..results.report import last_words
from ..results.run import RunFolder, RunSpec, write_json
from ..results.verdict import GOAL_REACHED, FailureCause
from .console import live_lines, note, stderr_is_live
from .edge import INTERRUPTED, debugging
from .fleets import let_go, watcher
from .live import LiveView
from .show import show_metrics

_LOOK_EVERY_S = 0.2


def follow(folder: RunFolder) -> RunState | None:
    """Show a run's progress until it is over; None if the user let go of it (ctrl-C)."""
    view = LiveView(folder.read_spec(), show_stages=debugging())
    try:
        with watcher(folder) as watch:
            if not stderr_is_live():
                return _watch(folder, watch, view, lambda: _print_all(view.new_lines()))
            with live_lines() as display:

                def draw() -> None:
                    _print_all(view.new_lines())
                    display.update(view.render())

                return _watch(folder, watch, view, draw)
    except KeyboardInterrupt:
        return None


def conclude(folder: RunFolder, state: RunState | None, as_json: bool) -> int:
    """Write metrics.json, print the report, and give the run's exit code.

    Raises:
        RunFailed, Interrupted: the run failed, or was stopped.
    """
    if state is None:
        note(f"detached: the run goes on. mlb bench attach {folder.run_id} | mlb bench stop {folder.run_id}")
        return INTERRUPTED
    metrics = settle(folder, state)
    show_metrics(metrics, as_json)
    return exit_code(metrics)


def settle(folder: RunFolder, state: RunState) -> Metrics:
    """The run is over: free its fleet, write metrics.json.

    Raises:
        RunFailed, Interrupted: the run failed, or was stopped or interrupted.
    """
    let_go(folder)
    metrics = compute(folder, state=state.state)
    write_json(folder.metrics, metrics.to_json())
    if state.state in ("failed", "lost", "hang"):
        raise _failure(folder, state, metrics)
    if state.state == "interrupted":
        cause = _subject(metrics.spec, metrics.failure) if metrics.failure else ""
        raise Interrupted(
            f"The run {folder.run_id} was interrupted: {cause}".rstrip(": ") + ".",
            why="It says nothing about the fleet's speed, and is left out of averages.",
            fix=f"What it logged: mlb report {folder.run_id}. To run again: mlb infra status, then the same command.",
        )
    if state.state == "stopped":
        raise Interrupted(
            f"The run {folder.run_id} was stopped before its end.", fix=f"What it logged: mlb report {folder.run_id}"
        )
    return metrics


def _watch(folder: RunFolder, watch: Watcher, view: LiveView, draw: Callable[[], None]) -> RunState:
    tails: dict[int, LogTail] = {}
    trouble: tuple[str, ...] = ()
    while True:
        # State first: events written before a final state are then surely read after it.
        state = watch.state()
        if state.trouble != trouble:
            trouble = state.trouble
            _print_all(list(trouble or ("all nodes answer again",)))
        for rank in range(view.spec.ranks):
            tail = tails.setdefault(rank, LogTail(folder.rank_events(rank)))
            for event in tail.poll():
                view.add(rank, event)
        draw()
        if state.over:
            return state
        time.sleep(_LOOK_EVERY_S)


def _print_all(lines: list[str]) -> None:
    for line in lines:
        note(line)


def exit_code(metrics: Metrics) -> int:
    """0: goal reached, or the steps that were asked for are done; 8: neither."""
    asked_for_steps = metrics.spec.max_steps is not None
    return 0 if metrics.status == GOAL_REACHED or asked_for_steps else 8


def _failure(folder: RunFolder, state: RunState, metrics: Metrics) -> RunFailed:
    cause = metrics.failure
    fix = f"All output: mlb bench logs {folder.run_id}. What was measured: mlb report {folder.run_id}"
    if state.state == "lost" or cause is None:
        text = "\n".join(node.message for node in state.nodes if node.message)
        return RunFailed(
            "The run's processes are gone without a result." if state.state == "lost" else "The run failed.",
            why=text or last_words(folder.node_log(0)),
            fix=fix,
        )
    why = "\n".join(cause.last_lines)
    if not why and cause.rank is not None:
        why = last_words(folder.rank_log(cause.rank))
    return RunFailed(_what(metrics.spec, state, cause), why=why, fix=fix)


def _what(spec: RunSpec, state: RunState, cause: FailureCause) -> str:
    if state.state == "hang":
        return f"HANG: {_subject(spec, cause)}"
    if cause.rank is None:
        return f"The run failed: {_subject(spec, cause)}"
    on = f" on {spec.name_of(cause.node)}" if spec.nodes > 1 and cause.node is not None else ""
    return f"Rank {cause.rank}{on} failed first: {cause.message}"


def _subject(spec: RunSpec, cause: FailureCause) -> str:
    """The cause with its node in front, unless its message names it."""
    if spec.nodes == 1 or cause.node is None or cause.message.startswith("node "):
        return cause.message
    return f"{spec.name_of(cause.node)}: {cause.message}"
