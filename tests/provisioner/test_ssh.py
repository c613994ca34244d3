"""The door to a node, against real SSH servers: what goes through, what is refused, what survives."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from mlb.errors import DiskFull, NodeUnfit, NodeUnreachable
from mlb.provisioner import ssh_connection
from mlb.provisioner.ssh import SshTransport
from mlb.provisioner.ssh_session import Patience
from mlb.provisioner.transport import Slice
from ssh_fleet import SshFleet

from .conftest import BRIEF

pytestmark = pytest.mark.system
Nodes = dict[str, SshTransport]


@contextmanager
def lost_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """An event that is set once a connection has been given up."""
    lost = threading.Event()
    drop = ssh_connection.Connection._drop

    def noted(self: ssh_connection.Connection, live: Any) -> None:
        drop(self, live)
        lost.set()

    with monkeypatch.context() as patched:
        patched.setattr(ssh_connection.Connection, "_drop", noted)
        yield lost


def in_background(work: Callable[[], Any]) -> Any:
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(work)
    finally:
        pool.shutdown(wait=False)


def test_words_and_bytes_go_through_as_they_are(nodes: Nodes) -> None:
    words = ["a b", "c'd", '"$HOME"', "", "*", "ü\n;x"]
    said = nodes["t-0"].run(["printf", "%s|", *words], timeout_s=20)
    assert said.stdout.decode() == "".join(f"{word}|" for word in words)
    everything = bytes(range(256)) * 5000
    echoed = nodes["t-0"].run(["sh", "-c", "cat; echo bad >&2; exit 7"], stdin=everything, timeout_s=60)
    assert (echoed.returncode, echoed.stdout, echoed.stderr) == (7, everything, b"bad\n")


def test_a_command_past_its_time_is_ended_on_the_node(nodes: Nodes) -> None:
    script = "echo $$ >pid; trap '' TERM; sleep 1000 & wait"
    assert nodes["t-0"].run(["sh", "-c", script], timeout_s=0.5).returncode == 124
    pid = nodes["t-0"].read(PurePosixPath("pid"), 0, 100).decode().strip()
    assert nodes["t-0"].run(["kill", "-0", pid], timeout_s=20).returncode != 0


def test_a_command_that_a_signal_ends_is_not_run_again(nodes: Nodes) -> None:
    assert nodes["t-0"].run(["sh", "-c", "echo x >>count; kill -9 $$"], timeout_s=20).returncode < 0
    assert nodes["t-0"].read(PurePosixPath("count"), 0, 100) == b"x\n"


def test_another_host_key_is_refused_at_once(ssh_fleet: SshFleet, tmp_path: Path) -> None:
    fleet, node = ssh_fleet.fleet, ssh_fleet.fleet.nodes[0]
    (tmp_path / "id_ed25519").symlink_to(fleet.key)
    pins = dict(line.split(" ", 1) for line in fleet.known_hosts.read_text().splitlines())
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"{node.ssh_host} {pins[fleet.nodes[1].ssh_host]}\n")
    with pytest.raises(NodeUnreachable, match=r"t-0 .*\n?.*another host key than the one that is pinned"):
        SshTransport(node, replace(fleet, folder=tmp_path), BRIEF).run(["true"], timeout_s=20)
    known_hosts.write_text("")
    with pytest.raises(NodeUnreachable, match="No host key is pinned"):
        SshTransport(node, replace(fleet, folder=tmp_path), BRIEF).run(["true"], timeout_s=20)


def test_a_key_that_the_node_does_not_know_is_refused_at_once(ssh_fleet: SshFleet, tmp_path: Path) -> None:
    fleet = ssh_fleet.fleet
    (tmp_path / "known_hosts").symlink_to(fleet.known_hosts)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "id_ed25519")], check=True)
    mine = replace(fleet.nodes[0], ssh_key=str(tmp_path / "none"))
    with pytest.raises(NodeUnreachable, match="none is not there"):
        SshTransport(mine, replace(fleet, folder=tmp_path), BRIEF).run(["true"], timeout_s=20)
    with pytest.raises(NodeUnreachable, match="refuses the fleet's key"):
        SshTransport(fleet.nodes[0], replace(fleet, folder=tmp_path), BRIEF).run(["true"], timeout_s=20)


def test_a_frozen_node_is_noticed_and_comes_back(ssh_fleet: SshFleet) -> None:
    impatient = SshTransport(ssh_fleet.fleet.nodes[0], ssh_fleet.fleet, replace(BRIEF, connect_s=2, retry_s=1))
    assert impatient.run(["true"], timeout_s=20).returncode == 0
    ssh_fleet.hosts.signal("t-0", signal.SIGSTOP)
    try:
        with pytest.raises(NodeUnreachable, match=r"no sign of life|[Tt]im|banner"):
            impatient.run(["true"], timeout_s=3600)
    finally:
        ssh_fleet.hosts.signal("t-0", signal.SIGCONT)
    patient = SshTransport(ssh_fleet.fleet.nodes[0], ssh_fleet.fleet, BRIEF)
    assert patient.run(["echo", "back"], timeout_s=20).stdout == b"back\n"
    impatient.close()
    patient.close()


def test_a_cut_link_is_tried_again_until_it_is_mended(
    ssh_fleet: SshFleet, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes["t-1"].run(["true"], timeout_s=20)
    with lost_connections(monkeypatch) as lost:
        ssh_fleet.hosts.link("t-1", "down")
        try:
            answer = in_background(lambda: nodes["t-1"].run(["echo", "through"], timeout_s=20))
            assert lost.wait(120)
        finally:
            ssh_fleet.hosts.link("t-1", "up")
        assert answer.result(120).stdout == b"through\n"


@pytest.mark.parametrize("direction", ["put", "put into little room", "get"])
def test_a_transfer_that_is_cut_goes_on_where_it_was(
    direction: str, ssh_fleet: SshFleet, nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, node = 40 << 20, nodes["t-2"]
    there, here = ssh_fleet.home("t-2") / f"{direction}.bin", tmp_path / "here.bin"
    source, target = (there, here) if direction == "get" else (here, there)
    source.write_bytes(os.urandom(size))
    node.run(["true"], timeout_s=20)
    if "little" in direction:
        # The kernel chooses the buffer. Where SSH's window is the larger one, it is the write that waits.
        live = node._connection._live
        assert live is not None
        live.transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    seen: list[int] = []

    def progress(done: int, _all: int) -> None:
        if seen and seen[-1] < size // 2 <= done:
            ssh_fleet.hosts.link("t-2", "down")
        seen.append(done)

    def move() -> None:
        if direction == "get":
            node.get(PurePosixPath(there.name), here, progress)
        else:
            node.put(here, PurePosixPath(there.name), progress)

    with lost_connections(monkeypatch) as lost:
        moved = in_background(move)
        # What ends before anything was lost has failed: its error is the one to show.
        moved.add_done_callback(lambda _: lost.set())
        noticed = lost.wait(120) and not moved.done()
        ssh_fleet.hosts.link("t-2", "up")
        moved.result(120)
    assert noticed, f"the cut was not noticed at {seen[-1]:,} of {size:,} bytes"
    assert target.read_bytes() == source.read_bytes()
    again = [after for before, after in itertools.pairwise(seen) if after < before]
    assert all(at > size // 4 for at in again), "it began anew"
    assert [path.name for path in (*there.parent.glob(".*part*"), *here.parent.glob(".*part*"))] == []


def test_what_is_there_is_not_sent_again(nodes: Nodes, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(1 << 20))
    seen: list[int] = []
    for _ in range(2):
        seen.clear()
        nodes["t-0"].put(file, PurePosixPath("sub/file"), lambda done, _all: seen.append(done))
    assert seen == [1 << 20]
    file.write_bytes(b"other")
    nodes["t-0"].put(file, PurePosixPath("sub/file"))
    assert nodes["t-0"].read(PurePosixPath("sub/file"), 1, 3) == b"the"


def test_a_full_disk_on_the_node_is_named_and_nothing_is_left(nodes: Nodes, tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "small"]
    assert nodes["t-0"].run(["sh", "-c", f"mkdir -p small && {' '.join(mount)}"], timeout_s=20).returncode == 0
    (tmp_path / "big").write_bytes(os.urandom(5 << 20))
    with pytest.raises(DiskFull, match="no room on t-0"):
        nodes["t-0"].put(tmp_path / "big", PurePosixPath("small/big"))
    assert nodes["t-0"].run(["ls", "-A", "small"], timeout_s=20).stdout == b""


def test_parts_of_many_files_come_in_one_answer(ssh_fleet: SshFleet, nodes: Nodes) -> None:
    logs = ssh_fleet.home("t-0") / "logs"
    logs.mkdir()
    texts = {f"{i}.log": os.urandom(50) + b"\n" * i for i in range(200)}
    for name, text in texts.items():
        (logs / name).write_bytes(text)
    slices = [Slice(PurePosixPath("logs") / name, 10, 100) for name in texts]
    found = nodes["t-0"].pull([*slices, Slice(PurePosixPath("logs/none"), 0, 9), Slice(logs / "5.log", 10**9, 9)])
    assert found == [*(text[10:110] for text in texts.values()), b"", b""]
    assert nodes["t-0"].pull([]) == []


def test_a_unit_outlives_the_connection_and_shows_no_secret(ssh_fleet: SshFleet, nodes: Nodes) -> None:
    log = PurePosixPath("run/node.log")
    script = 'echo "$TOKEN"; read _ </proc/self/stat; cat /proc/$$/stat; sleep 1000 & wait'
    nodes["t-0"].start(["sh", "-c", script], {"TOKEN": "a 'secret'"}, log)
    nodes["t-0"].close()
    other = SshTransport(ssh_fleet.fleet.nodes[0], ssh_fleet.fleet, BRIEF)
    wait = ["sh", "-c", "until [ $(wc -l <run/node.log) -ge 2 ]; do sleep 0.05; done; cat run/node.log"]
    first, stat = other.run(wait, timeout_s=60).stdout.decode().splitlines()[:2]
    assert first == "a 'secret'"
    pid, ticks = int(stat.split()[0]), int(stat.rpartition(")")[2].split()[19])
    assert other.alive(pid, ticks)
    assert not other.alive(pid, ticks + 1)
    assert b"secret" not in other.run(["sh", "-c", "cat /proc/*/cmdline"], timeout_s=20).stdout
    assert sorted(path.name for path in (ssh_fleet.home("t-0") / "run").iterdir()) == [".node.log.unit", "node.log"]
    assert not other.signal(pid, ticks + 1, signal.SIGKILL)
    assert other.signal(pid, ticks, signal.SIGKILL)
    other.run(["sh", "-c", f"while kill -0 {pid}; do sleep 0.05; done"], timeout_s=60)
    assert not other.alive(pid, ticks)
    assert not other.signal(pid, ticks, signal.SIGKILL)
    other.close()


def test_a_unit_is_started_once_however_often_it_is_asked_for(nodes: Nodes) -> None:
    request = {"argv": ["sh", "-c", "echo started"], "env": {}, "log": "once.log", "token": "one"}
    for _ in range(3):
        nodes["t-0"].call("start", request)
    nodes["t-0"].call("start", {**request, "token": "two"})
    wait = ["sh", "-c", "until [ $(wc -l <once.log) -ge 2 ]; do sleep 0.05; done; sleep 0.2; wc -l <once.log"]
    assert nodes["t-0"].run(wait, timeout_s=60).stdout.split() == [b"2"]


def test_a_node_without_python_is_named(ssh_fleet: SshFleet, nodes: Nodes) -> None:
    ssh_fleet.hosts.program("t-3", "python3", "#!/bin/sh\nexit 127\n")
    try:
        with pytest.raises(NodeUnfit, match="t-3 has no python3"):
            nodes["t-3"].read(PurePosixPath("x"), 0, 1)
    finally:
        (ssh_fleet.hosts.folder / "t-3" / "bin" / "python3").unlink()


def test_an_answer_that_makes_no_sense_is_refused(ssh_fleet: SshFleet, nodes: Nodes) -> None:
    for answer in ("{", "\\033[2J", "[1]"):
        ssh_fleet.hosts.program("t-3", "python3", f"#!/bin/sh\ncat >/dev/null; printf '{answer}\\n'\n")
        with pytest.raises(NodeUnfit, match="makes no sense"):
            nodes["t-3"].pull([Slice(PurePosixPath("x"), 0, 9)])
    (ssh_fleet.hosts.folder / "t-3" / "bin" / "python3").unlink()


def test_a_link_that_worked_for_longer_than_it_may_be_lost_is_tried_again(
    ssh_fleet: SshFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = SshTransport(ssh_fleet.fleet.nodes[1], ssh_fleet.fleet, replace(BRIEF, retry_s=3))
    # Past the three seconds it kills its own connection, once.
    script = "[ -e broken ] && { echo again; exit; }; sleep 4; touch broken; kill -9 $PPID; sleep 60"
    with lost_connections(monkeypatch) as lost:
        answer = hasty.run(["sh", "-c", f"PPID=$(ps -o ppid= $PPID); {script}"], timeout_s=30)
    assert lost.is_set()
    assert answer.stdout == b"again\n"
    hasty.close()


def test_an_answer_without_an_end_is_cut(ssh_fleet: SshFleet, nodes: Nodes) -> None:
    ssh_fleet.hosts.program("t-3", "python3", "#!/bin/sh\nexec tr '\\0' x </dev/zero\n")
    try:
        with pytest.raises(NodeUnfit, match="no end"):
            nodes["t-3"].clock()
    finally:
        (ssh_fleet.hosts.folder / "t-3" / "bin" / "python3").unlink()


def test_nobody_listens(ssh_fleet: SshFleet) -> None:
    node = replace(ssh_fleet.fleet.nodes[0], ssh_port=2)
    pins = ssh_fleet.fleet.known_hosts
    before = pins.read_text()
    pins.write_text(before + before.replace(f"{node.ssh_host} ", f"[{node.ssh_host}]:2 "))
    with pytest.raises(NodeUnreachable, match=r"t-0 cannot be reached over SSH \(root@.*:2\)"):
        SshTransport(node, ssh_fleet.fleet, Patience(retry_s=0.5)).run(["true"], timeout_s=20)
    pins.write_text(before)
