"""What a run failed of: the first thing that went wrong, out of what the agents saw and the ranks said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .node import NodeStatus, RankFailure, first_failure, lost_node
from .rank import RankRecord
from .text import how_it_ended, ranges, sanitise, sanitise_lines


@dataclass(frozen=True)
class FailureCause:
    """The first thing that went wrong, as far as it is known; all text is sanitised."""

    node: int | None
    rank: int | None
    exit_code: int | None
    """As `subprocess` has it; None where the rank was not seen to end."""
    how: str
    """`exit code 1`, or the signal's name; empty if unknown."""
    message: str
    last_lines: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "rank": self.rank,
            "exit_code": self.exit_code,
            "how": self.how,
            "message": self.message,
            "last_lines": list(self.last_lines),
        }


def failure_of(records: Sequence[RankRecord], nodes: Sequence[NodeStatus]) -> FailureCause | None:
    """The cause of a run that failed, hung or was interrupted.

    A machine that was taken away comes first, then a hang, then the first rank to die of itself (by its agent or else
    by its log), then a node that the others lost, and only then a rank that died of another's death.
    """
    taken = next((node for node in nodes if node.state == "interrupted"), None)
    if taken is not None:
        return FailureCause(taken.node, None, None, "", sanitise(taken.message), ())
    if any(node.state == "hang" for node in nodes):
        return _of_hang(nodes)
    first = first_failure(nodes)
    if first is not None and not first[1].collateral:
        return _of_agent(*first, records)
    lost = _of_loss(nodes)
    if lost is not None:
        return lost
    logged = sorted((r for r in records if r.failure), key=lambda r: bool(r.failure and r.failure.collateral))
    if logged and not (first and logged[0].failure and logged[0].failure.collateral):
        return _of_log(logged[0])
    if first is not None:
        return _of_agent(*first, records)
    failed = next((node for node in nodes if node.state == "failed"), None)
    if failed is None:
        return None
    return FailureCause(failed.node, None, None, "", sanitise(failed.message), ())


def _of_hang(nodes: Sequence[NodeStatus]) -> FailureCause:
    """The ranks that the others wait for, where some do wait and some do not."""
    hung = [node for node in nodes if node.state == "hang"]
    suspects = [rank for node in hung for rank in node.suspects]
    # The node that found it says so in its own words; the others repeat them.
    message = min((node.message for node in hung), key=len)
    if suspects and len(suspects) < sum(len(node.rank_pids) for node in hung):
        node = next(node for node in hung if node.suspects)
        waited = f"the others wait for rank{'s'[: len(suspects) > 1]} {ranges(suspects)}"
        return FailureCause(node.node, suspects[0], None, "hang", sanitise(f"{message}; {waited}"), ())
    return FailureCause(hung[0].node, None, None, "hang", sanitise(f"{message}; no rank stands out"), ())


def _of_loss(nodes: Sequence[NodeStatus]) -> FailureCause | None:
    lost = lost_node(nodes)
    if lost is None:
        return None
    by, message = next((node.node, node.message) for node in nodes if lost in node.lost)
    if sum(len(node.lost) for node in nodes) == 2 and any(node.node == lost and by in node.lost for node in nodes):
        message += f"; it lost node {by} as well: the link of one of the two was cut"
    return FailureCause(lost, None, None, "", sanitise(message), ())


def _of_agent(node: int, failure: RankFailure, records: Sequence[RankRecord]) -> FailureCause:
    said = next((r.failure for r in records if r.rank == failure.rank and r.failure), None)
    message = sanitise(failure.message) or (f"{said.kind}: {said.message}" if said else "")
    lines = sanitise_lines(failure.last_lines)
    return FailureCause(node, failure.rank, failure.exit_code, how_it_ended(failure.exit_code), message, lines)


def _of_log(record: RankRecord) -> FailureCause:
    message = f"{record.failure.kind}: {record.failure.message}" if record.failure else ""
    return FailureCause(None, record.rank, None, "", message, ())
