"""The public keys of hosts that exist: from the user's known_hosts, or from the hosts themselves where asked for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import PreflightError
from .fleet import Node
from .ssh import host_pattern

SCAN_TIMEOUT_S = 10
_KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")


def usual_files() -> list[Path]:
    """Where OpenSSH keeps the hosts that a user knows."""
    return [Path.home() / ".ssh" / "known_hosts", Path("/etc/ssh/ssh_known_hosts")]


def known(nodes: Sequence[Node], files: Sequence[Path]) -> dict[str, list[str]]:
    """The keys of each node in known_hosts files, hashed names included; a node without any is left out."""
    there = [file for file in files if file.is_file()]
    found = {node.name: [key for file in there for key in _looked_up(node, file)] for node in nodes}
    return {name: keys for name, keys in found.items() if keys}


def scanned(nodes: Sequence[Node], warn: Callable[[str], None]) -> dict[str, list[str]]:
    """The keys that the hosts show now, each told to the user: nothing else says that they are theirs.

    Raises:
        PreflightError: a host shows none.
    """
    with ThreadPoolExecutor(max_workers=min(32, max(1, len(nodes)))) as pool:
        found = dict(zip((node.name for node in nodes), pool.map(_scan, nodes), strict=True))
    silent = [f"{node.name} ({host_pattern(node)})" for node in nodes if not found[node.name]]
    if silent:
        raise PreflightError(
            f"{len(silent)} of {len(nodes)} hosts show no host key: {', '.join(silent)}.",
            fix="Is the address right, does an SSH server answer there, and is it reachable from here?",
        )
    for node in nodes:
        warn(f"{node.name} ({host_pattern(node)}): trusted on first use, {fingerprint(found[node.name][0])}")
    return found


def refuse_if_unknown(nodes: Sequence[Node], keys: Mapping[str, Sequence[str]], files: Sequence[Path]) -> None:
    """Raises PreflightError, which names every host whose key is not known."""
    unknown = [f"{node.name} ({host_pattern(node)})" for node in nodes if not keys.get(node.name)]
    if unknown:
        raise PreflightError(
            f"The host keys of {len(unknown)} of {len(nodes)} hosts are not known: {', '.join(unknown)}.",
            why=f"Looked for in {', '.join(map(str, files))}.",
            fix="Log in to each once with ssh and compare its key, name a file with --known-hosts,\n"
            "or take what the hosts show now, whoever answers: --trust-on-first-use.",
        )


def fingerprint(key: str) -> str:
    """`SHA256:...` as ssh-keygen shows it, of `ssh-ed25519 AAAA...`; the key's text if it is none."""
    try:
        raw = base64.b64decode(key.split()[1], validate=True)
    except (IndexError, binascii.Error):
        return key
    return "SHA256:" + base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")


def _looked_up(node: Node, file: Path) -> list[str]:
    # A name is looked for under its port, too; a host at the usual port is known by its name alone.
    said = _output("ssh-keygen", "-F", host_pattern(node), "-f", str(file))
    revoked = {key for line in said if line.startswith("@revoked ") for key in _keys([line.partition(" ")[2]])}
    return [key for key in _keys(line for line in said if not line.startswith(("@", "#"))) if key not in revoked]


def _scan(node: Node) -> list[str]:
    return _keys(_output("ssh-keyscan", "-T", str(SCAN_TIMEOUT_S), "-p", str(node.ssh_port), node.ssh_host))


def _output(*argv: str) -> list[str]:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return []
    except OSError as error:
        raise PreflightError(f"{argv[0]} cannot be run.", why=str(error), fix="Install OpenSSH's client.") from None
    return [line for line in done.stdout.splitlines() if line and not line.startswith("#")]


def _keys(lines: Iterable[str]) -> list[str]:
    """The keys of known_hosts lines, one of a kind, best first."""
    found = {}
    for line in lines:
        words = line.split()
        if len(words) >= 3 and words[1] in _KINDS:
            found[words[1]] = f"{words[1]} {words[2]}"
    return [found[kind] for kind in _KINDS if kind in found]
