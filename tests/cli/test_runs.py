"""Runs from end to end on this machine: to their end, killed, let go of, found again, stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from mlb.results.log import read_log
from mlb.results.run import RunFolder
from support import Mlb, processes_of, wait_for_steps, wait_until

pytestmark = pytest.mark.system


AS_MLB = "import sys; sys.argv[0] = 'mlb'; from mlb.cli.edge import run; sys.exit(run())"

LAUNCH = """
import sys
from pathlib import Path
from mlb.provisioner.launch import launch
from mlb.provisioner.plan import plan_local
from mlb.provisioner.transport import LocalTransport
from mlb.results.run import RunFolder
folder = RunFolder(Path(sys.argv[1]))
launch(plan_local(folder.read_spec(), folder), folder, {0: LocalTransport()})
"""
"""Launches a run whose folder is there already."""


def only_run(mlb: Mlb) -> RunFolder:
    (path,) = (mlb.home / "runs").iterdir()
    return RunFolder(path)


def rank_pid(folder: RunFolder, rank: int) -> int:
    return int(folder.rank_pid(rank).read_text())


def test_a_run_reports_a_split_that_adds_up_on_every_rank(mlb: Mlb) -> None:
    done = mlb("bench", "task3a", "--goal", "smoke", "--data", "synthetic", "--steps", "12")
    assert done.returncode == 0, done.stderr
    assert "Where the wall time went" in done.stdout
    assert "smoke: not comparable" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr, "no colour and no cursor movement off a terminal"

    report = mlb.json("report")
    for rank in report["time"]["ranks"]:
        assert abs(rank["unaccounted_percent"]) <= 1.0
        assert sum(rank["seconds"].values()) == pytest.approx(report["time"]["wall_s"], rel=1e-9)
    assert report["steps"] == 12
    assert report["consistency"]["parameters_equal"] is True
    assert mlb("report").stdout == done.stdout, "the files alone give the same report"


def test_the_split_agrees_with_a_clock_outside_the_ranks(mlb: Mlb) -> None:
    """The agent saw the ranks start and end; the logs' own account must not differ from that by more than 1 %."""
    started = time.time()
    done = mlb("bench", "task3a", "--goal", "smoke", "--data", "synthetic", "--steps", "150")
    elapsed = time.time() - started
    assert done.returncode == 0, done.stderr
    folder, report = only_run(mlb), mlb.json("report")
    spec, status = folder.read_spec(), folder.read_status(0)
    assert status is not None
    seen_s = (status.stopped_unix_ns - spec.launched_unix_ns) / 1e9
    assert report["time"]["wall_s"] <= seen_s <= elapsed
    # After its last event a rank leaves, and the agent notices at its next look and cleans up: well under two seconds.
    assert seen_s - report["time"]["wall_s"] < 2.0


def test_a_run_folder_explains_itself(mlb: Mlb) -> None:
    mlb("bench", "task3a", "--goal", "smoke", "--data", "synthetic", "--steps", "2", "--seed", "5")
    folder = only_run(mlb)
    spec = folder.read_spec()
    assert (spec.seed, spec.ranks, spec.backend, spec.dataset) == (5, 2, "gloo", "synthetic")
    assert spec.argv[:3] == ("mlb", "bench", "task3a")
    environment = json.loads(folder.node_environment(0).read_text())
    assert environment["packages"]["torch"]
    assert environment["cpu"]["usable_cores"] == len(os.sched_getaffinity(0))
    assert json.loads(folder.plan.read_text())["nodes"][0]["argv"]
    assert json.loads(folder.metrics.read_text())["schema_version"] == 1
    assert oct(folder.path.stat().st_mode)[-3:] == "700"


