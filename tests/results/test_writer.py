"""The writer: what is noted is on the disk, in order, once; and a disk that fails says so."""

import errno
import json
import math
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlb.errors import RunFailed
from mlb.results import line
from mlb.results.log import read_log
from mlb.results.writer import EventLog

IDENTITY: dict[str, Any] = {
    "rank": 1,
    "local_rank": 1,
    "world_size": 2,
    "node": 0,
    "run_id": "a-run",
    "launched_unix_ns": 17,
}


def open_log(path: Path, **options: Any) -> EventLog:
    # Only `flush`, `close` and full buffers write: the clock has no part in these tests.
    return EventLog(path, **{**IDENTITY, "flush_s": 3600.0, **options})


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


class FakeDisk:
    """An `os.write` with room for a number of bytes; then the given error."""

    def __init__(self, room: int, error: int = errno.ENOSPC) -> None:
        self.room, self.error = room, error

    def __call__(self, handle: int, data: bytes) -> int:
        if not self.room:
            raise OSError(self.error, os.strerror(self.error))
        written = os.write(handle, data[: self.room])
        self.room -= written
        return written


@pytest.fixture
def log_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeDisk], EventLog]:
    """A log that has its first line and writes the rest to the given disk."""

    def make(disk: FakeDisk) -> EventLog:
        log = open_log(tmp_path / "log")
        monkeypatch.setattr(log, "_write", disk)
        return log

    return make


