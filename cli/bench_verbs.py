"""The verbs that find a run again: attach, status, stop, logs."""

from __future__ import annotations

import time

from ..errors import ResultsInvalid
from ..provisioner import runs
from ..results.run import RunFolder
from ..results.tail import last_lines
from ..results.text import harmless
from .bench_nodes import bring, stop_on_fleet
from .console import note, show_json, show_text
from .dirs import runs_dir
from .fleets import let_go, watcher
from .follow import conclude, follow
from .log_view import show_as_it_grows

_LAST_BYTES = 1 << 20


def attach(name: str | None, as_json: bool) -> int:
    """Follow a run from its first event to its end; returns the run's exit code."""
    folder = runs.find(runs_dir(), name)
    note(f"run {folder.run_id}")
    return conclude(folder, follow(folder), as_json)


def status(name: str | None, as_json: bool) -> None:
    """Say how a run stands, by what its nodes say now."""
    folder = runs.find(runs_dir(), name)
    with watcher(folder) as watch:
        watch.look_once()
        spec, state = folder.read_spec(), watch.state()
    if state.over:
        let_go(folder)
    pids = {rank: pid for node in state.nodes for rank, pid in node.rank_pids.items()}
    if as_json:
        agents = [node.agent_pid for node in state.nodes]
        nodes = [{"node": n.node, "name": spec.name_of(n.node), "state": n.state} for n in state.nodes]
        show_json(
            {
                "run": folder.run_id,
                "state": state.state,
                "agent_pids": agents,
                "rank_pids": pids,
                "nodes": nodes,
                "trouble": list(state.trouble),
            }
        )
        return
    show_text(f"{folder.run_id}: {state.state}")
    on = f" on {spec.nodes} nodes of {spec.fleet}" if spec.node_names else ""
    show_text(f"{spec.task}, goal {spec.goal}, {spec.ranks} ranks{on} over {spec.backend}, {folder.path}")
    for line in state.trouble:
        show_text(harmless(line))
    if pids and not state.over:
        show_text("pids: " + ", ".join(f"rank {rank} {pid}" for rank, pid in sorted(pids.items())))


def stop(name: str | None, as_json: bool) -> None:
    """Stop a run and say how it ended.

    Raises:
        ResultsInvalid: its processes could not be ended.
    """
    folder = runs.find(runs_dir(), name)
    if runs.fleet_of(folder):
        was_over, state = stop_on_fleet(folder)
    else:
        state = runs.state_of(folder)
        was_over = state.over
        state = state if was_over else runs.stop(folder, tick=lambda: time.sleep(0.1))
    if not state.over:
        pids = ", ".join(str(node.agent_pid) for node in state.nodes)
        raise ResultsInvalid(
            f"{folder.run_id} could not be stopped.",
            why="\n".join(state.trouble),
            fix=f"Its agent is process {pids}: end it by hand.",
        )
    let_go(folder)
    if as_json:
        show_json({"run": folder.run_id, "state": state.state, "was_over": was_over})
    else:
        show_text(f"{folder.run_id}: {state.state}{' already' if was_over else ''}")


def collect(name: str | None, as_json: bool) -> None:
    """Bring what a run's nodes have here, now; ends also while the run goes on."""
    folder = runs.find(runs_dir(), name)
    if not runs.fleet_of(folder):
        note("the run is on this machine: its files are here already")
    held = bring(folder) if runs.fleet_of(folder) else {}
    if as_json:
        show_json({"run": folder.run_id, "path": str(folder.path), "nodes": held})
        return
    for node, words in held.items():
        show_text(f"{node}: {words}")
    show_text(str(folder.path))


def logs(name: str | None, rank: int | None, lines: int, *, follow_on: bool = False) -> None:
    """Print the end of the output of a run's agents and ranks; `follow_on` goes on with it until the run is over.

    Raises:
        ResultsInvalid: the run has no output of that rank.
    """
    folder = runs.find(runs_dir(), name)
    if follow_on:
        show_as_it_grows(folder, rank, lines)
        return
    files = sorted(folder.logs.glob("*.log")) if rank is None else [folder.rank_log(rank)]
    for path in files:
        if not path.exists():
            raise ResultsInvalid(f"{folder.run_id} has no output of rank {rank}.", fix=_ranks_of(folder))
        show_text(f"==> {path.name} <==")
        for line in last_lines(path, lines, _LAST_BYTES):
            show_text(harmless(line))


def _ranks_of(folder: RunFolder) -> str:
    return f"It has ranks 0 to {folder.read_spec().ranks - 1}."