def test_the_same_seed_gives_the_same_weights(mlb: Mlb) -> None:
    digests = []
    for seed in ("5", "5", "6"):
        mlb("bench", "task3a", "--goal", "smoke", "--data", "synthetic", "--steps", "5", "--seed", seed)
    for path in sorted((mlb.home / "runs").iterdir()):
        events = [read_log(RunFolder(path).rank_events(rank)).events for rank in (0, 1)]
        values = {e.fields["value"] for log in events for e in log if e.key == "parameter_digest"}
        assert len(values) == 1, "the two ranks hold different weights"
        digests.append(values.pop())
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_run_and_is_named(mlb: Mlb, rank: int) -> None:
    process = mlb.start("bench", "task3a", "--goal", "smoke", "--data", "synthetic")
    wait_until(lambda: (mlb.home / "runs").is_dir() and [*(mlb.home / "runs").iterdir()], "a run folder")
    folder = only_run(mlb)
    wait_for_steps(folder, 3, rank)
    killed = time.monotonic()
    os.kill(rank_pid(folder, rank), signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - killed < 30
    assert process.returncode == 7
    assert f"Rank {rank} failed first: killed by SIGKILL" in err
    assert not processes_of(mlb.home)
    status = folder.read_status(0)
    assert status is not None
    assert status.cause is not None
    assert status.cause.rank == rank
    assert mlb.json("report")["status"] == "failed"


def test_a_rank_that_raises_is_named_with_its_last_lines(mlb: Mlb) -> None:
    """Rank 1 finds its data cut off; rank 0 fails with it, in a collective, and is not taken for the cause."""
    folder = mlb.detached("--steps", "3")
    assert mlb("bench", "attach", folder.run_id).returncode == 0
    prepared = Path(folder.read_spec().data_path)
    (prepared / "train.i32").write_bytes(b"\0" * 8)
    spec = json.loads(folder.spec.read_text())
    broken = RunFolder(folder.path.with_name("20990101T000000Z_task3a_local_bad000"))
    broken.create()
    broken.spec.write_text(json.dumps(spec | {"run_id": broken.run_id}))
    subprocess.run([sys.executable, "-P", "-c", LAUNCH, str(broken.path)], check=True)
    done = mlb("bench", "attach", broken.run_id)
    assert done.returncode == 7
    assert "DataMissing" in done.stderr
    assert "not a sound prepared data set" in done.stderr


def test_a_killed_launcher_changes_nothing_and_attach_shows_the_whole_run(mlb: Mlb) -> None:
    process = mlb.start("bench", "task3a", "--goal", "smoke", "--data", "synthetic", "--steps", "120")
    wait_until(lambda: (mlb.home / "runs").is_dir() and [*(mlb.home / "runs").iterdir()], "a run folder")
    folder = only_run(mlb)
    wait_for_steps(folder, 5)
    process.kill()
    process.communicate()
    done = mlb("bench", "attach")
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        log = read_log(folder.rank_events(rank))
        steps = [event.fields["step"] for event in log.events if event.key == "step"]
        assert steps == list(range(120)), "a step is missing or doubled"
        assert all(b.seq == a.seq + 1 for a, b in pairwise(log.events))
        assert log.health.complete
    assert mlb("bench", "attach").stdout == done.stdout == mlb("report").stdout


def test_ctrl_c_lets_go_of_a_run_that_goes_on(mlb: Mlb) -> None:
    process = mlb.start("bench", "task3a", "--goal", "smoke", "--data", "synthetic", "--steps", "200")
    wait_until(lambda: (mlb.home / "runs").is_dir() and [*(mlb.home / "runs").iterdir()], "a run folder")
    folder = only_run(mlb)
    wait_for_steps(folder, 3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert f"mlb bench attach {folder.run_id}" in err
    assert mlb.json("bench", "status")["state"] == "running"
    assert mlb.json("bench", "stop")["state"] == "stopped"


def test_stop_ends_every_process_and_keeps_what_was_logged(mlb: Mlb) -> None:
    folder = mlb.detached()
    wait_for_steps(folder, 3)
    follower = mlb.start("bench", "attach")
    assert mlb.json("bench", "stop", folder.run_id)["state"] == "stopped"
    assert not [p for p in processes_of(mlb.home) if p.pid != follower.pid]
    follower.communicate(timeout=20)
    assert follower.returncode == 11
    for rank in (0, 1):
        log = read_log(folder.rank_events(rank))
        assert log.health.complete, "the rank had no chance to save its log"
        assert [e.fields["reason"] for e in log.events if e.key == "run_stop"] == ["stopped"]
    assert mlb.json("report")["status"] == "stopped"
    assert mlb.json("bench", "stop")["was_over"] is True


def test_a_killed_agent_takes_its_ranks_with_it(mlb: Mlb) -> None:
    folder = mlb.detached()
    wait_for_steps(folder, 3)
    status = folder.read_status(0)
    assert status is not None
    os.kill(status.agent_pid, signal.SIGKILL)
    wait_until(lambda: not processes_of(mlb.home), "the ranks' end", 10)
    done = mlb("bench", "attach")
    assert done.returncode == 7
    assert "gone without a result" in done.stderr
    assert json.loads(folder.metrics.read_text())["status"] == mlb.json("report")["status"] == "incomplete"


def test_a_run_that_misses_its_goal_says_so(mlb: Mlb, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = mlb.detached("--steps", "2")
    mlb("bench", "attach")
    # The same run, asked for one epoch of next to no data instead of two steps.
    spec = json.loads(folder.spec.read_text()) | {"max_steps": None}
    folder.spec.write_text(json.dumps(spec))
    done = mlb("bench", "attach")
    assert done.returncode == 8
    assert "Goal not reached" in done.stdout


def test_logs_show_output_with_control_characters_taken_out(mlb: Mlb) -> None:
    folder = mlb.detached("--steps", "1")
    mlb("bench", "attach")
    with folder.rank_log(1).open("a") as log:
        log.write("    \x1b[2Jboo [bold]not markup[/foo]\n")
    done = mlb("bench", "logs", "--rank", "1")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "\n    boo [bold]not markup[/foo]\n" in done.stdout
    assert mlb("bench", "logs", "--rank", "9").returncode == 12


def test_a_disk_that_fills_ends_the_run_with_its_cause(mlb: Mlb) -> None:
    """No file of the ranks may grow past 24 KiB, as on a disk without room; the logs stay readable up to there."""
    mlb("data", "prepare", "task3a", "--goal", "smoke", "--data", "synthetic")
    command = ["bench", "task3a", "--goal", "smoke", "--data", "synthetic"]
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({24 << 10}, {24 << 10}))\n" + AS_MLB
    done = subprocess.run(
        [sys.executable, "-P", "-c", limited, *command], env=mlb.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 7, done.stderr
    assert "event log" in done.stderr
    assert "File too large" in done.stderr
    folder = only_run(mlb)
    log = read_log(folder.rank_events(0))
    assert log.events
    assert log.health.corrupt == 0
    assert mlb.json("report")["status"] == "failed"


def test_two_runs_at_once_say_so(mlb: Mlb) -> None:
    first = mlb.detached()
    second = mlb.detached("--steps", "1")
    assert second.read_spec().beside == (first.run_id,)
    mlb("bench", "attach", second.run_id)
    assert any(first.run_id in warning for warning in mlb.json("report", second.run_id)["warnings"])
    mlb("bench", "stop", first.run_id)
