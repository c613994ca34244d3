"""What the verbs do with the nodes of a run on a fleet: stop it there, bring its files here."""

from __future__ import annotations

import math
import signal
import time

from ..provisioner.fan_out import fan_out
from ..provisioner.launch import request_stop
from ..provisioner.runs import RunState, last_known
from ..provisioner.watch import Watch
from ..results.run import RunFolder
from .fleets import fleet_watch

_STOP_S = 45.0
"""Ranks have 10 s to leave, and an agent that finds itself alone ends them within 30 s."""
_KILL_S = 15.0
_TICK_S = 0.1


def stop_on_fleet(folder: RunFolder) -> tuple[bool, RunState]:
    """Stop a run on a fleet; whether it was over before, and how it stands.

    Raises:
        UsageError, NodeNotReady, ResultsInvalid: its fleet is not there any more.
    """
    known = last_known(folder)
    if known.over:
        return True, known
    with fleet_watch(folder) as watch:
        watch.look_once()
        before = watch.state()
        if before.over:
            return True, before
        folder.stop_request.touch()
        request_stop(watch.plan, watch.doors)
        state = _until_over(watch, _STOP_S)
        if not state.over:
            agents = {node.node: node for node in state.nodes if not node.final}
            fan_out(agents, lambda n: watch.doors[n.node].signal(n.agent_pid, n.agent_start_ticks, signal.SIGKILL))
            state = _until_over(watch, _KILL_S)
    return False, state


def bring(folder: RunFolder, patience_s: float = math.inf) -> dict[str, str]:
    """Bring what the nodes have here; node -> how much of it there is, after `patience_s` at the latest.

    Raises:
        UsageError, NodeNotReady, ResultsInvalid: its fleet is not there any more.
        DiskFull: there is no room for it.
    """
    with fleet_watch(folder) as watch:
        watch.look_once()
        end = time.monotonic() + patience_s
        while not watch.settled and time.monotonic() < end:
            watch.state()  # raises what keeps it from going on
            time.sleep(_TICK_S)
        return watch.holdings()


def _until_over(watch: Watch, patience_s: float) -> RunState:
    end = time.monotonic() + patience_s
    state = watch.state()
    while not state.over and time.monotonic() < end:
        time.sleep(_TICK_S)
        state = watch.state()
    return state
