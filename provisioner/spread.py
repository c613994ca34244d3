"""The same files onto many nodes: the controller sends them once, the nodes hand them on, twice as many each round."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import MlbError, NodeNotReady
from . import files_on_node
from .fan_out import fan_out
from .on_node import sha256_of
from .ssh import SshTransport

_HASH_S = 600.0
_PASS_ON_S = 1800.0
_FEW = 2
"""So many nodes are each served by the controller: handing on would save nothing."""

Watch = Callable[[str, int, int], None]
"""Called with a node's name, the bytes that it has and the bytes in all."""


@dataclass(frozen=True)
class Parcel:
    """Files to be spread."""

    files: Mapping[PurePosixPath, Path]
    """Where each goes on a node, relative to its user's home -> where it lies here."""

    def listing(self) -> list[tuple[str, int, str]]:
        """Path on the node, size in bytes, SHA-256."""
        return [(str(at), path.stat().st_size, sha256_of(path)) for at, path in self.files.items()]


def spread(doors: Mapping[str, SshTransport], parcel: Parcel, watch: Watch) -> dict[str, MlbError | None]:
    """Have every node hold the parcel's files, whole: what is there already is not sent.

    Returns:
        Node name -> None, or why it does not have them.
    """
    listing = parcel.listing()
    missing = fan_out(doors, lambda door: _missing(door, listing))
    failed: dict[str, MlbError | None] = {n: m for n, m in missing.items() if isinstance(m, MlbError)}
    holders = [name for name, m in missing.items() if m == []]
    waiting = [name for name in doors if name not in failed and name not in holders]
    whole = sum(size for _, size, _ in listing)
    for name in holders:
        watch(name, whole, whole)
    while waiting:
        # Without a holder, or with few to serve, from here; else every holder serves one more.
        direct = waiting[: 1 if len(waiting) > _FEW else _FEW] if not holders or len(doors) <= _FEW else []
        pairs = dict.fromkeys(direct) or dict(zip(waiting, holders, strict=False))
        done = fan_out(
            {name: (name, giver) for name, giver in pairs.items()},
            lambda pair: _hand_over(doors, pair[0], pair[1], parcel, listing, watch),
        )
        waiting = [name for name in waiting if name not in pairs]
        failed |= {name: error for name, error in done.items() if error is not None}
        holders += [name for name, error in done.items() if error is None]
    return {name: failed.get(name) for name in doors}


def _hand_over(
    doors: Mapping[str, SshTransport],
    name: str,
    giver: str | None,
    parcel: Parcel,
    listing: Sequence[tuple[str, int, str]],
    watch: Watch,
) -> None:
    whole = sum(size for _, size, _ in listing)
    if giver is not None:
        try:
            _pass_on(doors[giver], doors[name], listing)
        except NodeNotReady:
            giver = None  # nodes that do not reach each other are served from here
    if giver is None:
        _send(doors[name], parcel, whole, lambda done: watch(name, done, whole))
    watch(name, whole, whole)


def _send(door: SshTransport, parcel: Parcel, whole: int, progress: Callable[[int], None]) -> None:
    before = 0
    for at, path in parcel.files.items():
        door.put(path, at, lambda done, _all, before=before: progress(min(before + done, whole)))  # type: ignore[misc]
        before += path.stat().st_size


def _pass_on(giver: SshTransport, taker: SshTransport, listing: Sequence[tuple[str, int, str]]) -> None:
    token = secrets.token_hex(16)
    given = {"files": listing, "token": token, "host": giver.node.private_ip}
    with giver.begun("serve", given, files_on_node) as (session, said):
        del session
        taker.call("fetch", {**given, "port": said.get("port")}, files_on_node, timeout_s=_PASS_ON_S)


def _missing(door: SshTransport, listing: Sequence[tuple[str, int, str]]) -> list[str]:
    return list(door.call("have", {"files": listing}, files_on_node, timeout_s=_HASH_S).get("missing", ()))
