"""The launch plan: for each node the argv and environment that would be started. A value; nothing is started here."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from ..errors import ResultsInvalid
from ..results.run import RunFolder, RunSpec

_STOP_GRACE_S = 10
"""Seconds a rank has, once told to stop, before it is killed."""

_PORTS = range(20_000, 30_000)
"""Where the meeting ports are taken from: below what systems give to outgoing connections."""

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Where one node's part of a run is put."""

    name: str
    address: str
    """The private address, by which the nodes reach each other."""
    python: str
    """The interpreter there."""
    folder: PurePath
    """The run folder there."""
    cloud: str = ""


@dataclass(frozen=True)
class NodePlan:
    """What is started on one node."""

    node: int
    name: str
    folder: str
    """The run folder on the node."""
    python: str
    address: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    """Set beside the environment that is there already."""


@dataclass(frozen=True)
class LaunchPlan:
    """What is started for one run."""

    run_id: str
    fleet: str
    """Whose nodes; empty on this machine."""
    ports: tuple[int, int] | None
    """On node 0: where torchrun's store and the agents meet; None for one node."""
    nodes: tuple[NodePlan, ...]


def plan(
    spec: RunSpec, places: Sequence[Place], *, fleet: str = "", ports: tuple[int, int] | None = None
) -> LaunchPlan:
    """The plan of a run on these places, in rank order; the ranks of several nodes meet on the first.

    Args:
        ports: two free ports of the first node; from the run's id where None (see `candidate_ports`).
    """
    meeting = None if len(places) == 1 else ports or candidate_ports(spec.run_id)
    nodes = tuple(_node_plan(spec, places, node, meeting) for node in range(len(places)))
    return LaunchPlan(spec.run_id, fleet, meeting, nodes)


def plan_local(spec: RunSpec, folder: RunFolder) -> LaunchPlan:
    """The plan of a run on this machine alone."""
    return plan(spec, [Place(spec.fleet, LOOPBACK, sys.executable, folder.path)])


def read_plan(folder: RunFolder) -> LaunchPlan:
    """The plan that a run was launched by.

    Raises:
        ResultsInvalid: the folder holds none that can be read.
    """
    try:
        raw = json.loads(folder.plan.read_text())
        nodes = tuple(NodePlan(**{**node, "argv": tuple(node["argv"])}) for node in raw["nodes"])
        ports = raw["ports"] and (int(raw["ports"][0]), int(raw["ports"][1]))
        return LaunchPlan(str(raw["run_id"]), str(raw["fleet"]), ports, nodes)
    except (OSError, ValueError, KeyError, TypeError, LookupError, RecursionError) as error:
        raise ResultsInvalid(
            f"{folder.plan} is not a launch plan.",
            why=f"{type(error).__name__}: {error}",
            fix=f"What is here already: mlb report {folder.run_id}",
        ) from error


def candidate_ports(run_id: str, attempt: int = 0) -> tuple[int, int]:
    """Two ports for a run: the same for the same id, other ones for another attempt."""
    pairs = len(_PORTS) // 2
    first = _PORTS.start + 2 * ((zlib.crc32(run_id.encode()) + attempt) % pairs)
    return first, first + 1


def _node_plan(spec: RunSpec, places: Sequence[Place], node: int, ports: tuple[int, int] | None) -> NodePlan:
    place = places[node]
    # -P: a `models/` or `torch.py` in the current folder must not be imported by mistake.
    agent = (place.python, "-P", "-m", "mlb.runners.agent", str(place.folder), str(node))
    own = (*_meeting(places, node, ports), *(("--cloud", place.cloud) if place.cloud else ()))
    argv = (*agent, *own, "--", *_torchrun(spec, places, node, ports))
    return NodePlan(node, place.name, str(place.folder), place.python, place.address, argv, _environment(spec, ports))


def _meeting(places: Sequence[Place], node: int, ports: tuple[int, int] | None) -> tuple[str, ...]:
    if ports is None:
        return ()
    peer = places[1 if node == 0 else 0]
    return (
        "--meet", f"{places[0].address}:{ports[1]}", "--address", places[node].address, "--route-to", peer.address,
    )  # fmt: skip


def _torchrun(spec: RunSpec, places: Sequence[Place], node: int, ports: tuple[int, int] | None) -> tuple[str, ...]:
    rendezvous: tuple[str, ...]
    if ports is None:
        # A store of its own on a port that the system picks.
        rendezvous = ("--rdzv-backend=c10d", f"--rdzv-endpoint={LOOPBACK}:0", f"--local-addr={LOOPBACK}")
    else:
        # Static, not c10d: that one numbers the nodes as they come, and rank 0 would be anywhere.
        rendezvous = (
            f"--node-rank={node}",
            "--rdzv-backend=static",
            f"--rdzv-endpoint={places[0].address}:{ports[0]}",
            f"--local-addr={places[node].address}",
        )
    return (
        f"--nnodes={len(places)}",
        f"--nproc-per-node={spec.ranks_per_node}",
        *rendezvous,
        f"--rdzv-id={spec.run_id}",
        "--max-restarts=0",
        "--module",
        "mlb.runners.worker",
        str(places[node].folder),
    )


def _environment(spec: RunSpec, ports: tuple[int, int] | None) -> dict[str, str]:
    # The name lookup of the host can take 20 s where a resolver is out of reach; an interface by name needs none.
    # Of several nodes, each finds its interface by the route to the others.
    interface = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"} if ports is None else {}
    return {
        "OMP_NUM_THREADS": str(spec.threads_per_rank),
        **interface,
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(_STOP_GRACE_S),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }
