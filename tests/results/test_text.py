"""Remote text: what is left of it cannot steer a terminal, whatever it was."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlb.results.text import count, duration, ranges, said_by_runs, sanitise, sanitise_lines


@pytest.mark.parametrize(
    ("hostile", "safe"),
    [
        ("plain words", "plain words"),
        ("grüße, 数据", "grüße, 数据"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b2Jcleared", "cleared"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0;2\x1b\\image", "image"),
        ("\x1b]never ended", "never ended"),
        ("\x1b(0lines\x1bc", "lines"),
        ("bell\x07 back\x08 nul\x00", "bell back nul"),
        ("two\nlines\r\n\tof\x0b text\u2028here", "two lines of text here"),
        ("right\u202eto\u2066left\u200b", "righttoleft"),
        ("half \ud800 a pair", "half a pair"),
        ("  edges  ", "edges"),
        ("", ""),
        (12, "12"),
        (None, "None"),
    ],
)
def test_sanitise(hostile: object, safe: str) -> None:
    assert sanitise(hostile) == safe


def test_long_text_is_cut_and_says_so() -> None:
    assert sanitise("x" * 1_000_000, 10) == "x" * 9 + "…"
    assert sanitise("x" * 10, 10) == "x" * 10
    assert len(sanitise("\x1b]" * 1_000_000)) <= 300


@given(st.text(st.characters() | st.sampled_from("\x1b\x9b\x07[]m;0\ud800\u202e"), max_size=400), st.integers(5, 80))
def test_nothing_steers_a_terminal(text: str, limit: int) -> None:
    safe = sanitise(text, limit)
    assert len(safe) <= limit
    assert not {unicodedata.category(c) for c in safe} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    safe.encode()
    assert sanitise(safe, limit) == safe


def test_lines_are_the_last_ones() -> None:
    assert sanitise_lines(["a", "\x1b[0m", "b\n", "c"], last=2) == ("b", "c")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (0.0, "0.000 s"),
        (1.23456, "1.235 s"),
        (74.25, "74.2 s"),
        (-3.0, "-3.000 s"),
        (600.0, "600.0 s (10 min 00 s)"),
        (7384.4, "7,384.4 s (2 h 03 min 04 s)"),
        (90061.0, "90,061.0 s (25 h 01 min 01 s)"),
    ],
)
def test_duration(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_small_words() -> None:
    assert (count(1, "step"), count(2000, "step"), count(0, "step")) == ("1 step", "2,000 steps", "0 steps")
    assert (ranges([5, 3, 4, 0]), ranges([]), ranges([1, 2, 9])) == ("0, 3-5", "", "1-2, 9")


def test_warnings_that_differ_in_a_measured_number_are_one() -> None:
    runs = [
        ["shared cores", "n-0: the load is 2.4 on 2 cores"],
        ["shared cores", "n-0: the load is 13.8 on 2 cores", "n-0: the load is 3.0 on 2 cores"],
        ["shared cores", "n-1: the load is 2.6 on 2 cores"],
    ]
    assert said_by_runs(runs, 9) == [
        "shared cores",
        "2 runs of 3: n-0: the load is 13.8 on 2 cores",
        "1 run of 3: n-1: the load is 2.6 on 2 cores",
    ]
    assert said_by_runs(runs, 1) == ["shared cores"]
    assert said_by_runs([], 9) == []
