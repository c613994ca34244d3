"""What lies around a command: streams that are closed, full or not read, and folders that cannot be used."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from stories import small_run
from support import Mlb

FULL = "/dev/full"
MLB = f"{sys.executable} -P -m mlb"


def shell(mlb: Mlb, command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command as a shell runs it, redirections included; of a pipe the first command that fails counts."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=mlb.cwd, env=mlb.env | env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("command", ["report {run} --json", "report {run}", "bench list", "--help", "report no --json"])
def test_a_full_output_is_no_bug_and_is_said_once(mlb: Mlb, tmp_path: Path, command: str) -> None:
    run = small_run(tmp_path).folder.path
    done = shell(mlb, f"{MLB} {command.format(run=run)} >{FULL}")
    assert done.returncode == 3
    assert done.stderr.splitlines()[0] == "error: Standard output cannot be written."
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr


@pytest.mark.parametrize("reader", ["true", "head -c 1"])
@pytest.mark.parametrize("command", ["report {run}", "report {run} --json", "bench list", "--help"])
def test_a_reader_that_has_gone_is_no_error(mlb: Mlb, tmp_path: Path, command: str, reader: str) -> None:
    run = small_run(tmp_path).folder.path
    done = shell(mlb, f"{MLB} {command.format(run=run)} | {reader}")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_pipe_that_breaks_elsewhere_is_not_taken_for_the_readers(mlb: Mlb) -> None:
    code = (
        "import sys, mlb.cli.catalog, mlb.cli.edge as e, mlb.cli.runs as r, mlb.provisioner.runs as p\n"
        "def broken(_): raise BrokenPipeError(32, 'the link to a node')\n"
        "p.all_runs = broken; sys.argv = ['mlb', 'runs']; sys.exit(e.run())"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=mlb.env | {"TMPDIR": str(mlb.cwd)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "the link to a node" in done.stderr


def test_a_closed_output_is_an_output_nobody_wants(mlb: Mlb) -> None:
    assert shell(mlb, f"{MLB} bench list >&-").returncode == 0
    assert shell(mlb, f"{MLB} runs >&- 2>&- <&-").returncode == 0
    assert shell(mlb, f"{MLB} report no >&- 2>&-").returncode == 2


def test_a_full_log_of_the_progress_ends_nothing(mlb: Mlb) -> None:
    done = shell(mlb, f"{MLB} report no --json 2>{FULL}")
    assert (done.returncode, json.loads(done.stdout)["error"]["exit_code"]) == (2, 2)
    assert shell(mlb, f"{MLB} report no 2>{FULL}").returncode == 2


@pytest.mark.parametrize(
    ("home", "command"),
    [
        ("/proc/nope", "bench task3a --goal smoke --data synthetic --dry-run"),
        ("/proc/nope", "infra apply --cloud docker --yes"),
        ("file", "infra apply --cloud docker --yes"),
    ],
)
def test_a_home_that_cannot_be_made_is_named(mlb: Mlb, home: str, command: str) -> None:
    (mlb.cwd / "file").write_text("kept")
    home = str(mlb.cwd / home)
    done = shell(mlb, f"{MLB} {command}", MLB_HOME=home)
    assert done.returncode == 3
    assert f"mlb's folder {home}" in done.stderr
    assert "MLB_HOME" in done.stderr
