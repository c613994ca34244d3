"""OpenSSH's own client with the fleet's key and known hosts: nothing else is trusted, nothing is asked."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import PreflightError
from .fleet import Node
from .folder import FleetFolder, write_private

CONNECT_TIMEOUT_S = 5
STOP_POLL_S = 0.5


@dataclass(frozen=True)
class Answer:
    """What a command on a node came to; 255 is the connection's own failure."""

    code: int
    out: str
    err: str


def make_key(folder: FleetFolder) -> str:
    """The fleet's public key; the pair is made at the first call and never leaves the folder."""
    public = folder.key.with_suffix(".pub")
    if not public.exists():
        folder.key.unlink(missing_ok=True)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "mlb", "-f", str(folder.key)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=30)
        except (OSError, subprocess.SubprocessError) as error:
            raise PreflightError("No SSH key could be made.", why=str(error), fix="Install OpenSSH's client.") from None
        public.chmod(0o600)
    return " ".join(public.read_text(encoding="utf-8").split()[:2])


def write_known_hosts(folder: FleetFolder, nodes: Sequence[Node], keys: Mapping[str, Sequence[str]]) -> None:
    """Pin the nodes' host keys under the names that any SSH client will look for."""
    lines = [f"{host_pattern(node)} {key}" for node in nodes for key in keys.get(node.name, ())]
    write_private(folder.known_hosts, "".join(f"{line}\n" for line in lines))


def pinned(folder: FleetFolder, node: Node) -> list[str]:
    """The keys that are pinned for a node."""
    if not folder.known_hosts.exists():
        return []
    lines = folder.known_hosts.read_text(encoding="utf-8").splitlines()
    return [line.partition(" ")[2] for line in lines if line.partition(" ")[0] == host_pattern(node)]


def unpin(folder: FleetFolder, nodes: Sequence[Node]) -> None:
    """Forget the keys of nodes that are about to go: another machine may get the address."""
    gone = {host_pattern(node) for node in nodes}
    lines = folder.known_hosts.read_text(encoding="utf-8").splitlines() if folder.known_hosts.exists() else []
    kept = (line for line in lines if line.partition(" ")[0] not in gone)
    write_private(folder.known_hosts, "".join(f"{line}\n" for line in kept))


def ssh_argv(folder: FleetFolder, node: Node, *command: str, batch: bool = True) -> list[str]:
    """The command line to a node, without any setting of the user's own SSH configuration."""
    options = {
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(folder.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no",
        "ForwardAgent": "no",
        "PasswordAuthentication": "no",
        "BatchMode": "yes" if batch else "no",
        "ConnectTimeout": str(CONNECT_TIMEOUT_S),
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
    }
    if batch:
        # OpenSSH's first choice costs each side some 50 ms of CPU, which 64 nodes at once pay on one machine here.
        # What goes over these connections is a script and its answer: nothing that must stay secret for decades.
        options["KexAlgorithms"] = "^curve25519-sha256"
    if node.ssh_key:
        # A key of the user's own may be locked: their agent may open it, and offers no other.
        options |= {"IdentitiesOnly": "yes", "IdentityFile": node.ssh_key}
    elif folder.key.exists():
        options |= {"IdentitiesOnly": "yes", "IdentityAgent": "none", "IdentityFile": str(folder.key)}
    settings = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    where = ["-p", str(node.ssh_port), f"{node.ssh_user}@{node.ssh_host}"]
    return ["ssh", "-F", "none", *settings, *where, *command]


def run(
    folder: FleetFolder,
    node: Node,
    command: str,
    *,
    stdin: str = "",
    timeout_s: float,
    stop: threading.Event | None = None,
) -> Answer:
    """Run a command on a node to its end; a timeout is an answer too, and so is `stop`, set by another thread."""
    argv = ssh_argv(folder, node, "--", command)
    until = time.monotonic() + timeout_s
    pipe = subprocess.PIPE
    to_send: str | None = stdin
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace") as client:
        try:
            while True:
                try:
                    out, err = client.communicate(to_send, timeout=STOP_POLL_S)
                    return Answer(client.returncode, out, err.strip())
                except subprocess.TimeoutExpired:
                    # The client goes on with what it has been given; it may not be given twice.
                    to_send = None
                    if time.monotonic() >= until or (stop and stop.is_set()):
                        return Answer(255, "", f"no end within {timeout_s:g} s")
        finally:
            client.kill()


def host_pattern(node: Node) -> str:
    """The node's name in known_hosts files."""
    return node.ssh_host if node.ssh_port == 22 else f"[{node.ssh_host}]:{node.ssh_port}"
