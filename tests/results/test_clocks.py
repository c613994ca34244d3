"""A rank's clock outside of its comparisons with rank 0: no slope out of their errors, and a bound that grows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlb.results.clocks import RankClock, Sync, last_used_ns
from mlb.results.communication import communication_of
from mlb.results.metrics import compute
from mlb.results.report import to_text

US, MS, S = 1_000, 1_000_000, 1_000_000_000
AHEAD = 7 * S


def offset_at(clock: RankClock, time_ns: int) -> int:
    (ahead,) = clock.to_first_ns(np.array([time_ns]))
    return int(ahead)


def test_two_comparisons_within_milliseconds_give_no_slope() -> None:
    """20 us of noise over 4 ms would be 5,000 ppm: 300 ms a minute later."""
    clock = RankClock([Sync(0, AHEAD, 20 * US), Sync(4 * MS, AHEAD + 20 * US, 20 * US)], [60 * S])
    assert clock.trouble() == ""
    assert offset_at(clock, 60 * S) == AHEAD + 20 * US
    assert clock.drift_ppm is None
    assert clock.error_ns == pytest.approx(20 * US + 100e-6 * 60 * S, rel=1e-3), "clocks may run 100 ppm apart"


def test_the_slope_is_that_of_comparisons_far_enough_apart() -> None:
    """A drift of 40 ppm over a minute, with two comparisons at its end whose own slope is noise of 1 %."""
    drifted = AHEAD + 60 * S * 40 // 1_000_000
    noisy = Sync(60 * S + MS, drifted + 10 * US, 20 * US)
    clock = RankClock([Sync(0, AHEAD, 20 * US), Sync(60 * S, drifted, 20 * US), noisy], [90 * S])
    assert clock.drift_ppm == pytest.approx(40, abs=0.7)
    truth = AHEAD + 90 * S * 40 // 1_000_000
    assert abs(offset_at(clock, 90 * S) - truth) <= clock.error_ns
    assert 20 * US < clock.error_ns < 600 * US


@pytest.mark.parametrize("ppm", [-90, -30, 0, 30, 90])
@pytest.mark.parametrize("syncs_s", [(0.0,), (0.0, 0.001), (0.0, 2.0), (0.0, 30.0), (0.0, 30.0, 30.001)])
def test_the_bound_holds_before_and_after_the_comparisons(ppm: int, syncs_s: tuple[float, ...]) -> None:
    def truth(time_ns: int) -> int:
        return AHEAD + time_ns * ppm // 1_000_000

    # The errors of the comparisons are as large as they can be, now to one side and now to the other.
    syncs = [Sync(round(s * S), truth(round(s * S)) + 15 * US * (-1) ** i, 15 * US) for i, s in enumerate(syncs_s)]
    for time_ns in (-10 * S, syncs[-1].time_ns + 5 * S, syncs[-1].time_ns + 600 * S):
        clock = RankClock(syncs, [time_ns])
        assert abs(offset_at(clock, time_ns) - truth(time_ns)) <= clock.error_ns + 1
    assert RankClock(syncs, [0, syncs[-1].time_ns]).error_ns == 15 * US


def test_ranks_of_one_machine_have_one_clock() -> None:
    clock = RankClock([Sync(100 * S, 5 * US, 9 * US), Sync(160 * S, -9 * US, 9 * US)], [90 * S, 7000 * S])
    assert abs(offset_at(clock, 7000 * S)) <= clock.error_ns == 9 * US


def test_up_to_where_a_log_needs_its_clock(story: Any, tmp_path: Path) -> None:
    path = tmp_path / "log"
    tale = story().start().sync().step(*[MS] * 7)
    path.write_bytes(tale.bytes + b"torn")
    assert last_used_ns(path) == tale.clock_ns, "a log that was cut off: its last step"
    path.write_bytes(tale.wait(S).sync().wait(60 * S).stage("finish", S).stop().bytes)
    assert last_used_ns(path) == tale.clock_ns - 61 * S, "a whole one: the comparison behind the steps"
    path.write_bytes(b"")
    assert last_used_ns(path) == 0


def test_a_resumed_run_that_was_cut_off_is_told_apart_as_a_whole_one(story: Any, run_at: Any, tmp_path: Path) -> None:
    """Two comparisons 0.8 ms apart, then a minute of steps: 85 ppm of noise must not move them."""
    found = {}
    for second_us in (0, 68):  # 85 ppm of 0.8 ms
        run = run_at(tmp_path / str(second_us), nodes=2)
        for rank in range(2):
            tale = story(rank, clock_ns=100 * rank * S).start(node=rank).sync(error_ns=rank * 70 * US)
            noise = {"offset_ns": -tale.zero_ns + rank * second_us} if second_us else {}
            tale.wait(800 * US).sync(error_ns=rank * 70 * US, **noise)
            for _ in range(300):
                tale.step(0, 0, 150 * MS, 45 * MS, 5 * MS, 0, 0)
            run.tell(tale)
        _, communication = communication_of(run.folder, run.spec)
        assert communication is not None
        found[second_us] = communication
    for rank, truth in zip(found[68].ranks, found[0].ranks, strict=True):
        assert rank.transfer_ms == pytest.approx(truth.transfer_ms, abs=0.001)
    error_ns = found[68].reduction.alignment.error_ns
    assert error_ns is not None
    assert error_ns == pytest.approx(70 * US + 100e-6 * 60 * S, rel=0.01), "a minute after the last comparison"


def test_on_gpus_the_bound_is_said_to_be_of_the_hosts(story: Any, run_at: Any, tmp_path: Path) -> None:
    said = {}
    for backend in ("gloo", "nccl"):
        run = run_at(tmp_path / backend, backend=backend)
        for rank in range(2):
            tale = story(rank).start().sync()
            run.tell(tale.step(*[MS] * 7).step(*[MS] * 7).sync().stop())
        said[backend] = " ".join(to_text(compute(run.folder)).split())
    assert "us between ranks (drift" in said["gloo"]
    assert "GPU events" not in said["gloo"]
    assert "us between hosts (drift" in said["nccl"]
    assert "GPU events, whose delay behind the host and drift from it" in said["nccl"]
