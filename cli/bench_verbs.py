"""The verbs that find a run again: attach, status, stop, logs."""

from __future__ import annotations

import time

from ..errors import ResultsInvalid
from ..provisioner import runs
from ..results.run import RunFolder
from ..results.tail import last_lines
from ..results.text import harmless
from .console import note, show_json, show_text
from .dirs import runs_dir
from .follow import conclude, follow

_LAST_BYTES = 1 << 20


def attach(name: str | None, as_json: bool) -> int:
    """Follow a run from its first event to its end; returns the run's exit code."""
    folder = runs.find(runs_dir(), name)
    note(f"run {folder.run_id}")
    return conclude(folder, follow(folder), as_json)


def status(name: str | None, as_json: bool) -> None:
    """Say how a run stands."""
    folder = runs.find(runs_dir(), name)
    spec, state = folder.read_spec(), runs.state_of(folder)
    pids = {rank: pid for node in state.nodes for rank, pid in node.rank_pids.items()}
    if as_json:
        agents = [node.agent_pid for node in state.nodes]
        show_json({"run": folder.run_id, "state": state.state, "agent_pids": agents, "rank_pids": pids})
        return
    show_text(f"{folder.run_id}: {state.state}")
    show_text(f"{spec.task}, goal {spec.goal}, {spec.ranks} ranks over {spec.backend}, {folder.path}")
    if pids and not state.over:
        show_text("pids: " + ", ".join(f"rank {rank} {pid}" for rank, pid in sorted(pids.items())))


def stop(name: str | None, as_json: bool) -> None:
    """Stop a run and say how it ended.

    Raises:
        ResultsInvalid: its processes could not be ended.
    """
    folder = runs.find(runs_dir(), name)
    before = runs.state_of(folder)
    state = before if before.over else runs.stop(folder, tick=lambda: time.sleep(0.1))
    if not state.over:
        pids = ", ".join(str(node.agent_pid) for node in state.nodes)
        raise ResultsInvalid(
            f"{folder.run_id} could not be stopped.", fix=f"Its agent is process {pids}: end it by hand."
        )
    if as_json:
        show_json({"run": folder.run_id, "state": state.state, "was_over": before.over})
    else:
        show_text(f"{folder.run_id}: {state.state}{' already' if before.over else ''}")


def logs(name: str | None, rank: int | None, lines: int) -> None:
    """Print the end of the output of a run's agent and ranks.

    Raises:
        ResultsInvalid: the run has no output of that rank.
    """
    folder = runs.find(runs_dir(), name)
    files = sorted(folder.logs.glob("*.log")) if rank is None else [folder.rank_log(rank)]
    for path in files:
        if not path.exists():
            raise ResultsInvalid(f"{folder.run_id} has no output of rank {rank}.", fix=_ranks_of(folder))
        show_text(f"==> {path.name} <==")
        for line in last_lines(path, lines, _LAST_BYTES):
            show_text(harmless(line))


def _ranks_of(folder: RunFolder) -> str:
    return f"It has ranks 0 to {folder.read_spec().ranks - 1}."
