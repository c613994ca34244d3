"""A child ends when it should, and nothing of its group is left."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
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


def await_gone(pid: int) -> None:
    """A process that was killed takes a moment; pytest's own timeout is for one that was not."""
    with suppress(ProcessLookupError):
        end = os.pidfd_open(pid)
        select.select([end], [], [])
        os.close(end)


def test_lines_code_and_errors() -> None:
    done, lines = run("import sys; print('a'); print('b'); sys.stderr.write('no\\n'); sys.exit(3)")
    assert (done, lines) == (Finished(3, "no\n"), ["a", "b"])


def test_the_deadline_asks_politely_first() -> None:
    done, lines = run(SAVES, deadline_s=1, int_grace_s=10)
    assert (done.why, done.code, lines) == ("deadline", 1, ["up", "saved"])


def test_the_deadline_is_kept_against_one_that_will_not_go() -> None:
    script = "import signal,time\nfor s in (2,15): signal.signal(s, signal.SIG_IGN)\nprint('up')\ntime.sleep(60)"
    done, _ = run(script, deadline_s=0.5)
    assert done == Finished(-signal.SIGKILL, "", "deadline")


def test_children_of_the_child_do_not_outlive_it() -> None:
    script = (
        "import subprocess,sys\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\nprint(p.pid)"
    )
    done, lines = run(script)
    assert done.why == "", "an orphan held the pipe open until the deadline"
    await_gone(int(lines[0]))


def test_ctrl_c_once_waits_for_a_good_end() -> None:
    seen: list[str] = []

    def on_line(line: str) -> None:
        seen.append(line.strip())
        if line == "up\n":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(SAVES, on_line=on_line, int_grace_s=10)
    assert seen == ["up", "saved"]


@pytest.mark.timeout(60)
def test_ctrl_c_twice_ends_it_at_once() -> None:
    script = "import signal,time\nsignal.signal(2, lambda *a: print('no'))\nprint('up')\nwhile True: time.sleep(9)"

    def on_line(line: str) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(script, on_line=on_line, int_grace_s=600)
    assert threading.active_count() < 10


def test_no_such_command() -> None:
    with pytest.raises(FileNotFoundError):
        run_lines(["/no/such"], cwd=Path("/"), env={}, on_line=print, deadline_s=1)
