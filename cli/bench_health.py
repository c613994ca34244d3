"""The check of a fleet's nodes before a run: what is asked of them, and what the result has to say of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..errors import PreflightError, UsageError
from ..provisioner import health
from ..provisioner.bootstrap import ReadyNode
from ..provisioner.fleet import Fleet
from ..provisioner.health_gate import Limits
from ..provisioner.ssh import SshTransport
from .console import note
from .request import Request

_WITHOUT_EFA = frozenset({"aws", "gcp"})
"""Where mlb rents machines: their templates give each one plain network interface."""


def limits_of(fleet: Fleet, request: Request) -> Limits | None:
    """What the nodes are held to; None where they are not to be checked.

    Raises:
        UsageError: a transport is required, and nobody is to look which is used.
        PreflightError: the fleet cannot have that transport.
    """
    wanted = request.require_transport or ""
    if wanted and request.skip_health:
        raise UsageError(
            "--require-transport and --skip-health contradict each other.",
            why="It is the check of the nodes that sees which transport is used.",
        )
    several = (request.nodes or len(fleet.nodes)) > 1
    if wanted == "efa" and several and fleet.cloud in _WITHOUT_EFA:
        raise PreflightError(
            f"The fleet {fleet.name} has no EFA: --require-transport efa cannot be met on it.",
            why="mlb rents machines with one plain network interface each, over which they speak TCP.",
            fix="Leave --require-transport out, or take hosts that have it: mlb infra apply --cloud ssh --hosts FILE",
        )
    return None if request.skip_health else Limits(network=wanted)


def health_of(
    fleet: Fleet, ready: Sequence[ReadyNode], doors: Mapping[int, SshTransport], limits: Limits | None
) -> health.Health:
    """The nodes' health, in a record that may begin a run.

    Raises:
        NodeUnfit: names every node that is not fit, with the evidence.
    """
    if limits is None:
        return health.skipped()
    by_name = {node.node.name: node for node in ready}
    opened = {node.node.name: doors[i] for i, node in enumerate(ready)}
    found = health.check(opened, by_name, note, limits, fleet.folder / "health.json")
    health.refuse_if_unfit(found)
    return found


def caveats_of(found: health.Health) -> Iterator[str]:
    """What a reader of the result has to know of it."""
    if found.skipped:
        yield "the health of the nodes was not checked before the run (--skip-health)."
    for problem in found.warnings:
        yield f"{problem.node}: {problem.evidence}" if problem.node else problem.evidence
