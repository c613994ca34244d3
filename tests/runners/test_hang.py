"""Silence that is a hang, and silence that is work."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from queue import Empty, Queue

import pytest
from mlb.results.line import encode
from mlb.results.run import RunFolder
from mlb.runners.hang import QUIET_FACTOR, HangWatch, collect_stacks
from support import wait_until

RANK = """
import faulthandler, os, signal, sys, time
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 2)
faulthandler.register(signal.SIGUSR1, all_threads=True)
open(sys.argv[1] + ".ready", "w").close()
source = "import time\\ntime.sleep(600)\\n"
exec(compile(source, sys.argv[2], "exec"))
"""
"""Waits in a file whose name is given: that is what its stack shows."""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path)
    made.create()
    return made


def log(folder: RunFolder, rank: int, key: str, seq: int) -> None:
    with folder.rank_events(rank).open("ab") as file:
        file.write(encode(key, seq, 1, {}))


def test_silence_within_steps_is_a_hang(folder: RunFolder) -> None:
    for rank in (0, 1):
        log(folder, rank, "step", 0)
    said: Queue[str] = Queue()
    watch = HangWatch(folder, [0, 1], 0.5, said.put)
    assert "no event of any of its ranks" in said.get(timeout=60)
    watch.close()


@pytest.mark.parametrize("key", ["stage", "eval_start"])
def test_silence_in_start_up_and_evaluation_has_six_times_as_long(folder: RunFolder, key: str) -> None:
    log(folder, 0, "step", 0)
    log(folder, 0, key, 1)
    said: Queue[str] = Queue()
    watch = HangWatch(folder, [0], 0.5, said.put)
    with pytest.raises(Empty):
        said.get(timeout=0.5 * QUIET_FACTOR / 2)
    said.get(timeout=60)
    watch.close()


def test_one_rank_that_goes_on_is_no_hang_of_the_node(folder: RunFolder) -> None:
    for rank in (0, 1):
        log(folder, rank, "step", 0)
    said: Queue[str] = Queue()
    watch = HangWatch(folder, [0, 1], 1.0, said.put)
    for seq in range(1, 20):
        log(folder, 1, "step", seq)
        with pytest.raises(Empty):
            said.get(timeout=0.1)
    watch.close()


def start(folder: RunFolder, rank: int, where: str) -> subprocess.Popen[bytes]:
    path = folder.rank_log(rank)
    process = subprocess.Popen([sys.executable, "-c", RANK, str(path), where])
    wait_until(Path(f"{path}.ready").exists, "the rank's start")
    return process


@pytest.mark.parametrize("suspended", [False, True])
def test_the_stacks_tell_who_waits_for_whom(folder: RunFolder, suspended: bool) -> None:
    waiting = start(folder, 0, "/x/torch/distributed/distributed_c10d.py")
    other = start(folder, 1, "/x/torch/distributed/work.py" if suspended else "/x/models/awd_lstm.py")
    try:
        if suspended:
            os.kill(other.pid, signal.SIGSTOP)
        assert collect_stacks(folder, {0: waiting.pid, 1: other.pid}) == (1,)
        assert "distributed_c10d.py" in folder.rank_log(0).read_text()
    finally:
        for process in (waiting, other):
            process.kill()
            process.wait()
