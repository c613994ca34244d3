"""The reader: whole lines only, all else counted; whatever the bytes, it does not fail and makes nothing up."""

import os
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlb.errors import ResultsInvalid
from mlb.results.health import CORRUPT_SHOWN
from mlb.results.line import MAX_LINE_BYTES, Event, encode
from mlb.results.log import LogTail, RankLog, read_log, visit_log

START = b'{"key":"log_start","seq":0,"time_ns":1,"schema_version":1,"rank":0}\n'
LINES = [START, *(encode("step", seq, seq * 10, {"loss": 0.5, "name": "ü"}) for seq in range(1, 6))]
LINES.append(encode("log_stop", 6, 60, {"unix_time_ns": 99}))
LOG = b"".join(LINES)


def read(data: bytes) -> RankLog:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        path.write_bytes(data)
        return read_log(path)


def counts(log: RankLog) -> tuple[int, int, int, int, int]:
    health = log.health
    assert health.lines == len(log.events) + health.corrupt + health.out_of_order
    return health.lines, health.corrupt, health.torn, health.lost, health.out_of_order


def test_a_whole_log() -> None:
    log = read(LOG)
    assert counts(log) == (7, 0, 0, 0, 0)
    assert log.complete
    assert log.health.clean
    assert log.start == log.events[0]
    assert log.events[1] == Event("step", 1, 10, {"loss": 0.5, "name": "ü"}, len(START))
    assert [LOG[event.offset :].splitlines()[0] + b"\n" for event in log.events] == LINES


def test_an_empty_log() -> None:
    log = read(b"")
    assert counts(log) == (0, 0, 0, 0, 0)
    assert not log.complete
    assert log.start is None


CORRUPT = {
    "not UTF-8": b'{"key":"a","seq":1,"time_ns":1,"x":"\xff"}',
    "overlong UTF-8": b'{"key":"a","seq":1,"time_ns":1,"x":"\xc0\x80"}',
    "empty": b"",
    "spaces": b"   ",
    "a NUL hole, as a crash leaves": b"\0" * 64,
    "a byte order mark": b'\xef\xbb\xbf{"key":"a","seq":1,"time_ns":1}',
    "half an object": b'{"key":"a","seq":1,"ti',
    "two objects": b'{"key":"a","seq":1,"time_ns":1}{"key":"a","seq":2,"time_ns":1}',
    "array": b'["key","seq","time_ns"]',
    "string": b'"key"',
    "number": b"1",
    "null": b"null",
    "no key": b'{"seq":1,"time_ns":1}',
    "no seq": b'{"key":"a","time_ns":1}',
    "no time": b'{"key":"a","seq":1}',
    "key of a wrong type": b'{"key":1,"seq":1,"time_ns":1}',
    "key null": b'{"key":null,"seq":1,"time_ns":1}',
    "seq a boolean": b'{"key":"a","seq":true,"time_ns":1}',
    "seq a float": b'{"key":"a","seq":1.0,"time_ns":1}',
    "seq negative": b'{"key":"a","seq":-1,"time_ns":1}',
    "seq huge": b'{"key":"a","seq":%d,"time_ns":1}' % 2**63,
    "time a boolean": b'{"key":"a","seq":1,"time_ns":true}',
    "time a string": b'{"key":"a","seq":1,"time_ns":"1"}',
    "time a float": b'{"key":"a","seq":1,"time_ns":1e3}',
    "time negative": b'{"key":"a","seq":1,"time_ns":-5}',
    "time of 5000 digits": b'{"key":"a","seq":1,"time_ns":' + b"9" * 5000 + b"}",
    "NaN": b'{"key":"a","seq":1,"time_ns":1,"x":NaN}',
    "Infinity": b'{"key":"a","seq":1,"time_ns":1,"x":[-Infinity]}',
    "a number that overflows": b'{"key":"a","seq":1,"time_ns":1,"x":1e999}',
    "a field twice": b'{"key":"a","seq":1,"time_ns":1,"x":1,"x":2}',
    "seq twice": b'{"key":"a","seq":1,"seq":1,"time_ns":1}',
    "deep arrays": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep inside": b'{"key":"a","seq":1,"time_ns":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "too long": b'{"key":"a","seq":1,"time_ns":1,"x":"' + b"x" * MAX_LINE_BYTES + b'"}',
    "log_start without a version": b'{"key":"log_start","seq":1,"time_ns":1}',
    "log_start with a version of a wrong type": b'{"key":"log_start","seq":1,"time_ns":1,"schema_version":"1"}',
}


