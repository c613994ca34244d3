"""A child ends when it should, and nothing of its group is left."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlb.infra.process import Finished, run_lines

SAVES = """
import signal, sys
signal.signal(2, lambda *a: (print("saved"), sys.exit(1)))
print("up")
signal.pause()
"""
PYTHON = (sys.executable, "-u", "-c")


def run(
    script: str,
    *,
    deadline_s: float = 20,
    on_line: Callable[[str], None] | None = None,
    int_grace_s: float = 0.3,
) -> tuple[Finished, list[str]]:
    lines: list[str] = []

    def take(line: str) -> None:
        lines.append(line.strip())
        if on_line:
            on_line(line)

    done = run_lines(
        [*PYTHON, script],
        cwd=Path("/"),
        env=os.environ,
        on_line=take,
        deadline_s=deadline_s,
        int_grace_s=int_grace_s,
        term_grace_s=0.3,
    )
    return done, lines


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def test_lines_code_and_errors() -> None:
    done, lines = run("import sys; print('a'); print('b'); sys.stderr.write('no\\n'); sys.exit(3)")
    assert (done, lines) == (Finished(3, "no\n"), ["a", "b"])


def test_the_deadline_asks_politely_first() -> None:
    done, lines = run(SAVES, deadline_s=1, int_grace_s=10)
    assert (done.why, done.code, lines) == ("deadline", 1, ["up", "saved"])


def test_the_deadline_is_kept_against_one_that_will_not_go() -> None:
    script = "import signal,time\nfor s in (2,15): signal.signal(s, signal.SIG_IGN)\nprint('up')\ntime.sleep(60)"
    begun = time.monotonic()
    done, _ = run(script, deadline_s=0.5)
    assert done == Finished(-signal.SIGKILL, "", "deadline")
    assert time.monotonic() - begun < 5


def test_children_of_the_child_do_not_outlive_it() -> None:
    script = (
        "import subprocess,sys\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\nprint(p.pid)"
    )
    begun = time.monotonic()
    _, lines = run(script)
    assert time.monotonic() - begun < 10, "an orphan held the pipe open"
    assert is_gone(int(lines[0]))


def test_ctrl_c_once_waits_for_a_good_end() -> None:
    seen: list[str] = []

    def on_line(line: str) -> None:
        seen.append(line.strip())
        if line == "up\n":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(SAVES, on_line=on_line, int_grace_s=10)
    assert seen == ["up", "saved"]


def test_ctrl_c_twice_ends_it_at_once() -> None:
    script = "import signal,time\nsignal.signal(2, lambda *a: print('no'))\nprint('up')\nwhile True: time.sleep(9)"

    def on_line(line: str) -> None:
        signal.raise_signal(signal.SIGINT)

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(script, on_line=on_line, int_grace_s=60)
    assert time.monotonic() - begun < 5
    assert threading.active_count() < 10


def test_no_such_command() -> None:
    with pytest.raises(FileNotFoundError):
        run_lines(["/no/such"], cwd=Path("/"), env={}, on_line=print, deadline_s=1)
