"""The run folder before the launch: whole, or not there at all."""

import errno
import json
import shutil
from pathlib import Path

import pytest
from mlb.errors import DiskFull, ResultsInvalid, UsageError
from mlb.provisioner import launch
from mlb.provisioner.plan import plan_local
from mlb.provisioner.runs import all_runs, find, state_of
from mlb.results.run import NodeStatus, RunFolder, write_json
from support import example_spec

SPEC = example_spec()


def test_a_prepared_folder_reads_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / SPEC.run_id)
    launch.prepare_folder(folder, SPEC, plan_local(SPEC, folder))
    assert folder.read_spec() == SPEC
    assert json.loads(folder.plan.read_text())["run_id"] == SPEC.run_id


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(launch.shutil, "disk_usage", lambda _: usage._replace(free=5 << 20))
    folder = RunFolder(tmp_path / "runs" / SPEC.run_id)
    with pytest.raises(DiskFull, match="No room for a run") as caught:
        launch.prepare_folder(folder, SPEC, plan_local(SPEC, folder))
    assert "5 MiB are free" in str(caught.value)
    assert not folder.path.exists()


def test_a_disk_that_fills_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(launch, "write_json", full)
    folder = RunFolder(tmp_path / "runs" / SPEC.run_id)
    with pytest.raises(DiskFull):
        launch.prepare_folder(folder, SPEC, plan_local(SPEC, folder))
    assert not folder.path.exists()


def make_run(runs: Path, run_id: str) -> RunFolder:
    folder = RunFolder(runs / run_id)
    folder.create()
    write_json(folder.spec, example_spec(run_id=run_id))
    return folder


def test_runs_are_found_by_id_part_and_path(tmp_path: Path) -> None:
    names = ["20260101T000000Z_task3a_local_aaaaaa", "20260102T000000Z_task3a_local_bbbbbb"]
    for name in names:
        make_run(tmp_path, name)
    assert find(tmp_path, None).run_id == names[1]
    assert find(tmp_path, names[0]).run_id == names[0]
    assert find(tmp_path, "bbbbbb").run_id == names[1]
    assert find(tmp_path, "20260101").run_id == names[0]
    assert find(tmp_path, "260101T").run_id == names[0]
    assert find(tmp_path, str(tmp_path / names[0])).run_id == names[0]
    with pytest.raises(UsageError, match="2 runs match"):
        find(tmp_path, "2026")
    with pytest.raises(UsageError, match="no run"):
        find(tmp_path, "cccccc")
    (tmp_path / "stray").mkdir()
    assert len(all_runs(tmp_path)) == 2
    with pytest.raises(ResultsInvalid, match="not a run folder"):
        find(tmp_path, "stray")


class Transport:
    """Says whether the agent lives."""

    def __init__(self, *alive: bool) -> None:
        self._alive = list(alive)

    def start(self, *_: object) -> None:
        raise AssertionError

    def alive(self, pid: int, start_ticks: int) -> bool:
        return self._alive.pop(0)

    def signal(self, *_: object) -> bool:
        raise AssertionError


@pytest.mark.parametrize(
    ("written", "alive", "stop_asked", "expected"),
    [
        ("running", True, False, "running"),
        ("running", False, False, "lost"),
        ("running", False, True, "stopped"),
        ("succeeded", True, False, "running"),
        ("succeeded", False, False, "succeeded"),
        ("failed", False, False, "failed"),
    ],
)
def test_how_a_run_stands(tmp_path: Path, written: str, alive: bool, stop_asked: bool, expected: str) -> None:
    folder = make_run(tmp_path, "20260101T000000Z_task3a_local_aaaaaa")
    write_json(folder.node_status(0), NodeStatus(0, written, agent_pid=1, agent_start_ticks=1, started_unix_ns=0))
    if stop_asked:
        folder.stop_request.touch()
    state = state_of(folder, Transport(alive))
    assert state.state == expected
    assert state.over == (expected != "running")


def test_a_run_without_a_status_is_starting_then_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path, "20260101T000000Z_task3a_local_aaaaaa")
    assert state_of(folder).state == "starting"
    monkeypatch.setattr("mlb.provisioner.runs.AGENT_START_S", -1.0)
    assert state_of(folder).state == "lost"


def test_a_pid_used_again_is_not_taken_for_the_agent() -> None:
    import os

    from mlb.provisioner.transport import LocalTransport
    from mlb.results.process import start_ticks

    mine = start_ticks(os.getpid())
    assert LocalTransport().alive(os.getpid(), mine)
    assert not LocalTransport().alive(os.getpid(), mine + 1)
    assert not LocalTransport().alive(2**22 + 1, 5)