@pytest.mark.parametrize("line", CORRUPT.values(), ids=CORRUPT.keys())
def test_a_corrupt_line_is_counted_with_its_place_and_its_neighbours_are_read(line: bytes) -> None:
    log = read(START + line + b"\n" + LINES[2])
    assert [event.seq for event in log.events] == [0, 2]
    assert counts(log) == (3, 1, 0, 0, 0)
    (corrupt,) = log.health.corrupt_lines
    assert corrupt.offset == len(START)
    assert corrupt.reason


def test_a_line_may_be_as_long_as_the_bound() -> None:
    bare = b'{"key":"a","seq":1,"time_ns":1,"x":""}'
    line = bare[:-2] + b"x" * (MAX_LINE_BYTES - len(bare)) + bare[-2:]
    assert counts(read(START + line + b"\n")) == (2, 0, 0, 0, 0)
    assert counts(read(START + line + b" \n")) == (2, 1, 0, 0, 0)


def test_unknown_keys_and_fields_are_events_like_others() -> None:
    log = read(START + b'{"key":"from the future","seq":1,"time_ns":1,"deep":{"x":[1]},"big":%d}\n' % 10**100)
    assert log.events[1].fields == {"deep": {"x": [1]}, "big": 10**100}


@pytest.mark.parametrize(
    ("seqs", "lost", "out_of_order", "read_seqs"),
    [
        ([0, 1, 2], 0, 0, [0, 1, 2]),
        ([0, 3], 2, 0, [0, 3]),
        ([2], 2, 0, [2]),
        ([0, 1, 1, 2], 0, 1, [0, 1, 2]),
        ([0, 2, 1, 3], 1, 1, [0, 2, 3]),
        ([0, 1, 2, 0, 1, 2, 3], 0, 3, [0, 1, 2, 3]),
    ],
)
def test_gaps_and_repeats(seqs: list[int], lost: int, out_of_order: int, read_seqs: list[int]) -> None:
    log = read(b"".join(encode("a", seq, 1, {}) for seq in seqs))
    assert counts(log)[3:] == (lost, out_of_order)
    assert [event.seq for event in log.events] == read_seqs


def test_a_corrupt_line_is_not_lost_as_well() -> None:
    assert counts(read(LINES[0] + b"?\n" + b"?\n" + LINES[4])) == (4, 2, 0, 1, 0)


def test_only_the_first_corrupt_lines_are_kept() -> None:
    log = read(START + b"?\n" * 1000)
    assert log.health.corrupt == 1000
    assert len(log.health.corrupt_lines) == CORRUPT_SHOWN
    assert log.health.to_json()["corrupt_lines"][0] == {"offset": len(START), "reason": "is not JSON"}


@pytest.mark.parametrize("version", [0, 2, -1])
def test_an_unknown_format_is_refused(tmp_path: Path, version: int) -> None:
    path = tmp_path / "log"
    path.write_bytes(START.replace(b'"schema_version":1', b'"schema_version":%d' % version))
    with pytest.raises(ResultsInvalid, match=f"format {version}"):
        read_log(path)
    with pytest.raises(ResultsInvalid, match=f"format {version}"):
        LogTail(path).poll()


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsInvalid, match="no such file"):
        read_log(tmp_path / "log")
    with pytest.raises(ResultsInvalid, match="not a regular file"):
        read_log(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ResultsInvalid, match="not a regular file"):
        LogTail(tmp_path / "fifo").poll()


