"""The runs on this machine: find one by name, tell how it stands, stop it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import ResultsInvalid, UsageError
from ..results.run import NodeStatus, RunFolder
from .transport import LocalTransport, Transport

_AGENT_START_S = 60.0
"""How long a launched agent may take to write its first status before it counts as lost."""


@dataclass(frozen=True)
class RunState:
    """How a run stands."""

    state: str
    """`starting`, `running`, `succeeded`, `failed`, `stopped` or `lost` (its processes are gone without a word)."""
    nodes: tuple[NodeStatus, ...]

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state not in {"starting", "running"}


def all_runs(runs_dir: Path) -> list[RunFolder]:
    """Every run folder, the oldest first."""
    if not runs_dir.is_dir():
        return []
    return [RunFolder(path) for path in sorted(runs_dir.iterdir()) if RunFolder(path).spec.is_file()]


def going_on(runs_dir: Path) -> list[RunFolder]:
    """The runs that are not over."""
    return [folder for folder in all_runs(runs_dir) if not _surely_over(folder)]


def find(runs_dir: Path, name: str | None) -> RunFolder:
    """The run called `name`: an id, the beginning or end of one, or a folder's path; the newest where None.

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
    found = [r for r in runs if r.run_id == name] or [
        r for r in runs if r.run_id.startswith(name) or r.run_id.endswith(name)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{len(found)} runs match {name!r}.", fix="Which one? " + ", ".join(r.run_id for r in found))
    raise UsageError(f"There is no run {name!r} in {runs_dir}.", fix="`mlb runs` lists the runs.")


def state_of(folder: RunFolder, transport: Transport | None = None) -> RunState:
    """How the run stands, from its nodes' status files and whether their agents live."""
    transport = transport or LocalTransport()
    status = folder.read_status(0)
    if status is None:
        launched_s = folder.spec.stat().st_mtime
        return RunState("starting" if time.time() - launched_s < _AGENT_START_S else "lost", ())
    if transport.alive(status.agent_pid, status.agent_start_ticks):
        # Also when the status is final: a run is over once nothing of it runs any more.
        return RunState("running", (status,))
    # The agent may have written its last status between the two looks.
    status = folder.read_status(0) or status
    if status.final:
        return RunState(status.state, (status,))
    return RunState("stopped" if folder.stop_request.exists() else "lost", (status,))


def _surely_over(folder: RunFolder) -> bool:
    """Whether the run is over; a run that cannot be read is nothing that goes on."""
    try:
        return state_of(folder).over
    except ResultsInvalid:
        return True


def stop(
    folder: RunFolder, *, grace_s: float = 20.0, transport: Transport | None = None, tick: Callable[[], None]
) -> RunState:
    """Ask a run to stop, and make it stop.

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
