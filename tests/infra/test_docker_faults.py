"""Faults of the local fleet, brought about for real: ctrl-C at every step, a hang, a second command, a lost state."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlb.errors import CapacityError, Interrupted, ResultsInvalid, TeardownIncomplete
from mlb.infra import by_tag, commands
from mlb.infra.docker import Docker
from mlb.infra.folder import FleetFolder
from mlb.infra.watcher import Limits, Watcher

from .docker_engine import BASE

pytestmark = [pytest.mark.system]
LIMITS = Limits(apply_s=120, destroy_s=120, ready_s=60)


def apply(home: Path, watcher: Watcher | None = None, limits: Limits = LIMITS, **given: Any) -> Any:
    asked = commands.request({"cloud": "docker", "name": "f", "image": BASE, **given}, home)
    return commands.apply(asked, limits, watcher or Watcher())


def destroy(home: Path, watcher: Watcher | None = None) -> int:
    return commands.destroy("f", None, "", LIMITS, watcher or Watcher(), home)


def left() -> list[str]:
    return [x.id for fleet in Docker().fleets() for x in Docker().left(fleet.fleet_id)]


def ctrl_c_at(step: str) -> Watcher:
    def say(text: str) -> None:
        if text.startswith(step) and not done:
            done.append(text)
            signal.raise_signal(signal.SIGINT)

    done: list[str] = []
    return Watcher(say=say)


@pytest.fixture
def home(tmp_path: Path, engine: object, terraform_env: None, docker_host: str) -> Iterator[Path]:
    yield tmp_path / "state"
    for fleet in Docker().fleets():
        by_tag.collect(Docker(), fleet)


def test_ctrl_c_at_each_step(home: Path) -> None:
    for step in ("Looking at the account", "Planning", "Applying", "Asking for the host keys", "Waiting for"):
        with pytest.raises((Interrupted, KeyboardInterrupt)):
            apply(home, ctrl_c_at(step), nodes=1)
        assert left() == [], step
        assert not FleetFolder(home, "f").fleet_json.exists(), step
    apply(home, nodes=1)
    for step in ("Destroying with Terraform", "Looking for what is left"):
        with pytest.raises(TeardownIncomplete, match="not provably gone") as error:
            destroy(home, ctrl_c_at(step))
        assert (error.value.exit_code, "mlb infra destroy --name f" in error.value.fix) == (9, True), step
    destroy(home)
    assert left() == []


def test_a_machine_that_never_comes_is_given_up_at_our_deadline(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a provider that waits for capacity: not a word, and no end."""
    real = shutil.which("docker")
    shim = tmp_path / "bin" / "docker"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\ncase "$1 $*" in run*-1\\ --hostname*) exec sleep 600 ;; esac\nexec {real} "$@"\n')
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
    there: list[str] = []

    def event(event: Any) -> None:
        if event["type"] == "apply_complete":
            there.append(str(event["hook"]["resource"]["addr"]))

    with pytest.raises(CapacityError, match="no answer before the deadline") as error:
        apply(home, Watcher(event=event), Limits(apply_s=20, destroy_s=60), nodes=2)
    assert error.value.exit_code == 4
    assert 'terraform_data.node["000"]' in there, "the first node was there, and had to go again"
    assert left() == []


def test_a_second_command_says_who_works_on_the_fleet(home: Path) -> None:
    command = [sys.executable, "-m", "mlb", "infra", "apply", "--cloud", "docker", "--name", "f", "--image", BASE]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "MLB_HOME": str(home.parent)}
    with subprocess.Popen([*command, "--yes"], stderr=subprocess.PIPE, text=True, env=env) as first:
        assert first.stderr
        next(line for line in first.stderr if "Applying the plan" in line)
        first.send_signal(signal.SIGSTOP)  # however slow the second one begins, the first is at work
        second = subprocess.run([*command, "--yes"], capture_output=True, text=True, env=env)
        first.send_signal(signal.SIGCONT)
        first.stderr.read()
        assert first.wait(60) == 0
    assert second.returncode == 10
    assert f"locked: apply by process {first.pid} on {socket.gethostname()}" in second.stderr
    assert "It began at 20" in second.stderr
    assert "--lock-timeout" in second.stderr
    destroy(FleetFolder(home.parent / "state", "f").home)


def test_a_state_that_is_gone_or_damaged_makes_nothing_twice(home: Path) -> None:
    apply(home, nodes=1)
    state = FleetFolder(home, "f").module / "terraform.tfstate"
    good = state.read_text()
    state.write_text(good[: len(good) // 2])
    with pytest.raises(ResultsInvalid, match="is damaged") as error:
        apply(home, nodes=2)
    assert "mlb infra destroy --name f" in error.value.fix
    state.with_name("terraform.tfstate.backup").write_text(good)
    with pytest.raises(ResultsInvalid) as error:
        apply(home)
    assert f"cp {state}.backup {state}" in error.value.fix
    state.unlink()
    with pytest.raises(ResultsInvalid, match="is gone"):
        apply(home)
    assert len(left()) == 2, "one container and one network, as before"
    state.write_text(good)
    assert json.loads(good)["resources"]
    assert not apply(home).plan, "with its state back the fleet is as it was"
    state.unlink()
    destroy(home)
    assert left() == []
