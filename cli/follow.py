"""Follows a run's logs to its end and concludes: the report, and the exit code that goes with it."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import Interrupted, RunFailed
from ..provisioner.runs import RunState, state_of
from ..results.log import LogTail
from ..results.metrics import Metrics, compute
from ..results.report import last_words
from ..results.run import RunFolder, write_json
from ..results.verdict import GOAL_REACHED
from .console import live_lines, note, stderr_is_live
from .edge import INTERRUPTED, debugging
from .live import LiveView
from .show import show_metrics

_LOOK_EVERY_S = 0.2


def follow(folder: RunFolder) -> RunState | None:
    """Show a run's progress until it is over; None if the user let go of it (ctrl-C)."""
    view = LiveView(folder.read_spec(), show_stages=debugging())
    try:
        if not stderr_is_live():
            return _watch(folder, view, lambda: _print_all(view.new_lines()))
        with live_lines() as display:

            def draw() -> None:
                _print_all(view.new_lines())
                display.update(view.render())

            return _watch(folder, view, draw)
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
    metrics = compute(folder)
    write_json(folder.metrics, metrics.to_json())
    if state.state in ("failed", "lost"):
        raise failure_of(folder, state)
    if state.state == "stopped":
        raise Interrupted(
            f"The run {folder.run_id} was stopped before its end.", fix=f"What it logged: mlb report {folder.run_id}"
        )
    show_metrics(metrics, as_json)
    return _exit_code(metrics)


def _watch(folder: RunFolder, view: LiveView, draw: Callable[[], None]) -> RunState:
    tails: dict[int, LogTail] = {}
    while True:
        # State first: events written before a final state are then surely read after it.
        state = state_of(folder)
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


def _exit_code(metrics: Metrics) -> int:
    """0: goal reached, or the steps that were asked for are done; 8: neither."""
    asked_for_steps = metrics.spec.max_steps is not None
    return 0 if metrics.status == GOAL_REACHED or asked_for_steps else 8


def failure_of(folder: RunFolder, state: RunState) -> RunFailed:
    """Why a run failed: the rank that died first, and what it said last."""
    cause = next((node.cause for node in state.nodes if node.cause), None)
    fix = f"All output: mlb bench logs {folder.run_id}. What was measured: mlb report {folder.run_id}"
    if cause is None:
        text = "\n".join(node.message for node in state.nodes if node.message)
        return RunFailed(
            "The run's processes are gone without a result." if state.state == "lost" else "The run failed.",
            why=text or last_words(folder.node_log(0)),
            fix=fix,
        )
    return RunFailed(f"Rank {cause.rank} failed first: {cause.message}", why="\n".join(cause.last_lines), fix=fix)
