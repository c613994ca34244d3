"""The file of hosts that exist: a line a host, its address first, what else is to be said of it as `key=value`."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from .fleet import Node
from .spec import MAX_NODES, did_you_mean

EXAMPLE = "node1.example.org user=ubuntu port=22 key=~/.ssh/id_ed25519 private=10.0.0.11 gpus=2"
_MAX_BYTES = 1 << 20
# An address becomes an argument of ssh: it must never look like an option.
_ADDRESS = re.compile(r"[a-z0-9][a-z0-9.:_-]{0,252}")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_KEYS = ("user", "port", "key", "private", "gpus", "name")


@dataclass(frozen=True)
class Defaults:
    """What holds for a line that does not say otherwise."""

    fleet: str
    user: str
    gpus: int
    key: str
    """Path of the user's usual key; empty if there is none."""


def read(file: Path, defaults: Defaults) -> tuple[Node, ...]:
    """The hosts of a file, in its order; raises UsageError with all lines that are wrong."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{file} is too large for a file of hosts.")
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read.", why=str(error), fix=f"A line of it looks like: {EXAMPLE}") from None
    faults: list[str] = []
    nodes = tuple(_nodes(text, file.parent, defaults, faults))
    for what, values in (("address", [(n.ssh_host, n.ssh_port) for n in nodes]), ("name", [n.name for n in nodes])):
        faults += [f"the {what} {value} is there {n} times" for value, n in Counter(values).items() if n > 1]
    if not nodes and not faults:
        faults = ["there is no host in it"]
    if len(nodes) > MAX_NODES["ssh"]:
        faults.append(f"{len(nodes)} hosts are more than {MAX_NODES['ssh']}")
    if faults:
        raise UsageError(f"{file} is wrong.", why="\n".join(faults), fix=f"A line looks like: {EXAMPLE}")
    return nodes


def _nodes(text: str, folder: Path, defaults: Defaults, faults: list[str]) -> Iterator[Node]:
    index = 0
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            words = shlex.split(line, comments=True)
            if words:
                yield _node(words, folder, defaults, index)
                index += 1
        except ValueError as error:
            faults.append(f"line {number}: {error}")


def _node(words: Sequence[str], folder: Path, defaults: Defaults, index: int) -> Node:
    user, _, address = words[0].rpartition("@")
    address = address.lower()
    said = _said(words[1:])
    user = said.get("user") or user or defaults.user
    private = said.get("private", address).lower()
    name = said.get("name", f"{defaults.fleet}-{index}")
    for what, pattern, value in (
        ("an address", _ADDRESS, address),
        ("an address", _ADDRESS, private),
        ("an account", _USER, user),
        ("a host's name", _NAME, name),
    ):
        if not pattern.fullmatch(value):
            raise ValueError(f"{value!r} cannot be {what}")
    port, gpus = _number("port", said.get("port", "22"), 1, 65535), said.get("gpus", str(defaults.gpus))
    return Node(
        name=name,
        id=f"{address}:{port}",
        public_ip="",
        private_ip=private,
        ssh_host=address,
        ssh_port=port,
        ssh_user=user,
        gpus=_number("gpus", gpus, 0, 64),
        ssh_key=_key(said.get("key", defaults.key), folder),
    )


def _said(words: Sequence[str]) -> dict[str, str]:
    said: dict[str, str] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if key not in _KEYS or not sign or not value:
            raise ValueError(f"{word!r} is no key=value. {did_you_mean(key, _KEYS)}")
        if key in said:
            raise ValueError(f"{key} is there twice")
        said[key] = value
    return said


def _number(what: str, text: str, low: int, high: int) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or not low <= int(text) <= high:
        raise ValueError(f"{what} must be {low} to {high}, not {text!r}")
    return int(text)


def _key(text: str, folder: Path) -> str:
    if not text:
        raise ValueError("which key? There is no usual one in ~/.ssh: add key=FILE")
    path = (folder / Path(text).expanduser()).absolute()
    if not path.is_file():
        raise ValueError(f"there is no key {path}")
    return str(path)
