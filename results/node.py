"""What a node's agent writes down about its part of a run, and what the agents of all nodes say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 1

FINAL_STATES = ("succeeded", "failed", "hang", "interrupted", "aborted", "stopped")
"""How an agent can end: `aborted` is a node that ended because another one did, `interrupted` one whose machine
was taken away or announced to be."""

GOING_ON = ("starting", "running")
"""How a run stands that is not over."""


@dataclass(frozen=True)
class RankFailure:
    """How one rank died."""

    rank: int
    pid: int
    exit_code: int
    """As `subprocess` has it: negative for a signal."""
    seen_unix_ns: int
    """When the agent saw the process end."""
    collateral: bool
    """True where the rank died of another rank's death: in a collective, or stopped by the agent."""
    message: str
    last_lines: tuple[str, ...]
    """The end of the rank's output."""


@dataclass(frozen=True)
class NodeStatus:
    """What the agent of one node last wrote down: `running` while it works, then one of the final states."""

    node: int
    state: str
    """`running`, then one of `FINAL_STATES`."""
    agent_pid: int
    agent_start_ticks: int
    """Start time of the agent in clock ticks since boot: with the pid it names one process for good."""
    started_unix_ns: int
    stopped_unix_ns: int = 0
    message: str = ""
    rank_pids: dict[int, int] = field(default_factory=dict)
    failures: tuple[RankFailure, ...] = ()
    """The ranks that died, the first to die first."""
    schema_version: int = SCHEMA_VERSION
    incarnation: str = ""
    """Names one boot of the machine (or start of the container): another one there means it was rebooted."""
    interface: str = ""
    """The network interface that the ranks talk over."""
    clock_offset_ns: int = 0
    """To be added to this node's wall clock to have node 0's; 0 on node 0."""
    clock_error_ns: int | None = None
    """The offset is right to this bound, half the round trip it was taken over; None where it was not measured."""
    lost: tuple[int, ...] = ()
    """Nodes that this one lost: their agent was not heard of any more, or ended without a word."""

    suspects: tuple[int, ...] = ()
    """Of a hang: the ranks that the others seem to wait for."""

    @property
    def final(self) -> bool:
        """Whether the agent has nothing more to say."""
        return self.state in FINAL_STATES

    @property
    def cause(self) -> RankFailure | None:
        """The first failure that was not collateral, else the first; None if no rank died."""
        return next((f for f in self.failures if not f.collateral), next(iter(self.failures), None))


def status_from(raw: Mapping[str, Any]) -> NodeStatus:
    """The status that an agent wrote.

    Raises TypeError, KeyError, ValueError, OverflowError or AttributeError if it is none. The numbers that name a
    process are made sure of: its file in /proc is looked up by them.
    """
    failures = (
        RankFailure(**{**failure, "last_lines": tuple(failure["last_lines"])}) for failure in raw.get("failures", ())
    )
    read = {
        **{name: int(raw[name]) for name in ("agent_pid", "agent_start_ticks")},
        "rank_pids": {int(rank): int(pid) for rank, pid in raw.get("rank_pids", {}).items()},
        "failures": tuple(failures),
        **{name: tuple(int(number) for number in raw.get(name, ())) for name in ("lost", "suspects")},
    }
    return NodeStatus(**{**raw, **read})


def state_of_all(nodes: Sequence[NodeStatus]) -> str:
    """One final state for a run whose agents have all ended; `failed` where they have, yet none says of what.

    What ended a run is stronger than what followed from it: a machine that was taken away, then a hang that was
    found, then a rank that died, then a request.
    """
    states = {node.state for node in nodes}
    strongest = next((s for s in ("interrupted", "hang", "failed", "stopped", "aborted") if s in states), "succeeded")
    return "failed" if strongest == "aborted" else strongest


def first_failure(nodes: Sequence[NodeStatus]) -> tuple[int, RankFailure] | None:
    """The node and the rank that failed first, by clocks that are aligned to node 0's; None if none failed.

    A rank that died of another's death is named only where there is no other.
    """
    seen = [(node, node.cause) for node in nodes if node.cause is not None]
    if not seen:
        return None
    node, failure = min(seen, key=lambda item: (item[1].collateral, item[1].seen_unix_ns + item[0].clock_offset_ns))
    return node.node, failure


def is_loss(nodes: Sequence[NodeStatus]) -> bool:
    """Whether a run failed of a node, or the way to it, that was lost, and of nothing that ran on it."""
    return lost_node(nodes) is not None and all(f.collateral for node in nodes for f in node.failures)


def lost_node(nodes: Sequence[NodeStatus]) -> int | None:
    """The node that the others lost, None if they lost none.

    A node whose link is cut loses the others as they lose it, so the most votes count. Of two nodes that name each
    other, nobody inside can tell whose link it was: it is the one that is not node 0.
    """
    votes = Counter(other for node in nodes for other in node.lost)
    return max(votes, key=lambda other: (votes[other], other)) if votes else None
