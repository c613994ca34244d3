"""Transfer, wait, hidden and exposed of generated steps, against a count of single nanoseconds; all adds up."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlb.results.breakdown import STEP_PARTS, Breakdown, break_down
from mlb.results.clocks import RankClock, Sync, read_syncs
from mlb.results.communication import communication_of
from mlb.results.join import JoinHealth, join
from mlb.results.keys import PHASES
from mlb.results.reader import RankReader
from mlb.results.releases import Releases

short = st.integers(0, 30)
none = st.just(([], 0))
phases = st.lists(short, min_size=len(PHASES), max_size=len(PHASES))


@st.composite
def ranks_and_steps(draw: Any) -> list[list[dict[str, Any]]]:
    """Per rank, per step: phases, and the same number of collectives on all ranks, anywhere in the step; for each of
    the first three collectives of a step the ranks that this one waits for, none for all, and how many steps before."""
    ranks, steps = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    counts = [draw(st.integers(0, 3)) for _ in range(steps)]
    grouped = draw(st.booleans())
    group = st.tuples(st.lists(st.integers(0, ranks - 1), unique=True), st.integers(0, 2)) if grouped else none
    told: list[list[dict[str, Any]]] = []
    for _ in range(ranks):
        told.append([])
        groups = draw(st.lists(group, min_size=3, max_size=3))
        for step in range(steps):
            lengths = draw(phases)
            arrivals = sorted(
                draw(st.lists(st.integers(0, sum(lengths)), min_size=counts[step], max_size=counts[step]))
            )
            ends = [arrival + draw(short) for arrival in arrivals]
            told[-1].append({"phases": lengths, "arrivals": arrivals, "ends": ends, "groups": groups})
    return told


def write(run: Any, story: Any, told: list[list[dict[str, Any]]], clocks: list[int], *, synced: bool = True) -> None:
    for rank, steps in enumerate(told):
        tale = story(rank, clock_ns=clocks[rank]).start()
        if synced:
            tale.sync(error_ns=0)
        for number, (ranks, behind) in enumerate(steps[0]["groups"] if steps else ()):
            if (ranks, behind) != ([], 0):
                tale.event("group", number=number + 1, ranks=ranks, steps_behind=behind)
        for step in steps:
            before, blocked = sum(step["phases"][:4]), step["phases"][4]
            numbers = [n + 1 if step["groups"][n] != ([], 0) else 0 for n in range(len(step["arrivals"]))]
            tale.step(
                *step["phases"],
                **({"collective_group": numbers} if any(numbers) else {}),
                collective_operation=["all_reduce"] * len(step["arrivals"]),
                collective_bytes=[8] * len(step["arrivals"]),
                collective_arrival_ns=step["arrivals"],
                collective_end_ns=step["ends"],
                blocked_start_ns=[before] if blocked else [],
                blocked_end_ns=[before + blocked] if blocked else [],
            )
        run.tell(tale.stop())


def by_counting(told: list[list[dict[str, Any]]], starts: list[list[int]], rank: int, step: int) -> dict[str, int]:
    """The definition, nanosecond by nanosecond: slow, and written without looking at the other way."""
    mine, start = told[rank][step], starts[rank][step]
    before, blocked = sum(mine["phases"][:4]), mine["phases"][4]
    counts = dict.fromkeys(("transfer", "wait", "exposed_transfer", "exposed_wait", "hidden", "handling"), 0)
    releases = []
    for k, arrival in enumerate(mine["arrivals"]):
        ranks, behind = mine["groups"][k]
        others = [
            r for r in ranks or range(len(told)) if step >= behind and k < len(told[r][step - behind]["arrivals"])
        ]
        there = [starts[r][step - behind] + told[r][step - behind]["arrivals"][k] for r in others if r != rank]
        releases.append(max([start + arrival, *there]))
    for t in range(start, start + sum(mine["phases"]) + 100):
        inside = [k for k, (a, e) in enumerate(zip(mine["arrivals"], mine["ends"], strict=True)) if a <= t - start < e]
        if not inside:
            counts["handling"] += before <= t - start < before + blocked
            continue
        kind = "transfer" if any(t >= releases[k] for k in inside) else "wait"
        counts[kind] += 1
        if before <= t - start < before + blocked:
            counts[f"exposed_{kind}"] += 1
        else:
            counts["hidden"] += 1
    return counts


@settings(max_examples=150)
@given(
    told=ranks_and_steps(),
    clocks=st.lists(st.integers(0, 10**16), min_size=4, max_size=4),
    chunk=st.sampled_from([300, 700, 1 << 20]),
)
def test_every_step_of_every_rank_is_told_apart_as_defined(
    told: list[list[dict[str, Any]]], clocks: list[int], chunk: int, story: Any, run_at: Any
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlb.results.log._BIG_CHUNK_BYTES", chunk)
        run = run_at(Path(folder), ranks=len(told))
        write(run, story, told, clocks)
        readers = [RankReader(run.folder.rank_events(rank), rank) for rank in range(len(told))]
        maps = {rank: RankClock(read_syncs(run.folder.rank_events(rank))) for rank in range(len(told))}
        releases = Releases(maps)
        found = [break_down(joined, releases, len(told)) for joined in join(readers, JoinHealth())]
    starts = [[sum(sum(s["phases"]) for s in steps[:n]) for n in range(len(steps))] for steps in told]
    place = {int(number): (block, p) for block in found for p, number in enumerate(block.joined["step"][0])}
    assert sorted(place) == list(range(len(told[0])))
    for step, (block, p) in place.items():
        for rank in range(len(told)):
            expected = by_counting(told, starts, rank, step)
            got = {
                "transfer": block.transfer_ns[rank, p],
                "wait": block.wait_ns[rank, p],
                "exposed_transfer": block.parts["exposed_transfer"][rank, p],
                "exposed_wait": block.parts["exposed_wait"][rank, p],
                "hidden": block.hidden_ns[rank, p],
                "handling": block.handling_ns[rank, p],
            }
            assert got == expected
    assert_adds_up(found)


def assert_adds_up(found: list[Breakdown]) -> None:
    for block in found:
        assert (block.residual_ns == 0).all()
        assert all((block.parts[part] >= 0).all() for part in STEP_PARTS)


@settings(max_examples=50)
@given(told=ranks_and_steps(), clocks=st.lists(st.integers(0, 10**16), min_size=4, max_size=4))
def test_it_adds_up_without_clocks_too(
    told: list[list[dict[str, Any]]], clocks: list[int], story: Any, run_at: Any
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = run_at(Path(folder), ranks=len(told))
        write(run, story, told, clocks, synced=False)
        reduction, communication = communication_of(run.folder, run.spec)
    assert reduction.alignment.clocks is None
    assert communication is not None
    assert communication.worst_residual == 0.0


def test_a_rank_alone_communicates_nothing(story: Any, run_at: Any, tmp_path: Path) -> None:
    run = run_at(tmp_path, ranks=1).tell(story().start().sync().step(5, 1, 9, 20, 0, 3, 2).stop())
    _, communication = communication_of(run.folder, run.spec)
    assert communication is not None
    (rank,) = communication.ranks
    assert (rank.transfer_ms, rank.wait_ms, rank.parts_ms["exposed_transfer"]) == (0, 0, 0)
    assert (communication.overlap, communication.bus_bytes_per_s) == (None, None)


def test_offset_and_drift_are_taken_out() -> None:
    """A clock 3 s ahead that gains 100 ppm, compared twice: exact in between, and beyond the last comparison."""
    zero, later = 10**15, 10**15 + 50 * 10**9
    clock = RankClock([Sync(t, -3 * 10**9 - (t - zero) // 10_000, 10) for t in (zero, later)])
    for t in (zero, zero + 7 * 10**9, later, later + 10**9):
        (ahead,) = clock.to_first_ns(np.array([t]))
        assert abs(ahead - (-3 * 10**9 - (t - zero) // 10_000)) <= 1
    assert clock.drift_ppm == pytest.approx(-100)
    assert clock.trouble() == ""


def test_a_clock_that_jumped_is_not_trusted() -> None:
    syncs = [Sync(0, 0, 1_000), Sync(10**9, 1_000, 1_000), Sync(2 * 10**9, 40_000_000, 1_000)]
    assert "ppm against rank 0's" in RankClock(syncs).trouble()
    assert RankClock(syncs[:2]).trouble() == ""
