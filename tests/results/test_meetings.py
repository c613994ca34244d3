"""Ranks that do not all meet before the optimiser's step: on a graph, after it, now and then, or steps behind.

Each run is simulated from its ranks' own work, so that who waits for whom, and how long, is known to the nanosecond.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlb.results.communication import Communication, communication_of
from mlb.results.metrics import compute
from mlb.results.reduction import reduce
from mlb.results.report import render

MS = 1_000_000
TRANSFER = 7 * MS
WORK = {"input": 2, "host_to_device": 1, "forward": 10, "backward": 20, "optimiser": 4, "other": 1}
Sleeps = dict[tuple[int, int, str], int]
"""Rank, step and phase -> milliseconds that it takes longer."""
Peers = Callable[[int, int], Sequence[tuple[int, int]]]
"""Of a rank and a step, whom it waits for and in which step; nobody where there is no meeting."""


def simulate(
    run: Any, story: Any, ranks: int, steps: int, sleeps: Sleeps, peers: Peers, group: Any = None, *, late: bool = True
) -> Communication:
    """A run whose ranks meet once in a step, after the optimiser's step or (`late` false) before it."""
    tales, clocks, arrived = [], [0] * ranks, {}
    for rank in range(ranks):
        tales.append(story(rank, clock_ns=(3 + 5 * rank) * 1000 * MS).start().sync())
        if group:
            tales[-1].event("group", number=1, **group(rank))
    for step in range(steps):
        own = {(r, p): (ms + sleeps.get((r, step, p), 0)) * MS for r in range(ranks) for p, ms in WORK.items()}
        before = ["input", "host_to_device", "forward", "backward", *(["optimiser"] if late else [])]
        for r in range(ranks):
            arrived[r, step] = clocks[r] + sum(own[r, p] for p in before)
        for r in range(ranks):
            met = [arrived[other] for other in peers(r, step) if other in arrived]
            begin = arrived[r, step]
            end = max([begin, *met]) + TRANSFER if peers(r, step) else begin
            phases = [*(own[r, p] for p in list(WORK)[:4]), end - begin, own[r, "optimiser"], own[r, "other"]]
            at, until = begin - clocks[r], end - clocks[r]
            collective = {
                "collective_operation": ["send"], "collective_bytes": [64], "collective_arrival_ns": [at],
                "collective_end_ns": [until], "blocked_start_ns": [at], "blocked_end_ns": [until],
                **({"collective_group": [1]} if group else {}),
            } if end > begin else {}  # fmt: skip
            tales[r].step(*phases, **collective)
            clocks[r] += sum(phases)
    for tale in tales:
        run.tell(tale.stop())
    _, found = communication_of(run.folder, run.spec)
    assert found is not None
    assert found.worst_residual == 0
    return found


def everybody(ranks: int, behind: int = 0) -> Peers:
    return lambda _, step: [(other, step - behind) for other in range(ranks)]


def ring(ranks: int) -> tuple[Peers, Any]:
    def near(rank: int) -> list[int]:
        return sorted({(rank - 1) % ranks, rank, (rank + 1) % ranks})

    return lambda r, s: [(other, s) for other in near(r)], lambda r: {"ranks": near(r), "steps_behind": 0}


def blocks_of(run: Any) -> dict[str, np.ndarray]:
    """Transfer, wait and blockers of all ranks and steps."""
    found: list[Any] = []
    reduce(run.folder, run.spec, lambda _: found.append)
    return {name: np.concatenate([getattr(block, f"{name}_ns") for block in found], axis=1) / MS
            for name in ("transfer", "wait")}  # fmt: skip


def blamed(found: Communication) -> dict[tuple[int, str], int]:
    return {(rank.rank, phase): n for rank in found.ranks for phase, n in rank.blamed.items()}


def test_on_a_ring_only_the_neighbours_wait_and_later_theirs(story: Any, run_at: Any, tmp_path: Path) -> None:
    run = run_at(tmp_path, ranks=6)
    found = simulate(run, story, 6, 9, {(2, 4, "forward"): 50}, *ring(6))
    blocks = blocks_of(run)
    assert (blocks["transfer"] == 7).all(), "what a rank far away does is no transfer and no waiting here"
    assert blocks["wait"][:, 4].tolist() == [0, 50, 0, 50, 0, 0]
    assert blocks["wait"][:, 5].tolist() == [50, 0, 0, 0, 50, 0], "lateness is passed on from neighbour to neighbour"
    assert blamed(found) == {(2, "forward"): 1}, "and whoever passes it on is not to blame"
    assert found.what_ifs == (), "there is no step of the group"


