"""Fleets of hosts that exist: SSH servers in network namespaces, registered, checked and forgotten by `mlb infra`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlb.errors import UsageError
from mlb.infra.hosts_file import Defaults, read
from mlb.provisioner import fleet as fleets
from mlb.provisioner.ssh import SshTransport
from mlb.results.process import start_ticks
from netns_hosts import Hosts
from support import Mlb

DEFAULTS = Defaults("lab", "ada", 1, __file__)  # any file that exists


def test_a_line_a_host(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    file = tmp_path / "hosts"
    file.write_text("# a lab\n\nNode1.example.org\n bob@10.0.0.2 port=2222 key=key private=192.168.0.2 gpus=4 name=b\n")
    first, second = read(file, DEFAULTS)
    assert (first.name, first.ssh_host, first.ssh_port, first.ssh_user) == ("lab-0", "node1.example.org", 22, "ada")
    assert (first.private_ip, first.gpus, first.ssh_key) == (first.ssh_host, 1, DEFAULTS.key)
    assert (second.name, second.ssh_host, second.ssh_port, second.ssh_user) == ("b", "10.0.0.2", 2222, "bob")
    assert (second.private_ip, second.gpus, second.ssh_key) == ("192.168.0.2", 4, str(tmp_path / "key"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "there is no host in it"),
        ("a\nb gpu=2", "line 2: 'gpu=2' is no key=value. Did you mean gpus"),
        ("-oProxyCommand=evil", "line 1: '-oproxycommand=evil' cannot be an address"),
        ("a user=-l", "line 1: '-l' cannot be an account"),
        ("a private=-x", "line 1: '-x' cannot be an address"),
        ("a name=../x", "line 1: '../x' cannot be a host's name"),
        ("a port=0", "line 1: port must be 1 to 65535, not '0'"),
        ("a gpus=many", "line 1: gpus must be 0 to 64"),
        ("a key=/none", "line 1: there is no key /none"),
        ("a gpus=1 gpus=2", "line 1: gpus is there twice"),
        ('a "b', "line 1: No closing quotation"),
        ("a name=x\nb name=x", "the name x is there 2 times"),
        ("a\nA", "the address ('a', 22) is there 2 times"),
    ],
)
def test_a_wrong_file_is_said_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "hosts"
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        read(file, DEFAULTS)
    assert problem in error.value.why
    assert "gpus=2" in error.value.fix


def test_a_host_needs_a_key(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("a\nb key=hosts")
    with pytest.raises(UsageError) as error:
        read(file, replace(DEFAULTS, key=""))
    assert error.value.why == "line 1: which key? There is no usual one in ~/.ssh: add key=FILE"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key of the user's own."""
    path = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


class Lab:
    """Hosts that exist, and the files that a user has for them."""

    def __init__(self, hosts: Hosts, folder: Path, key: Path) -> None:
        self.hosts, self.key = hosts, key
        self.file, self.known_hosts = folder / "hosts", folder / "known_hosts"
        self.names: list[str] = []

    def up(self, number: int, *more: str, known: bool = True) -> str:
        """Start a host and add its line to the file; gives its public host key."""
        name, address = f"lab{number}", f"10.77.210.{number + 1}"
        public = self.hosts.start(name, address, self.key.with_suffix(".pub").read_text().strip(), gpus=2, timer="")
        self.names.append(name)
        line = " ".join((f"root@{address}", f"key={self.key}", f"private={address}", *more))
        with self.file.open("a") as file:
            file.write(f"{line}\n")
        if known:
            with self.known_hosts.open("a") as file:
                file.write(f"{address} {public}\n")
        return public


@pytest.fixture
def lab(hosts: Hosts, tmp_path: Path, key: Path) -> Iterator[Lab]:
    made = Lab(hosts, tmp_path, key)
    yield made
    for name in made.names:
        hosts.kill(name)


@pytest.fixture
def mlb(mlb_home: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    command = Mlb(mlb_home, tmp_path)
    return lambda *args: command("infra", *args)


def apply(mlb: Any, lab: Lab, *more: str) -> subprocess.CompletedProcess[str]:
    known = ("--known-hosts", str(lab.known_hosts))
    done: subprocess.CompletedProcess[str] = mlb("apply", "--cloud", "ssh", "--hosts", str(lab.file), *known, *more)
    return done


@pytest.mark.system
def test_from_apply_to_destroy(mlb: Any, mlb_home: Path, lab: Lab) -> None:
    lab.up(0, "gpus=2")
    lab.up(1)
    # A hashed name, as Debian's clients write it.
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(lab.known_hosts)], check=True, capture_output=True)
    done = apply(mlb, lab, "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert [(n["name"], n["gpus"], n["ssh_key"]) for n in made["nodes"]] == [
        ("ssh-0", 2, str(lab.key)),
        ("ssh-1", 0, str(lab.key)),
    ]
    assert (made["status"], made["expires_at"], made["usd_per_hour"]) == ("ready", None, 0.0)
    assert not (mlb_home / "state" / "fleets" / "ssh" / "module" / "main.tf").exists()

    again = mlb("apply")
    assert again.returncode == 0, again.stderr
    assert "No changes" in again.stdout
    assert "go on by themselves" in again.stdout
    assert mlb("ssh", "1", "hostname").stdout == "lab1\n"
    assert json.loads(mlb("status", "--json").stdout)["drifted"] is False

    lab.up(2)
    grown = apply(mlb, lab, "--json")
    assert json.loads(grown.stdout)["changes"] == [{"action": "create", "resource": "ssh-2"}]
    lab.hosts.kill("lab2")
    assert json.loads(mlb("status", "--json").stdout)["states"]["ssh-2"] == "no answer"

    gone = mlb("destroy", "--yes")
    assert (gone.returncode, gone.stdout) == (0, "Fleet ssh: 0 left.\n")
    assert not (mlb_home / "state" / "fleets" / "ssh").exists()
    assert lab.hosts.processes["lab0"].poll() is None, "a host that exists goes on"
    assert lab.key.exists()


