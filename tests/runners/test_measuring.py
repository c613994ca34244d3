"""What the stopwatch and the loop write about collectives, clocks and the cost of measuring."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mlb.aggregation.base import Aggregation
from mlb.aggregation.exchange import Exchange
from mlb.results.overhead import measuring_cost
from mlb.results.reader import read_rank
from mlb.results.writer import EventLog
from mlb.runners.alignment import ClockExchange
from mlb.runners.clock import HostClock
from mlb.runners.loop import TrainingLoop
from mlb.runners.overhead import Overhead
from mlb.runners.stopwatch import Stopwatch

from .test_loop import SPEC, ScriptedTask
from .test_stopwatch import ScriptedClock


def test_a_collective_may_end_after_the_step_and_holds_it_back() -> None:
    clock = ScriptedClock(iter([100, 110, 120, 130, 140, 155]))
    watch = Stopwatch(clock)
    watch.begin(1, 0)  # 100
    first = watch.collective("all_reduce", 8)  # 110
    watch.collective("all_reduce", 16)()  # 120, 130
    watch.end()  # 140
    assert watch.finished() == []
    first()  # 155
    (step,) = watch.finished()
    times = watch.times(step)
    assert times["collective_arrival_ns"] == [10, 20]
    assert times["collective_end_ns"] == [55, 30]
    assert times["collective_bytes"] == [8, 16]


def test_a_collective_that_never_ends_is_logged_as_such() -> None:
    watch = Stopwatch(HostClock())
    watch.begin(1, 0)
    watch.collective("all_reduce", 8)
    watch.end()
    (step,) = watch.finished(wait=True)
    assert watch.times(step)["collective_end_ns"] == [None]


def test_where_the_rank_was_blocked() -> None:
    """The end of backward under DDP and what the loop adds to it are one stretch."""
    clock = ScriptedClock(iter([0, 10, 20, 30, 50, 55, 60]))
    watch = Stopwatch(clock)
    watch.begin(1, 0)  # 0
    watch.collective("all_reduce", 8)()  # 10, 20
    watch.backward_done()  # 30
    watch.lap("communication")  # 50
    watch.lap("communication")  # 55
    watch.end()  # 60
    (step,) = watch.finished()
    times = watch.times(step)
    assert (times["blocked_start_ns"], times["blocked_end_ns"]) == ([30], [55])
    assert (times["backward_ns"], times["communication_ns"], times["other_ns"]) == (30, 25, 5)


class Alone:
    rank, world_size = 0, 1

    def tell_all(self, value: object) -> object:
        return value


def train(path: Path, steps: int, **spec: object) -> None:
    log = EventLog(path, rank=0, local_rank=0, world_size=1, node=0, run_id="r", launched_unix_ns=0)
    task = ScriptedTask([30.0] * 99)
    changed = replace(SPEC, max_steps=steps, max_epochs=99, **spec)
    TrainingLoop(
        changed,
        task,
        Aggregation(task.model, Exchange(1)),
        log,
        __import__("torch").device("cpu"),
        ClockExchange(Alone()),
    ).run()
    log.close()


def test_clocks_are_compared_before_between_and_after(tmp_path: Path) -> None:
    train(tmp_path / "log", 6)  # two steps an epoch
    lines = (tmp_path / "log").read_text().splitlines()
    order = [
        line.split('"')[3]
        for line in lines
        if any(f'"{key}"' in line for key in ("clock_sync", "run_start", "epoch_start", "run_stop"))
    ]
    assert order == [
        "clock_sync",
        "run_start",
        "epoch_start",
        *["clock_sync", "epoch_start"] * 2,
        "run_stop",
        "clock_sync",
    ]


def test_half_of_the_steps_are_left_unmeasured_and_none_is_lost(tmp_path: Path) -> None:
    train(tmp_path / "log", 40, measure_overhead=True)
    record = read_rank(tmp_path / "log", 0)
    assert record.all_steps.steps == 40
    text = (tmp_path / "log").read_text()
    assert (text.count('"key":"bare_step"'), text.count('"key":"step"')) == (20, 20)
    assert record.malformed == 0
    # The first four steps are no pairs: they pay for what the others find.
    assert sorted(record.overhead_pairs) == list(range(4, 40, 2))
    cost = measuring_cost([record])
    assert cost is not None
    assert cost.pairs == 18
    assert cost.low <= cost.ratio <= cost.high
    assert (cost.cpu_low or 0) <= (cost.cpu_ratio or 0) <= (cost.cpu_high or 0)
    assert cost.cpu_low


def test_one_block_of_steps_in_so_many_is_measured(tmp_path: Path) -> None:
    train(tmp_path / "log", 57, measure_every=3)
    record = read_rank(tmp_path / "log", 0)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    kinds = {line["step"]: line["key"] for line in lines if line["key"] in ("step", "bare_step")}
    assert {step for step, kind in kinds.items() if kind == "step"} == {*range(10), *range(30, 40)}
    assert sorted(kinds) == list(range(57)), "no step without a line"
    assert (record.malformed, record.overlap_ns, record.all_steps.steps) == (0, 0, 57)
    bare = next(line for line in lines if line["key"] == "bare_step")
    assert not any(name.startswith(("collective", "forward")) for name in bare)


def test_steps_that_are_not_measured_are_logged_in_order_too() -> None:
    """On a GPU steps are known late: a later one must not be written before an earlier one of the other kind."""
    clock = ScriptedClock(iter(range(0, 1000, 10)))
    watch = Stopwatch(clock)
    clock.ready_until = -1
    for step in range(4):
        watch.begin(1, step, measured=step % 2 == 0)
        watch.lap("forward")
        watch.collective("all_reduce", 8)()
        watch.end()
        assert watch.finished() == []
    clock.ready_until = 999
    done = watch.finished()
    assert [step.step for step in done] == [0, 1, 2, 3]
    assert [len(watch.times(step)) for step in done] == [15, 2, 15, 2]


def test_every_rank_leaves_out_the_same_steps(tmp_path: Path) -> None:
    logs = [
        EventLog(tmp_path / name, rank=0, local_rank=0, world_size=1, node=0, run_id="r", launched_unix_ns=0)
        for name in "ab"
    ]
    ranks = [Overhead(HostClock(), log, seed=3) for log in logs]
    drawn = [[overhead.is_bare(step) for step in range(200)] for overhead in ranks]
    assert drawn[0] == drawn[1]
    assert all(a != b for a, b in zip(drawn[0][0::2], drawn[0][1::2], strict=True)), "one of each pair"
    assert 30 < sum(drawn[0][0::2]) < 70, "in no fixed order"
    for log in logs:
        log.close()


def test_the_cost_is_that_of_the_pairs_all_ranks_have() -> None:
    from mlb.results.rank import RankRecord

    records = [RankRecord(rank) for rank in range(2)]
    for record in records:
        record.overhead_pairs = {2 * n: (100.0, 101.0) for n in range(50)}
        record.overhead_cpu_pairs = {2 * n: (100.0, 100.0 + n % 3) for n in range(50)}
        record.overhead_ns, record.log_thread_ns = 1_000, 5
    del records[1].overhead_pairs[0]
    cost = measuring_cost(records)
    assert cost is not None
    assert (cost.pairs, cost.log_thread_share) == (49, 0.005)
    assert cost.ratio == pytest.approx(1.015)
    assert cost.cpu_ratio == pytest.approx(1.015)
    assert measuring_cost([RankRecord(0)]) is None
