"""The runs on this machine: find one by name, tell how it stands, stop it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import ResultsInvalid, UsageError
from ..results.node import GOING_ON, state_of_all
from ..results.run import NodeStatus, RunFolder
from .plan import read_plan
from .transport import LocalTransport, Transport

AGENT_START_S = 60.0
"""How long a launched agent may take to write its first status before it counts as lost."""


@dataclass(frozen=True)
class RunState:
    """How a run stands."""

    state: str
    """`starting`, `running`, `lost` (its processes are gone without a word), or how it ended: `succeeded`, `failed`,
    `hang`, `interrupted` or `stopped`."""
    nodes: tuple[NodeStatus, ...]
    trouble: tuple[str, ...] = ()
    """What keeps this machine from seeing how a node stands; the run may well go on there."""

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state not in GOING_ON


class Watcher(Protocol):
    """Tells how one run stands, look after look."""

    def state(self) -> RunState:
        """How it stands now."""

    def look_once(self) -> None:
        """Until every node was asked once."""


class LocalWatch:
    """A run on this machine, or one on a fleet whose end is known."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def state(self) -> RunState:
        return state_of(self._folder)

    def look_once(self) -> None:
        return None


def all_runs(runs_dir: Path) -> list[RunFolder]:
    """Every run folder, the oldest first."""
    if not runs_dir.is_dir():
        return []
    return [RunFolder(path) for path in sorted(runs_dir.iterdir()) if RunFolder(path).spec.is_file()]


def going_on(runs_dir: Path) -> list[RunFolder]:
    """The runs on this machine alone that are not over."""
    return [folder for folder in all_runs(runs_dir) if not fleet_of(folder) and not _surely_over(folder)]


def find(runs_dir: Path, name: str | None) -> RunFolder:
    """The run called `name`: an id, the beginning or end of one, or a folder's path; the newest where None.

    An id that only holds `name` in its middle counts where none begins or ends with it.

    Raises:
        UsageError: no run, or more than one, has that name.
        ResultsInvalid: it is a folder, but not of a run.
    """
    if name is not None and ("/" in name or Path(name).is_dir()):
        folder = RunFolder(Path(name).resolve())
        folder.read_spec()
        return folder
    runs = all_runs(runs_dir)
    if name is None:
        if not runs:
            raise UsageError(f"There is no run yet in {runs_dir}.", fix="Start one: mlb bench task3a --goal smoke")
        return runs[-1]
    if (runs_dir / name).is_dir() and not (runs_dir / name / "run.json").is_file():
        raise ResultsInvalid(
            f"{runs_dir / name} is not a run folder.", why="It has no run.json.", fix="`mlb runs` lists the runs."
        )
    found = (
        [r for r in runs if r.run_id == name]
        or [r for r in runs if r.run_id.startswith(name) or r.run_id.endswith(name)]
        or [r for r in runs if name in r.run_id]
    )
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{len(found)} runs match {name!r}.", fix="Which one? " + ", ".join(r.run_id for r in found))
    raise UsageError(f"There is no run {name!r} in {runs_dir}.", fix="`mlb runs` lists the runs.")


def fleet_of(folder: RunFolder) -> str:
    """The fleet whose nodes a run is on; empty for one of this machine alone, and where nobody can tell any more."""
    try:
        return read_plan(folder).fleet
    except ResultsInvalid:
        return ""


def last_known(folder: RunFolder) -> RunState:
    """How a run on a fleet stood when its files were last brought here; no node is asked."""
    spec = folder.read_spec()
    nodes = tuple(status for n in range(spec.nodes) if (status := folder.read_status(n)) is not None)
    if len(nodes) == spec.nodes and all(node.final for node in nodes):
        return RunState(state_of_all(nodes), nodes)
    return RunState("running" if nodes else "starting", nodes)


def state_of(folder: RunFolder, transport: Transport | None = None) -> RunState:
    """How a run on this machine stands, from its agent's status file and whether the agent lives; one on a fleet as
    last known."""
    if fleet_of(folder):
        return last_known(folder)
    transport = transport or LocalTransport()
    status = folder.read_status(0)
    if status is None:
        launched_s = folder.spec.stat().st_mtime
        return RunState("starting" if time.time() - launched_s < AGENT_START_S else "lost", ())
    if transport.alive(status.agent_pid, status.agent_start_ticks):
        # Also when the status is final: a run is over once nothing of it runs any more.
        return RunState("running", (status,))
    # The agent may have written its last status between the two looks.
    status = folder.read_status(0) or status
    if status.final:
        return RunState(status.state, (status,))
    return RunState("stopped" if folder.stop_request.exists() else "lost", (status,))


def known_state(folder: RunFolder) -> str | None:
    """How a run stands, as `state_of` has it; None where a node's status cannot be read."""
    try:
        return state_of(folder).state
    except ResultsInvalid:
        return None


def _surely_over(folder: RunFolder) -> bool:
    """Whether the run is over; a run that cannot be read is nothing that goes on."""
    try:
        return state_of(folder).over
    except ResultsInvalid:
        return True


def stop(
    folder: RunFolder, *, grace_s: float = 20.0, transport: Transport | None = None, tick: Callable[[], None]
) -> RunState:
    """Ask a run on this machine to stop, and make it stop.

    Args:
        grace_s: time the ranks have to save their logs; the run's processes are killed after it.
        tick: called between two looks; waits a moment.
    """
    transport = transport or LocalTransport()
    folder.stop_request.touch()
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        deadline, sent = time.monotonic() + patience_s, False
        while time.monotonic() < deadline:
            state = state_of(folder, transport)
            if state.over:
                return state
            if not sent:
                # A sum, where `any` would stop at the first node.
                sent = sum(transport.signal(n.agent_pid, n.agent_start_ticks, number) for n in state.nodes) > 0
            tick()
    return state_of(folder, transport)