def test_the_first_line_is_there_at_once(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", clock=lambda: 5, unix_clock=lambda: 1_000)
    (first,) = lines_of(tmp_path / "log")
    assert {"host", "pid"} <= set(first)
    expected = {"key": "log_start", "seq": 0, "time_ns": 5, "schema_version": 1, "unix_time_ns": 1_000, **IDENTITY}
    assert {name: first[name] for name in expected} == expected
    log.close()


def test_events_are_written_in_order_and_stamped_at_the_call(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", clock=iter(range(100)).__next__)
    log.event("a", x=1)
    log.event("b", time_ns=3, y=[1, None, "ü"])
    log.event("c")
    log.flush()
    a, b, c = lines_of(tmp_path / "log")[1:]
    assert (a["key"], a["seq"], a["x"]) == ("a", 1, 1)
    assert b == {"key": "b", "seq": 2, "time_ns": 3, "y": [1, None, "ü"]}
    assert a["time_ns"] < c["time_ns"]
    log.close()


def test_close_writes_the_last_line_and_is_final(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", unix_clock=lambda: 9)
    log.event("a")
    log.close()
    log.close()
    assert [entry["key"] for entry in lines_of(tmp_path / "log")] == ["log_start", "a", "log_stop"]
    assert lines_of(tmp_path / "log")[-1]["unix_time_ns"] == 9
    with pytest.raises(RunFailed, match="closed"):
        log.event("late")


def test_a_full_buffer_wakes_the_writing_thread(tmp_path: Path) -> None:
    written = threading.Event()

    class Noticing(EventLog):
        @staticmethod
        def _write(handle: int, data: bytes) -> int:
            if b'"last"' in data:
                written.set()
            return os.write(handle, data)

    log = Noticing(tmp_path / "log", **IDENTITY, flush_bytes=4096, flush_s=3600.0)
    for _ in range(7):
        log.event("step")
    log.event("last")
    assert written.wait(30), "the thread did not write a full buffer"
    log.close()


def test_the_writing_thread_writes_after_its_time(tmp_path: Path) -> None:
    written = threading.Event()

    class Noticing(EventLog):
        @staticmethod
        def _write(handle: int, data: bytes) -> int:
            if b'"one"' in data:
                written.set()
            return os.write(handle, data)

    log = Noticing(tmp_path / "log", **IDENTITY, flush_s=0.001)
    log.event("one")
    assert written.wait(30), "the thread did not write after flush_s"
    log.close()


def test_threads_share_a_log(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", flush_bytes=8192)

    def work(worker: int) -> None:
        for number in range(1000):
            log.event("work", worker=worker, number=number)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    read = read_log(tmp_path / "log")
    assert read.health.clean
    assert read.health.lines == 8002
    assert [event.seq for event in read.events] == list(range(8002))
    for worker in range(8):
        numbers = [e.fields["number"] for e in read.events if e.fields.get("worker") == worker]
        assert numbers == list(range(1000))


def test_a_full_disk_is_said_at_once(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(RunFailed, match=r"/dev/full cannot be written: disk full \(No space left on device\)"):
        open_log(Path("/dev/full"))
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errno.ENOSPC, "disk full"),
        (errno.EDQUOT, "disk quota used up"),
        (errno.EIO, "the disk reports an I/O error"),
        (errno.EFBIG, "File too large"),
    ],
)
def test_a_failed_write_is_raised_from_then_on(log_on: Callable[..., EventLog], error: int, words: str) -> None:
    log = log_on(FakeDisk(room=0, error=error))
    log.event("a")
    with pytest.raises(RunFailed, match=words):
        log.flush()
    for call in (lambda: log.event("b"), log.flush, log.close):
        with pytest.raises(RunFailed, match=words) as caught:
            call()
    assert isinstance(caught.value.__cause__, OSError)
    assert str(log.path) in str(caught.value)
    log.close()


@given(room=st.integers(0, 400))
def test_a_disk_that_fills_up_leaves_whole_lines_and_at_most_one_torn(room: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = open_log(Path(folder, "log"))
        size = log.path.stat().st_size
        log._write = FakeDisk(room)  # type: ignore[method-assign, assignment]
        for number in range(5):
            log.event("a", number=number, padding="x" * 20)
        with pytest.raises(RunFailed):
            log.flush()
        log._write = FakeDisk(0)  # type: ignore[method-assign, assignment]
        with pytest.raises(RunFailed):
            log.close()
        health = read_log(log.path).health
        assert log.path.stat().st_size == size + room
        assert (health.corrupt, health.lost, health.complete) == (0, 0, False)


@given(rooms=st.lists(st.integers(1, 300), max_size=8))
def test_when_space_returns_the_torn_line_is_completed(rooms: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = open_log(Path(folder, "log"))
        for number, room in enumerate(rooms):
            log._write = FakeDisk(room)  # type: ignore[method-assign, assignment]
            for _ in range(2):
                try:
                    log.event("a", number=number, padding="x" * 150)
                    log.flush()
                except RunFailed:
                    pass
        log._write = os.write  # type: ignore[method-assign, assignment]
        try:
            log.close()
        except RunFailed as error:
            assert "disk full" in str(error)  # noqa: PT017  # it may have had room by chance
        read = read_log(log.path)
        assert read.health.clean
        assert read.complete
        assert [e.fields["number"] for e in read.events if e.key == "a"] == [n for n in range(len(rooms)) for _ in "ab"]


def test_what_cannot_be_encoded_is_said_and_costs_one_line(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.event("good", x=1)
    log.event("bad", x={1, 2})
    log.event("good", x=2)
    with pytest.raises(RunFailed, match=r"'bad' cannot be encoded: .*set"):
        log.close()
    read = read_log(tmp_path / "log")
    assert [e.fields["x"] for e in read.events if e.key == "good"] == [1, 2]
    assert (read.health.lost, read.complete) == (1, True)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"seq": 1}, "the log's own"),
        ({"x": "y" * line.MAX_LINE_BYTES}, "is over the"),
        ({"time_ns": -1}, "wrong type"),
        ({"time_ns": 1.5}, "wrong type"),
        ({"time_ns": True}, "wrong type"),
    ],
)
def test_what_no_reader_would_take_is_not_written(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    log = open_log(tmp_path / "log")
    log.event("bad", **fields)
    with pytest.raises(RunFailed, match=reason):
        log.flush()
    with pytest.raises(RunFailed, match=reason):
        log.close()


def test_numbers_that_are_none_become_words(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.event("a", loss=math.nan, up=math.inf, down=-math.inf, deep=[{"x": math.nan}], fine=1.5)
    log.close()
    fields = lines_of(tmp_path / "log")[1]
    assert (fields["loss"], fields["up"], fields["down"]) == ("nan", "inf", "-inf")
    assert (fields["deep"], fields["fine"]) == ([{"x": "nan"}], 1.5)


def test_a_log_is_one_process_s(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("something\n")
    with pytest.raises(RunFailed, match="another process"):
        open_log(tmp_path / "log")


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="No such file or directory"):
        open_log(tmp_path / "nowhere" / "log")


names = st.text(min_size=1, max_size=8).filter(lambda name: name not in {"key", "seq", "time_ns"})
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))
events = st.tuples(st.text(max_size=8), st.integers(0, line.MAX_INTEGER), st.dictionaries(names, values, max_size=5))


@given(written=st.lists(events, max_size=8))
def test_what_is_written_is_read(written: list[tuple[str, int, dict[str, Any]]]) -> None:
    texts = [line.encode(key, seq, time_ns, fields) for seq, (key, time_ns, fields) in enumerate(written)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        path.write_bytes(b"".join(texts))
        read = read_log(path)
    assert read.health.clean
    assert [(e.key, e.time_ns, e.fields) for e in read.events] == [(k, t, line.finite(f)) for k, t, f in written]
    assert all(text.isascii() and text.count(b"\n") == 1 for text in texts)
