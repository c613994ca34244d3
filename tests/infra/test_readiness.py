"""When a node counts as ready: its own answer, and the timer that will end it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from mlb.errors import NodeNotReady
from mlb.infra import deadline, readiness, ssh
from mlb.infra.fleet import Node
from mlb.infra.folder import FleetFolder
from mlb.infra.readiness import Check, clean, judge, refuse_if_any_failed
from mlb.infra.render import render

from .test_render import SPECS, blueprint

NODE = Node("a-0", "i-1", "198.51.100.1", "10.0.0.4", "198.51.100.1", 22, "ubuntu", 2)
GOOD = {"boot": "done", "nvidia_smi": 0, "disk_kb": 9e7, "cpus": 8, "time_s": 0}
GOOD |= {"uptime_s": 100.5, "timer": "ActiveState=active;NextElapseUSecMonotonic=1h 1min 40.5s"}


def said(**change: object) -> str:
    skew = int(str(change.pop("skew", 0)))
    gpus = str(change.pop("list", "Tesla T4, 550, Disabled\nTesla T4, 550, Disabled"))
    answer = json.dumps({**GOOD, "time_s": int(time.time()) + skew, **change})
    return f"Welcome!\nmlb-gpus\n{gpus}\n\n{answer}"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, ""),
        ({"boot": "none"}, ""),
        ({"boot": "error"}, "first boot ended as 'error'"),
        ({"list": "Tesla T4, 550, Disabled"}, "1 GPUs instead of 2: Tesla T4, 550, Disabled"),
        ({"list": ""}, "0 GPUs instead of 2: no nvidia-smi"),
        ({"list": "Driver/library version mismatch", "nvidia_smi": 18}, "nvidia-smi failed: Driver/library version"),
        ({"list": "Tesla T4, 550, Enabled, 0\nTesla T4, 550, Enabled, [N/A]"}, ""),
        (
            {"list": "Tesla T4, 550, Enabled, 0\nTesla T4, 550, Enabled, 3"},
            "GPU 1 has had 3 uncorrected memory errors since its last reset: Tesla T4, 550, Enabled, 3",
        ),
        ({"disk_kb": 4e6}, "4.0 GB of disk free"),
        ({"skew": -60}, "its clock is -"),
        ({"cpus": "many"}, "its answer makes no sense"),
    ],
)
def test_what_a_node_says_of_itself(change: dict[str, object], problem: str) -> None:
    found = judge(NODE, said(**change), 1.0).problems
    assert (problem in found[0]) if problem else found == ()


@pytest.mark.parametrize(
    ("program", "gpus", "problem"),
    [
        ("echo Tesla T4, 550, Enabled, 2", 1, "GPU 0 has had 2 uncorrected memory errors"),
        ("case $* in *uncorrected*) echo 'Field \"ecc\" is not valid'; exit 2;; esac; echo Tesla K80, 470, N/A", 1, ""),
        ("echo Driver/library version mismatch; exit 18", -1, "nvidia-smi failed: Driver/library version mismatch"),
    ],
)
def test_what_the_probe_makes_of_a_driver(tmp_path: Path, program: str, gpus: int, problem: str) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    out = subprocess.run(["sh", "-s"], input=readiness.PROBE, env=env, capture_output=True, text=True).stdout
    check = judge(replace(NODE, gpus=1), out, 1.0)
    assert check.gpus == gpus
    assert (problem in check.problems[0]) if problem else check.problems == ()


@pytest.mark.parametrize(
    ("timer", "problem"),
    [
        (GOOD["timer"], ""),
        ("slept 12 of 3612", ""),
        ("ActiveState=active;NextElapseUSecMonotonic=5h 1min 40.5s", r"fires 14\d{3} s after the fleet's deadline"),
        ("slept 0 of 9000", r"fires 5\d{3} s after the fleet's deadline"),
        ("", "no deadline timer is armed"),
        ("ActiveState=inactive;NextElapseUSecMonotonic=1h", "no deadline timer is armed"),
        ("ActiveState=active;NextElapseUSecMonotonic=infinity", "no deadline timer is armed"),
    ],
)
def test_a_node_must_end_in_time(timer: str, problem: str) -> None:
    ends = int(time.time()) + 3600
    found = judge(NODE, said(timer=timer), 1.0, ends).problems
    assert re.search(problem, found[0]) if problem else found == ()
    assert judge(NODE, said(timer=timer), 1.0).problems == (), "where no timer is needed none is asked for"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3h 59min 12.5s", 14352.5),
        ("1d 2ms", 86400.002),
        ("1month 1w", 30.4375 * 86400 + 604800),
        ("infinity", None),
        ("", None),
        ("12", None),
        ("3 hours", None),
        ("1h; rm", None),
    ],
)
def test_time_spans_as_systemd_writes_them(text: str, seconds: float | None) -> None:
    assert deadline.span_s(text) == seconds


def boot_command(folder: Path) -> str:
    """The first boot stage of an AWS node, its tools replaced by those in `folder`."""
    now = int(time.time())
    text = render(replace(blueprint(**SPECS["aws-two-gpus"]), created=now), now)["user-data.yaml"]
    lines = text.partition("  - |\n")[2].partition("ssh_pwauth")[0].splitlines()
    script = "\n".join(line.removeprefix("    ") for line in lines)
    return script.replace("/run/mlb-deadline.log", str(folder / "log"))


def test_the_first_boot_stage_arms_what_the_probe_looks_for(tmp_path: Path) -> None:
    """Without a working systemd, as in early boot gone wrong: the fallback is armed, and seen as that."""
    for tool in ("systemctl", "systemd-run"):
        (tmp_path / tool).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / tool).chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    # As cloud-init runs it: a script file, whose background work stays.
    with subprocess.Popen(["sh", "-c", boot_command(tmp_path)], env=env, start_new_session=True) as boot:
        assert boot.wait(30) == 0
    # On this machine other tests' nodes show theirs, too: all of them are looked at, not the first alone.
    probe = deadline.PROBE.replace("| head -n 1", "") + 'printf "%s\\n" "$timer"'
    try:
        until = time.monotonic() + 30
        seen = ""
        while not seen and time.monotonic() < until:
            seen = subprocess.run(["sh", "-c", probe], env=env, capture_output=True, text=True).stdout.strip()
        left = [deadline.left_s(line, 0.0) for line in seen.splitlines()]
        assert any(one is not None and 4 * 3600 - 60 < one <= 4 * 3600 for one in left), seen
    finally:
        os.killpg(boot.pid, signal.SIGKILL)


def test_hostile_text_of_a_node_is_made_harmless() -> None:
    assert clean("a\x1b[2J\x9b\x07b\n" + "x" * 9999) == "a [2J b " + "x" * 492
    assert judge(NODE, "[" * 100_000, 1.0).problems[0].startswith("its answer makes no sense")


def test_a_node_that_is_not_ready_is_named_with_its_evidence() -> None:
    with pytest.raises(NodeNotReady, match="1 of 2 nodes are not ready: b") as error:
        refuse_if_any_failed([Check("a", (), 1.0), Check("b", ("no GPU",), 1.0)])
    assert error.value.why == "b: no GPU"


@pytest.mark.timeout(60)
def test_ctrl_c_while_waiting_for_a_node_does_not_wait_for_the_deadline(tmp_path: Path) -> None:
    folder = FleetFolder(tmp_path / "state", "a")
    folder.create()
    ssh.make_key(folder)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        node = replace(NODE, ssh_host="127.0.0.1", ssh_port=silent.getsockname()[1])

        def interrupt() -> None:
            with silent.accept()[0]:
                os.kill(os.getpid(), signal.SIGINT)
                over.wait(10)

        over = threading.Event()
        waiting = threading.Thread(target=interrupt)
        waiting.start()
        with pytest.raises(KeyboardInterrupt):
            readiness.check_all(folder, [node], 600)
        over.set()
        waiting.join()
