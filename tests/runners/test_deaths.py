"""The order in which processes die, as the agent sees it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mlb.results.process import start_ticks
from mlb.results.run import RunFolder
from mlb.results.writer import EventLog
from mlb.runners.deaths import DeathWatch
from mlb.runners.failures import count_oom_kills, describe
from support import wait_until

WAITING = "import sys; sys.stdin.read()"


def waiting_process() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WAITING], stdin=subprocess.PIPE)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_deaths_come_in_their_order(tmp_path: Path, order: tuple[int, ...]) -> None:
    """The victims are killed by a process that waits for each to end, far quicker than any polling could tell."""
    processes = [waiting_process() for _ in range(3)]
    files = [(rank, tmp_path / f"{rank}.pid") for rank in range(3)]
    known: list[dict[int, int]] = []
    watch = DeathWatch(files, known.append)
    for (_, path), process in zip(files, processes, strict=True):
        path.with_suffix(".new").write_text(str(process.pid))
        path.with_suffix(".new").replace(path)
    wait_until(lambda: known, "all pids to be known")
    assert known == [{rank: process.pid for rank, process in enumerate(processes)}]
    for number, rank in enumerate(order, start=1):
        os.kill(processes[rank].pid, signal.SIGKILL)
        wait_until(lambda number=number: len(watch.deaths) == number, f"death {number}")
    watch.close()
    assert [rank for rank, _ in watch.deaths] == list(order)
    for process in processes:
        process.communicate()


def test_a_process_that_was_dead_before_it_was_seen(tmp_path: Path) -> None:
    process = waiting_process()
    process.communicate()
    (tmp_path / "0.pid").write_text(str(process.pid))
    watch = DeathWatch([(0, tmp_path / "0.pid")], lambda _: None)
    wait_until(lambda: watch.deaths, "the death to be noticed")
    watch.close()
    assert [rank for rank, _ in watch.deaths] == [0]


def test_closing_takes_in_what_has_happened(tmp_path: Path) -> None:
    watch = DeathWatch([(0, tmp_path / "never.pid")], lambda _: None)
    watch.close()
    assert watch.deaths == []


def test_a_rank_without_last_words_is_described_by_its_exit_code(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    folder.rank_log(0).write_bytes(b"\xff one\ntwo\n" * 30)
    failure = describe(folder, rank=0, pid=5, exit_code=-9, seen_unix_ns=1)
    assert failure.message.startswith("killed by SIGKILL")
    assert not failure.collateral
    assert len(failure.last_lines) == 20
    assert failure.last_lines[-1] == "two"


def test_a_kill_while_memory_ran_out_says_so(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    killed = describe(folder, rank=0, pid=5, exit_code=-9, seen_unix_ns=1, oom_kills=2)
    assert killed.message == "killed by SIGKILL: memory ran out, for which the kernel ended 2 processes during the run"
    ended = describe(folder, rank=0, pid=5, exit_code=-15, seen_unix_ns=1, oom_kills=2)
    assert ended.message == "killed by SIGTERM"


def test_the_kernels_count_of_those_it_ended(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("pgfault 12\noom_kill 3\n")
    assert count_oom_kills(tmp_path / "vmstat") == 3
    (tmp_path / "vmstat").write_text("pgfault 12\nodd\n")
    assert count_oom_kills(tmp_path / "vmstat") == 0
    assert count_oom_kills(tmp_path / "none") == 0


def test_a_ranks_own_words_are_used(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    log = EventLog(folder.rank_events(0), rank=0, local_rank=0, world_size=1, node=0, run_id="r", launched_unix_ns=0)
    log.event("failure", kind="RuntimeError", message="[gloo] Connection closed by peer", collateral=True)
    log.close()
    failure = describe(folder, rank=0, pid=5, exit_code=1, seen_unix_ns=1)
    assert failure.message == "RuntimeError: [gloo] Connection closed by peer"
    assert failure.collateral


def test_start_ticks_name_a_process() -> None:
    assert start_ticks(os.getpid()) > 0
    assert start_ticks(2**22 + 1) == 0
