"""The mark of the run that uses a fleet."""

import json
import os
import socket
import threading
from pathlib import Path

from mlb.provisioner import hold
from mlb.results.holder import holder_in, mark_in


def test_one_run_at_a_time(tmp_path: Path) -> None:
    assert hold.take(tmp_path, "a")
    assert not hold.take(tmp_path, "b")
    hold.release(tmp_path, "b")
    assert json.loads(mark_in(tmp_path).read_text())["run_id"] == "a"
    hold.release(tmp_path, "a")
    assert hold.take(tmp_path, "b")
    assert [path.name for path in tmp_path.iterdir()] == ["held-by.json"]


def test_a_launch_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    mark = {"run_id": "a", "pid": os.getpid(), "start_ticks": 1, "host": socket.gethostname()}
    mark_in(tmp_path).write_text(json.dumps(mark))
    assert holder_in(tmp_path) is None
    assert hold.take(tmp_path, "b")


def test_a_run_that_was_launched_holds_until_it_is_released(tmp_path: Path) -> None:
    assert hold.take(tmp_path, "a")
    hold.hand_over(tmp_path, "a", "t-0")
    hold.give_up(tmp_path, "a")
    holder = holder_in(tmp_path)
    assert holder is not None
    assert (holder.run_id, holder.host) == ("a", "t-0")
    assert not hold.take(tmp_path, "b")
    hold.release(tmp_path, "a")
    assert holder_in(tmp_path) is None


def test_a_launch_that_failed_gives_up_its_own_mark(tmp_path: Path) -> None:
    assert hold.take(tmp_path, "a")
    hold.give_up(tmp_path, "a")
    assert not mark_in(tmp_path).exists()


def test_of_many_at_once_one_gets_it(tmp_path: Path) -> None:
    stale = {"run_id": "z", "pid": os.getpid(), "start_ticks": 1, "host": socket.gethostname()}
    for _ in range(20):
        mark_in(tmp_path).write_text(json.dumps(stale))
        start, got = threading.Barrier(8), []

        def contend(name: str, start: threading.Barrier = start, got: list[str] = got) -> None:
            start.wait()
            if hold.take(tmp_path, name):
                got.append(name)

        threads = [threading.Thread(target=contend, args=(str(i),)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1