@pytest.mark.system
def test_host_keys_are_known_before_the_first_connection(mlb: Any, mlb_home: Path, lab: Lab) -> None:
    lab.up(0)
    second = lab.up(1, known=False)
    refused = apply(mlb, lab)
    assert refused.returncode == 3
    assert "The host keys of 1 of 2 hosts are not known: ssh-1 (10.77.210.2)" in refused.stderr
    assert not (mlb_home / "state" / "fleets").exists(), "a refusal leaves nothing behind"

    trusted = apply(mlb, lab, "--trust-on-first-use")
    assert trusted.returncode == 0, trusted.stderr
    assert "ssh-1 (10.77.210.2): trusted on first use, SHA256:" in trusted.stderr
    assert "ssh-0 (10.77.210.1): trusted" not in trusted.stderr, "what is known needs no trust"
    pinned = (mlb_home / "state" / "fleets" / "ssh" / "known_hosts").read_text()
    assert f"10.77.210.2 {second}" in pinned

    # Another machine answers in the second one's place: what was pinned holds, whatever is trusted now.
    lab.hosts.kill("lab1")
    lab.hosts.start("lab1x", "10.77.210.2", lab.key.with_suffix(".pub").read_text().strip(), gpus=2)
    lab.names.append("lab1x")
    between = apply(mlb, lab, "--trust-on-first-use")
    assert between.returncode == 6
    assert "ssh-1: its host key is not the one that is pinned" in between.stderr
    assert mlb("destroy", "--yes").returncode == 0


@pytest.mark.system
def test_a_revoked_key_is_not_a_known_one(mlb: Any, lab: Lab) -> None:
    public = lab.up(0)
    with lab.known_hosts.open("a") as file:
        file.write(f"@revoked 10.77.210.1 {public}\n")
    assert "are not known: ssh-0" in apply(mlb, lab).stderr


@pytest.mark.system
def test_a_host_that_fails_its_checks_is_named(mlb: Any, lab: Lab) -> None:
    lab.up(0, "gpus=4")
    lab.up(1)
    done = apply(mlb, lab)
    assert done.returncode == 6
    assert "1 of 2 nodes are not ready: ssh-0" in done.stderr
    assert "ssh-0: 2 GPUs instead of 4: Tesla T4" in done.stderr
    assert "mlb infra apply --name ssh" in done.stderr
    assert "not-ready" in mlb("ls").stdout


@pytest.mark.system
def test_a_fleet_that_a_run_holds_is_neither_changed_nor_forgotten(mlb: Any, mlb_home: Path, lab: Lab) -> None:
    lab.up(0)
    assert apply(mlb, lab).returncode == 0
    mark = mlb_home / "state" / "fleets" / "ssh" / "held-by.json"
    me = {"run_id": "run-1", "pid": os.getpid(), "start_ticks": start_ticks(os.getpid()), "host": socket.gethostname()}
    mark.write_text(json.dumps(me))
    assert apply(mlb, lab).returncode == 0, "nothing changes"
    lab.up(1)
    for refused in (apply(mlb, lab), mlb("destroy", "--yes")):
        assert refused.returncode == 10
        assert "the run run-1 goes on there" in refused.stderr
    mark.write_text(json.dumps({**me, "host": "elsewhere"}))
    assert "on elsewhere holds it" in mlb("destroy", "--yes").stderr
    assert apply(mlb, lab, "--force").returncode == 0
    mark.write_text(json.dumps({**me, "start_ticks": 1}))
    assert mlb("destroy", "--yes").returncode == 0, "whoever held it is gone"


@pytest.mark.system
def test_a_run_gets_in_with_the_same_key(mlb: Any, mlb_home: Path, lab: Lab) -> None:
    """What `mlb infra` writes down is what runs are launched by."""
    lab.up(0)
    assert apply(mlb, lab).returncode == 0
    fleet = fleets.load(mlb_home / "state" / "fleets", "ssh")
    assert (fleet.expires_unix_s, fleet.nodes[0].ssh_key) == (float("inf"), str(lab.key))
    door = SshTransport(fleet.nodes[0], fleet)
    try:
        assert door.run(["hostname"], timeout_s=20).stdout == b"lab0\n"
    finally:
        door.close()
