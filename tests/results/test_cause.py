"""What several nodes say together: the first to fail, by aligned clocks; a hang; a node that was lost."""

from dataclasses import replace

import pytest
from mlb.results.cause import failure_of
from mlb.results.node import NodeStatus, RankFailure, first_failure, is_loss, lost_node, state_of_all

S = 1_000_000_000


def rank(number: int, seen_s: float, *, collateral: bool = False) -> RankFailure:
    return RankFailure(number, 1, -9, round(seen_s * S), collateral, f"rank {number} died", ())


def node(number: int, state: str = "failed", *failures: RankFailure, **changes: object) -> NodeStatus:
    status = NodeStatus(number, state, 1, 1, 0, failures=failures, rank_pids={number: 1})
    return replace(status, **changes)  # type: ignore[arg-type]


def test_the_first_to_die_is_found_across_clocks_that_differ() -> None:
    """Rank 1 died a second before rank 0; its node's clock is three seconds fast and says the opposite."""
    nodes = [node(0, "failed", rank(0, 101)), node(1, "failed", rank(1, 103), clock_offset_ns=-3 * S)]
    assert first_failure(nodes) == (1, nodes[1].failures[0])
    cause = failure_of([], nodes)
    assert cause is not None
    assert (cause.node, cause.rank, cause.exit_code) == (1, 1, -9)


def test_a_victim_is_named_only_where_there_is_nobody_else() -> None:
    victim = node(0, "failed", rank(0, 100, collateral=True))
    both = [victim, node(1, "failed", rank(1, 105))]
    assert first_failure(both) == (1, both[1].failures[0])
    assert first_failure([victim]) == (0, victim.failures[0])
    lost = [victim, node(1, "running", message="", lost=()), node(2, "failed", lost=(1,), message="node 1 was lost")]
    cause = failure_of([], lost)
    assert cause is not None
    assert (cause.node, cause.rank, cause.message) == (1, None, "node 1 was lost")


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        ([(1,), (0,), ()], 1),
        ([(1, 2), (0,), (0,)], 0),
        ([(2,), (2,), (0,)], 2),
        ([(), ()], None),
    ],
)
def test_the_node_that_most_lost(lost: list[tuple[int, ...]], expected: int | None) -> None:
    assert lost_node([node(i, lost=names) for i, names in enumerate(lost)]) == expected


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node(0, lost=(1,)), node(1)], True),
        ([node(0, "failed", rank(0, 1, collateral=True), lost=(1,)), node(1, "running")], True),
        ([node(0, lost=(1,)), node(1, "failed", rank(1, 1))], False),
        ([node(0, "failed", rank(0, 1, collateral=True)), node(1, "failed", rank(1, 1, collateral=True))], False),
    ],
)
def test_a_loss_is_no_failure_of_what_ran(nodes: list[NodeStatus], expected: bool) -> None:
    assert is_loss(nodes) is expected


def test_of_two_nodes_that_lost_each_other_both_are_named() -> None:
    nodes = [node(0, lost=(1,), message="node 1 was lost"), node(1, lost=(0,), message="node 0 was lost")]
    cause = failure_of([], nodes)
    assert cause is not None
    assert cause.node == 1
    assert cause.message == "node 1 was lost; it lost node 0 as well: the link of one of the two was cut"


def test_a_hang_names_who_is_waited_for() -> None:
    nodes = [
        node(0, "hang", message="no event of any of its ranks for 9 s"),
        node(1, "hang", suspects=(1,), message="node 0: no event of any of its ranks for 9 s"),
    ]
    cause = failure_of([], nodes)
    assert cause is not None
    assert (cause.node, cause.rank) == (1, 1)
    assert cause.message == "no event of any of its ranks for 9 s; the others wait for rank 1"
    everybody = [replace(status, suspects=(status.node,)) for status in nodes]
    cause = failure_of([], everybody)
    assert cause is not None
    assert cause.rank is None
    assert "no rank stands out" in cause.message


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("succeeded", "succeeded"), "succeeded"),
        (("failed", "aborted"), "failed"),
        (("aborted", "aborted"), "failed"),
        (("stopped", "aborted"), "stopped"),
        (("hang", "failed"), "hang"),
        (("failed", "interrupted"), "interrupted"),
    ],
)
def test_one_state_for_all_nodes(states: tuple[str, ...], expected: str) -> None:
    assert state_of_all([node(i, state) for i, state in enumerate(states)]) == expected