def test_a_huge_line_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.write(START + b'{"x":"')
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n' + LINES[2])
    tracemalloc.start()
    log = read_log(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counts(log) == (3, 1, 0, 0, 0)
    assert peak < 8 << 20


@given(cut=st.integers(0, len(LOG)))
def test_a_log_cut_anywhere_gives_its_whole_lines(cut: int) -> None:
    log = read(LOG[:cut])
    whole = LOG[:cut].count(b"\n")
    assert log.events == read(LOG).events[:whole]
    assert counts(log) == (whole, 0, int(not LOG[:cut].endswith(b"\n") and cut > 0), 0, 0)
    assert log.complete == (cut == len(LOG))


# Bytes that stand nowhere in JSON or in UTF-8, and the newline, which cuts a line in two.
NOWHERE = [*range(9), *range(14, 32), 0xC0, 0xC1, *range(0xF5, 0x100)]
garbage = st.lists(st.sampled_from([*NOWHERE, 0x0A]), min_size=1, max_size=6)


@given(damage=st.lists(st.tuples(st.integers(0, len(LOG)), garbage.map(bytes), st.booleans()), max_size=4))
def test_garbage_gives_no_event_that_was_not_written(damage: list[tuple[int, bytes, bool]]) -> None:
    data = LOG
    for at, noise, insert in damage:
        data = data[:at] + noise + data[at if insert else at + len(noise) :]
    log, written = read(data), read(LOG).events
    assert counts(log)[0] == data.count(b"\n")
    known = {(e.seq, e.key, e.time_ns, str(e.fields)) for e in written}
    assert {(e.seq, e.key, e.time_ns, str(e.fields)) for e in log.events} <= known
    assert len(log.events) <= len(written)


@given(flips=st.lists(st.tuples(st.integers(0, len(LOG) - 1), st.integers(1, 255)), max_size=5))
def test_flipped_bits_never_fail_and_whole_lines_stay(flips: list[tuple[int, int]]) -> None:
    data = bytearray(LOG)
    for at, mask in flips:
        data[at] ^= mask
    try:
        log = read(bytes(data))
    except ResultsInvalid as error:
        assert "format" in str(error)  # noqa: PT017  # the version itself was hit
        return
    assert counts(log)[0] == data.count(b"\n")


@given(data=st.binary(max_size=300))
def test_any_bytes_are_read(data: bytes) -> None:
    assert counts(read(data))[0] == data.count(b"\n")


CHUNKED = LOG[:200] + b"?\n" + b'"' + b"x" * 50 + b"\n" + LOG[200:] + b"torn"


@given(cuts=st.lists(st.integers(0, len(CHUNKED))), chunk=st.integers(1, 64))
def test_a_tail_sees_what_a_reader_sees(cuts: list[int], chunk: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlb.results.log._CHUNK_BYTES", chunk)
        path = Path(folder, "log")
        tail = LogTail(path)
        events = tail.poll()
        for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(CHUNKED)], strict=True):
            with path.open("ab") as file:
                file.write(CHUNKED[start:stop])
            events += tail.poll()
        assert tail.poll() == []
        once = read_log(path)
    assert tuple(events) == once.events
    assert tail.health == once.health


def test_a_tail_of_a_long_line_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlb.results.log.MAX_LINE_BYTES", 100)
    tail = LogTail(tmp_path / "log")
    with (tmp_path / "log").open("ab", buffering=0) as file:
        for piece in (START, b"x" * 90, b"x" * 90, b"x" * 500):
            file.write(piece)
            tail.poll()
        assert (tail.health.corrupt, tail.health.torn) == (0, 1)
        file.write(b"\n" + LINES[2])
    assert [event.seq for event in tail.poll()] == [2]
    assert (tail.health.corrupt, tail.health.torn, tail.health.lost) == (1, 0, 0)


def test_a_tail_waits_for_its_file(tmp_path: Path) -> None:
    tail = LogTail(tmp_path / "log")
    assert tail.poll() == []
    assert tail.visit(print) is False
    (tmp_path / "log").write_bytes(LOG)
    assert len(tail.poll()) == len(LINES)


def test_a_truncated_file_is_reported_and_nothing_is_doubled(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(LOG[:-10])
    tail = LogTail(path)
    assert len(tail.poll()) == len(LINES) - 1
    path.write_bytes(b"".join(LINES[:3]))
    assert tail.poll() == []
    assert (tail.health.truncated, tail.health.lines, tail.health.out_of_order) == (1, 3, 0)
    path.write_bytes(LOG)
    assert [event.key for event in tail.poll()] == ["log_stop"]
    assert tail.health.complete
    assert not tail.health.clean


def test_visiting_counts_like_reading(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(CHUNKED)
    seen: list[Event] = []
    assert visit_log(path, seen.append) == read_log(path).health
    assert tuple(seen) == read_log(path).events
