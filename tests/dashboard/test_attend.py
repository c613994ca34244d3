"""Runs on fleets are watched while a page is open, and only then."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from dashboards import run_async
from mlb.dashboard import attend
from mlb.dashboard.attend import Attendants
from mlb.dashboard.home import Home
from mlb.dashboard.hub import Hub
from mlb.provisioner.plan import LaunchPlan
from mlb.results.run import write_json
from stories import Run, Story, small_run

STAND_IN = """
import pathlib, signal, sys, time
said = pathlib.Path({folder!r}, sys.argv[3])
signal.signal(signal.SIGINT, lambda *_: (said.write_text("let go"), sys.exit()))
said.write_text(" ".join(sys.argv[1:3]))
time.sleep({seconds})
"""


def home(path: Path, seconds: float = 60) -> Home:
    """A home whose `mlb` writes down what it is asked for, and that it was let go of."""
    (path / "said").mkdir()
    program = path / "mlb.py"
    program.write_text(STAND_IN.format(folder=str(path / "said"), seconds=seconds))
    return Home(path / "runs", path, [], (sys.executable, str(program)))


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def said(path: Path, run: str) -> str:
    file = path / "said" / run
    return file.read_text() if file.exists() else ""


def test_a_run_is_attended_to_and_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attendants = Attendants(home(tmp_path))
    attendants.attend(["one", "two"])
    until(lambda: said(tmp_path, "one") == said(tmp_path, "two") == "bench attach")
    monkeypatch.setattr(attend, "RUNS", 1)
    attendants.attend(["two", "one"])
    assert said(tmp_path, "one") == "let go"
    assert said(tmp_path, "two") == "bench attach"
    attendants.let_go()
    assert said(tmp_path, "two") == "let go"


def test_what_attends_a_run_that_has_ended_may_finish(tmp_path: Path) -> None:
    """The run's last files and its numbers are still to be brought when its end is seen here."""
    attendants = Attendants(home(tmp_path, seconds=1))
    attendants.attend(["one"])
    until(lambda: said(tmp_path, "one") == "bench attach")
    (process,) = attendants._processes.values()
    attendants.attend([])
    attendants.let_go()
    assert process.wait(30) == 0
    assert said(tmp_path, "one") == "bench attach"
    attendants.attend([])
    assert not attendants._ending


def test_one_that_ends_by_itself_is_not_begun_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attendants = Attendants(home(tmp_path, seconds=0))
    attendants.attend(["one"])
    (process,) = attendants._processes.values()
    process.wait(30)
    (tmp_path / "said" / "one").unlink()
    attendants.attend(["one"])
    attendants.attend(["one"])
    assert not attendants._processes
    monkeypatch.setattr(attend, "_AGAIN_AFTER_S", 0.0)
    attendants.attend(["one"])
    until(lambda: said(tmp_path, "one") != "")
    attendants.let_go()


def test_a_page_is_what_keeps_fleets_watched(tmp_path: Path) -> None:
    """The live run on a fleet, not the live one here, nor one that is over."""
    here = home(tmp_path)
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    small_run(here.runs_dir, run_id="over")
    for name, fleet in (("here", ""), ("there", "demo")):
        run = Run(here.runs_dir, run_id=name, ranks=1, fleet=fleet or "local").tell(Story(0, run_id=name).start())
        write_json(run.folder.plan, asdict(LaunchPlan(name, fleet, None, ())))
        run.node(0, state="running", agent_pid=os.getpid(), agent_start_ticks=ticks)

    async def look() -> None:
        hub = Hub(here)
        stream = hub.stream("")
        await anext(stream)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.to_thread(until, lambda: said(tmp_path, "there") == "bench attach")
        waiting.cancel()
        await asyncio.wait([waiting])
        await stream.aclose()
        await asyncio.to_thread(until, lambda: said(tmp_path, "there") == "let go")
        assert hub._task is not None
        await hub._task

    run_async(look())
    assert [path.name for path in (tmp_path / "said").iterdir()] == ["there"]


def test_a_page_that_comes_while_the_last_is_taken_leave_of_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a page is loaded anew: the old one's stream closes, and the new one's opens a moment later."""
    here = home(tmp_path)
    leaving, come = threading.Event(), threading.Event()

    async def look() -> None:
        hub = Hub(here)
        let_go = hub.attendants.let_go

        def slowly() -> None:
            leaving.set()
            assert come.wait(30)
            let_go()

        monkeypatch.setattr(hub.attendants, "let_go", slowly)
        old = hub.stream("")
        await anext(old)
        waiting = asyncio.ensure_future(anext(old))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await old.aclose()
        assert await asyncio.to_thread(leaving.wait, 30)
        new = hub.stream("")
        await anext(new)
        waiting = asyncio.ensure_future(anext(new))
        await asyncio.sleep(0)
        come.set()
        small_run(here.runs_dir, run_id="later")
        assert "later" in await asyncio.wait_for(waiting, 30)
        await new.aclose()
        assert hub._task is not None
        await hub._task

    run_async(look())
