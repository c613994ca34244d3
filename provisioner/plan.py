"""The launch plan: for each node the argv and environment that would be started. A value; nothing is started here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from ..results.run import RunFolder, RunSpec

_STOP_GRACE_S = 10
"""Seconds a rank has, once told to stop, before it is killed."""


@dataclass(frozen=True)
class NodePlan:
    """What is started on one node."""

    node: int
    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    """Set beside the environment that is there already."""


@dataclass(frozen=True)
class LaunchPlan:
    """What is started for one run."""

    run_id: str
    nodes: tuple[NodePlan, ...]


def plan_local(spec: RunSpec, folder: RunFolder) -> LaunchPlan:
    """The plan of a run on this machine alone: one node, the ranks meet on the loopback interface."""
    torchrun = (
        "--nnodes=1",
        f"--nproc-per-node={spec.ranks}",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=127.0.0.1:0",
        f"--rdzv-id={spec.run_id}",
        "--local-addr=127.0.0.1",
        "--max-restarts=0",
        "--module",
        "mlb.runners.worker",
        str(folder.path),
    )
    # -P: a `models/` or `torch.py` in the current folder must not be imported by mistake.
    argv = (sys.executable, "-P", "-m", "mlb.runners.agent", str(folder.path), "0", "--", *torchrun)
    return LaunchPlan(spec.run_id, (NodePlan(0, spec.fleet, argv, _environment(spec)),))


def _environment(spec: RunSpec) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": str(spec.threads_per_rank),
        # The name lookup of the host can take 20 s where a resolver is out of reach; loopback needs none.
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(_STOP_GRACE_S),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }
