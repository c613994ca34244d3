"""What moves on a terminal while Terraform works, and that it comes to an end."""

from __future__ import annotations

import os
import pty
import sys
from pathlib import Path
from typing import Any

import pytest
from mlb.cli import infra_progress
from mlb.cli.infra_progress import Progress

from .docker_engine import BASE


def hook(kind: str, address: str, action: str = "create") -> dict[str, Any]:
    return {"type": kind, "hook": {"resource": {"addr": address}, "action": action}}


def test_what_is_done_and_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []

    class Display:
        def __init__(self, text: Any) -> None:
            drawn.append(text)

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            drawn.clear()

    now = [100.0]
    monkeypatch.setattr(infra_progress, "live_lines", Display)
    progress = Progress(lambda: now[0])
    assert progress.stop() == "", "nothing was drawn, nothing is said"
    changes = {"add": 8, "change": 0, "remove": 1, "operation": "plan"}
    progress.take({"type": "change_summary", "changes": changes})
    assert not drawn
    for i in range(8):
        progress.take(hook("apply_start", f"aws_instance.node[{i}]"))
        now[0] += 1
    progress.take(hook("apply_complete", "aws_instance.node[0]"))
    progress.take(hook("apply_complete", "aws_instance.unheard_of"))
    lines = drawn[0]().splitlines()
    assert lines[0] == "  Terraform: 1 of 9 done, 8 s"
    assert lines[1] == "    creating aws_instance.node[1], 7 s", "the longest first"
    assert lines[-1] == "    and 1 more"
    assert progress.stop() == "  Terraform: 1 of 9 done in 8 s"
    assert not drawn


def test_a_terminal_that_is_gone_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_text: Any) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(infra_progress, "live_lines", gone)
    progress = Progress()
    progress.take(hook("apply_start", "x"))
    assert "0 of 0 done" in progress.stop()


@pytest.mark.system
def test_a_local_fleet_on_a_terminal(mlb_home: Path, engine: object, terraform_env: None, docker_host: str) -> None:
    """The real command on a real terminal, whose question is answered on it."""
    for args in (["apply", "--cloud", "docker", "--nodes", "1", "--image", BASE], ["destroy"]):
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ["TERM"] = "xterm"
            os.environ.pop("CI", None)
            os.execv(sys.executable, [sys.executable, "-P", "-m", "mlb", "infra", *args])  # noqa: S606
        os.write(terminal, b"y\n")
        said = b""
        while True:
            try:
                said += os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, said.decode()
        assert b"Terraform: 3 of 3 done in" in said, said.decode()
        assert b"\x1b[" in said, "it moved"
    assert b"0 left" in said