def test_without_clocks_the_shortest_among_the_neighbours_counts(story: Any, run_at: Any, tmp_path: Path) -> None:
    class Unsynced:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.tale = story(*args, **kwargs)

        def start(self) -> Any:
            self.tale.start()
            self.tale.sync = lambda: self.tale
            return self.tale

    run = run_at(tmp_path, ranks=6)
    found = simulate(run, Unsynced, 6, 9, {(2, 4, "forward"): 50}, *ring(6))
    assert found.reduction.alignment.clocks is None
    blocks = blocks_of(run)
    # Nobody beside rank 1 or 3 waited for nobody: the duration of rank 2, which came last, is the transfer.
    assert (blocks["transfer"] == 7).all()
    assert blocks["wait"][:, 4].tolist() == [0, 50, 0, 50, 0, 0]


@pytest.mark.parametrize("phase", ["input", "forward", "backward", "optimiser"])
def test_after_the_optimiser_its_own_step_is_to_blame(phase: str, story: Any, run_at: Any, tmp_path: Path) -> None:
    run = run_at(tmp_path, ranks=3)
    sleeps = {(1, 4, phase): 50, **{(1, step, "input"): 1 for step in (3, 5)}}
    found = simulate(run, story, 3, 9, sleeps, everybody(3))
    assert found.ranks[1].blamed == dict(Counter([phase, "input", "input"]))
    assert blocks_of(run)["wait"][:, 4].tolist() == [50, 0, 50]
    free = {what.name: what.step_ms for what in found.what_ifs}
    # The first step has none before it that is known: eight count.
    assert free["slowest rank as fast as the others"] == pytest.approx(38 + 7 + 52 / 9 - 52 / 8)


@pytest.mark.parametrize("late", [False, True])
def test_between_rare_meetings_work_adds_up(late: bool, story: Any, run_at: Any, tmp_path: Path) -> None:
    """Local SGD: 10 ms longer in each forward pass are 40 ms at the fourth step's meeting."""
    run = run_at(tmp_path, ranks=3)
    sleeps = {(0, step, "forward"): 10 for step in range(16)} | {(2, step, "backward"): 6 for step in (1, 5)}
    found = simulate(run, story, 3, 16, sleeps, lambda _, s: everybody(3)(_, s) if s % 4 == 3 else [], late=late)
    assert blamed(found) == {(0, "forward"): 4}
    assert found.ranks[0].caused_wait_ms == pytest.approx(np.mean([37, 37, 40, 40]))
    assert found.what_ifs == ()


@pytest.mark.parametrize("chunk", [900, 1 << 20])
def test_steps_behind(chunk: int, story: Any, run_at: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of grace: a delay of one rank meets the others two steps later, unless it has caught up."""
    monkeypatch.setattr("mlb.results.log._BIG_CHUNK_BYTES", chunk)
    run = run_at(tmp_path, ranks=3)
    sleeps = {(1, step, "backward"): 30 for step in range(4, 30)}
    found = simulate(
        run,
        story,
        3,
        30,
        sleeps,
        everybody(3, 2),
        lambda _: {"ranks": [], "steps_behind": 2},
    )
    blocks = blocks_of(run)
    assert (blocks["transfer"] == 7).all()
    assert (blocks["wait"][1] == 0).all()
    # 45 ms a step are the others' own pace: they are held up once two steps of grace are used up.
    assert (blocks["wait"][0, 10:] == 30).all()
    assert (blocks["wait"][0, :6] == 0).all()
    assert blamed(found) == {(1, "backward"): int((blocks["wait"][0] > 0).sum())}


def test_a_group_that_the_log_does_not_tell_of_is_no_guess(story: Any, run_at: Any, tmp_path: Path) -> None:
    run = run_at(tmp_path, ranks=4, max_steps=9).node()
    simulate(run, story, 4, 9, {}, *ring(4))
    path = run.folder.rank_events(1)
    path.write_bytes(path.read_bytes().replace(b'"ranks":[0,1,2]', b'"ranks":[0,1,"x"]'))
    (said,) = [w for w in compute(run.folder).warnings if "waits for ranks that the log does not name" in w]
    assert said.startswith("In 9 steps")


def test_what_a_pattern_does_around_its_collectives_is_named(story: Any, run_at: Any, tmp_path: Path) -> None:
    """Compression is the rank's own work, not the network's: 12 of 60 ms in which it stood still."""
    run = run_at(tmp_path, ranks=2, max_steps=6).node()
    for rank in range(2):
        tale = story(rank).start().sync()
        for _ in range(6):
            spans = {"collective_arrival_ns": [108 * MS], "collective_end_ns": [156 * MS]}
            tale.step(5 * MS, 5 * MS, 40 * MS, 50 * MS, 60 * MS, 20 * MS, 1 * MS, **spans)
        run.tell(tale.stop())
    metrics = compute(run.folder)
    assert metrics.communication is not None
    first = metrics.communication.ranks[0]
    assert (first.handling_ms, first.parts_ms["exposed_transfer"], first.parts_ms["other"]) == (12.0, 48.0, 13.0)
    (table,) = [table for table in render(metrics).tables if table.title == "The mean training step"]
    assert table.notes[1].endswith("communicated, compression included: 12.000 ms.")
