"""Many steps at once must come to what the same steps come to one by one, whatever lies between them."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlb.results import fold
from mlb.results.columns import NUMBERS, StepColumns, from_fields
from mlb.results.line import decode
from mlb.results.log import visit_log
from mlb.results.rank import RankRecord
from mlb.results.reader import read_rank
from mlb.results.step_lines import decode_steps

kinds = st.lists(
    st.sampled_from(["steps", "few", "evaluate", "sync", "corrupt", "lost", "twice", "torn number", "no list"]),
    max_size=6,
)


def write(tale: Any, kinds: list[str]) -> bytes:
    """A log with long runs of steps, and faults between and within them."""
    tale.start().sync()
    for kind in kinds:
        for place in range({"few": 3}.get(kind, 40)):
            tale.step(*range(7), collective_arrival_ns=[place % 9], warmup=place < 2)
        if kind == "evaluate":
            tale.evaluate(9.0, 5)
        elif kind == "sync":
            tale.sync()
        elif kind == "corrupt":
            tale.lines[-5] = b"\xff" + tale.lines[-5]
        elif kind == "lost":
            del tale.lines[-7]
        elif kind == "twice":
            tale.lines.append(tale.lines[-1])
        elif kind == "torn number":
            tale.lines[-4] = tale.lines[-4].replace(b'"step_ns":21', b'"step_ns":"x"')
        elif kind == "no list":
            tale.lines[-4] = tale.lines[-4].replace(b'"collective_bytes":[4096]', b'"collective_bytes":[]')
    return tale.stop().bytes


@pytest.fixture(autouse=True)
def small_runs_count_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlb.results.log._LEAST_STEPS", 8)


@settings(max_examples=60)
@given(kinds=kinds, chunk=st.integers(200, 40_000))
def test_the_record_is_the_same_by_either_way(kinds: list[str], chunk: int, story: Any) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlb.results.log._BIG_CHUNK_BYTES", chunk)
        path = Path(folder) / "log"
        path.write_bytes(write(story(), kinds))
        quick, slow = read_rank(path, 0), RankRecord(0)
        slow.health = visit_log(path, lambda event: fold.add(slow, event))
    assert quick.health.to_json() == slow.health.to_json()
    assert quick == slow


def test_long_runs_of_steps_are_read_as_columns(story: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []

    def counted(lines: bytes) -> StepColumns | None:
        called.append(lines.count(b"\n"))
        return decode_steps(lines)

    monkeypatch.setattr("mlb.results.log.decode_steps", counted)
    (tmp_path / "log").write_bytes(write(story(), ["evaluate", "sync"]))
    assert read_rank(tmp_path / "log", 0).all_steps.steps == 80
    assert called == [40, 40]


def test_columns_are_those_of_single_lines(story: Any) -> None:
    tale = story()
    for place in range(9):
        many = list(range(place % 4))
        words = ["all_reduce", "gossip", "send"][: len(many)]
        tale.step(*range(place, place + 7), warmup=place == 2, collective_operation=words,
                  collective_bytes=many, collective_arrival_ns=many, collective_end_ns=[None, *many][: len(many)],
                  blocked_start_ns=[1] * (place % 3), blocked_end_ns=[2] * (place % 3))  # fmt: skip
    quick = decode_steps(tale.bytes)
    events = [decode(line, 0) for line in tale.bytes.splitlines()]
    slow = from_fields([{**event.fields, "seq": event.seq, "time_ns": event.time_ns} for event in events])
    assert quick is not None
    assert all(np.array_equal(quick[name], slow[name]) for name in NUMBERS)
    assert np.array_equal(quick.warmup, slow.warmup)
    assert all(np.array_equal(a, b) for a, b in zip(quick._lists(), slow._lists(), strict=True))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"step_ns":21', b'"step_ns":-21'),
        (b'"step_ns":21', b'"step_ns":2.5'),
        (b'"step_ns":21', b'"step_ns":null'),
        (b'"step_ns":21', b'"step_ns":9223372036854775808'),
        (b'"loss":6.25', b'"loss":NaN'),
        (b'"collective_bytes":[4096]', b'"collective_bytes":[4096,1]'),
        (b'"blocked_end_ns":[10]', b'"blocked_end_ns":"x"'),
        (b'"step":0', b'"step":0,"step":0'),
        (b"}\n", b"\n"),
    ],
)
def test_a_line_that_is_not_beyond_doubt_is_left_to_the_other_reader(story: Any, old: bytes, new: bytes) -> None:
    lines = story().step(*range(7)).step(*range(7)).bytes
    assert decode_steps(lines) is not None
    assert old in lines
    assert decode_steps(lines.replace(old, new, 1)) is None
