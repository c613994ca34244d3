"""Many steps at once must come to what the same steps come to one by one, whatever lies between them."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlb.results import fold
from mlb.results.alike import decode_alike
from mlb.results.columns import NUMBERS, StepColumns, from_fields, is_step
from mlb.results.line import decode
from mlb.results.log import visit_log
from mlb.results.rank import RankRecord
from mlb.results.reader import read_rank
from mlb.results.step_lines import decode_json, decode_steps

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
    assert quick is not None
    assert_same(quick, one_by_one(tale.bytes))


def one_by_one(lines: bytes) -> StepColumns:
    events = [decode(line, 0) for line in lines.splitlines()]
    assert all(is_step(event.fields) for event in events)
    return from_fields([{**event.fields, "seq": event.seq, "time_ns": event.time_ns} for event in events])


def assert_same(quick: StepColumns, slow: StepColumns) -> None:
    assert all(np.array_equal(quick[name], slow[name]) for name in NUMBERS)
    assert np.array_equal(quick.warmup, slow.warmup)
    assert np.array_equal(quick.loss, slow.loss, equal_nan=True)
    assert all(np.array_equal(a, b) for a, b in zip(quick._lists(), slow._lists(), strict=True))


def alike(story: Any, steps: int = 9) -> bytes:
    """Lines whose digits alone differ, but for a warm-up of two."""
    tale = story()
    for place in range(steps):
        tale.step(*range(place, place + 7), warmup=place < 2, loss=1 / (place + 3), collective_bytes=[4096, 7],
                  collective_operation=["all_reduce", "gossip"], collective_arrival_ns=[place, 10 * place],
                  collective_end_ns=[None, 11 * place], collective_group=[0, 1])  # fmt: skip
    return tale.bytes


def test_lines_that_differ_in_their_digits_alone_are_read_as_a_table(story: Any) -> None:
    lines = alike(story)
    quick = decode_alike(lines)
    assert quick is not None
    assert_same(quick, one_by_one(lines))
    assert_same(quick, decode_json(lines))
    assert quick.loss[1] == 1 / 4


@settings(max_examples=500)
@given(data=st.data())
def test_what_is_read_as_a_table_is_what_the_lines_say(data: st.DataObject, story: Any) -> None:
    """Damage of any kind is either refused, or read as the other reader reads it."""
    lines = bytearray(alike(story, 4))
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(lines) - 2))
        end = place + data.draw(st.integers(0, 2))
        lines[place:end] = data.draw(st.text('0123456789.,:"[]{}-e+a_ \n', max_size=3)).encode()
    quick = decode_alike(bytes(lines))
    if quick is not None:
        assert_same(quick, one_by_one(bytes(lines)))


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
        (b'"step_ns":21', b'"step_ns":021'),
        (b'"step_ns":21', b'"step_ns":'),
        (b'"step_ns":21', b'"step_ns":2 1'),
        (b'"step_ns":21', b'"st1ep_ns":21'),
        (b'"loss":6.25', b'"loss":6.'),
        (b'"loss":6.25', b'"loss":.25'),
        (b'"loss":6.25', b'"loss":06.25'),
        (b'"loss":6.25', b'"loss":' + b"9" * 400 + b".0"),
        (b"}\n", b"\n"),
    ],
)
def test_a_line_that_is_not_beyond_doubt_is_left_to_the_other_reader(story: Any, old: bytes, new: bytes) -> None:
    lines = story().step(*range(7)).step(*range(7)).bytes
    assert decode_steps(lines) is not None
    assert old in lines
    assert decode_steps(lines.replace(old, new, 1)) is None
