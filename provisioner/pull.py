"""Brings a run's files from a node to the run folder here while the run goes on: by byte offset, one round trip a look.

The files here are the memory: what is there already is not asked for again, so a pull may be killed at any moment and
go on later, and two that pull the same run write the same bytes to the same places. What a node sends is bounded and
only ever ends up in the files that were asked for.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..errors import DiskFull, ResultsInvalid
from ..results.run import RunFolder, RunSpec

LIMIT_BYTES = 8 << 20
"""Of files that grow, in one answer: what is left comes with the next one."""

_HEADER_BYTES = 1 << 20
_WHOLE_BYTES = 4 << 20
_ROOM_BYTES = 64 << 20
"""Free space that is left alone: a full disk would take more than this run with it."""

Ask = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Sends a request to the node's `feed` and gives its answer."""


@dataclass(frozen=True)
class Sight:
    """What one look at a node showed."""

    agent: str
    """`none` before the agent wrote its status, then `alive`, then `gone`."""
    incarnation: str
    unix_ns: int
    """The node's wall clock."""
    drained: bool
    """Whether everything that was there is here now."""


class NodePull:
    """The files of one node's part of a run."""

    def __init__(self, folder: RunFolder, spec: RunSpec, node: int, node_folder: str, ask: Ask) -> None:
        """Prepare to pull.

        Args:
            node_folder: the run folder on the node.
        """
        self._folder, self._node, self._node_folder, self._ask = folder, node, node_folder, ask
        whole = (folder.node_status(node), folder.node_environment(node))
        growing = (
            folder.node_log(node),
            folder.node_resources(node),
            *(p(r) for r in spec.ranks_of(node) for p in (folder.rank_events, folder.rank_log)),
        )
        self._whole = {str(path.relative_to(folder.path)): path for path in whole}
        self._growing = {str(path.relative_to(folder.path)): path for path in growing}
        self._versions = dict.fromkeys(self._whole, "")

    def look(self) -> Sight:
        """Bring what is new, up to `LIMIT_BYTES`, and see how the node stands.

        Raises:
            NodeUnreachable: the node does not answer.
            ResultsInvalid: it answers something else than what was asked.
            DiskFull: there is no room for it here; nothing of what is here is lost.
        """
        offsets = self._sizes()
        header, bodies = self._exchange(offsets, digests=False)
        for file in header["files"]:
            self._keep(file["name"], file, bodies[file["name"]], offsets)
        drained = all(
            file["size"] <= _size(self._growing[file["name"]])
            for file in header["files"]
            if file["name"] in self._growing
        )
        return Sight(str(header["agent"]), str(header["incarnation"]), int(header["unix_ns"]), drained)

    def verify(self) -> tuple[str, ...]:
        """The files that are not byte for byte what the node has; those are pulled anew by the next looks.

        Raises:
            NodeUnreachable, ResultsInvalid, DiskFull: as `look`.
        """
        header, _ = self._exchange(self._sizes(), digests=True)
        wrong = tuple(
            file["name"]
            for file in header["files"]
            if file.get("sha256") and file["sha256"] != _sha256(self._growing[file["name"]])
        )
        for name in wrong:
            self._growing[name].unlink()
        return wrong

    def _sizes(self) -> dict[str, int]:
        return {name: _size(path) for name, path in self._growing.items()}

    def _exchange(self, offsets: Mapping[str, int], *, digests: bool) -> tuple[dict[str, Any], Mapping[str, bytes]]:
        if shutil.disk_usage(self._folder.path).free < _ROOM_BYTES:
            _full(self._folder.path)
        request = {
            "folder": self._node_folder,
            "status": self._folder.node_status(self._node).name,
            "whole": self._versions,
            "growing": offsets,
            "limit": 0 if digests else LIMIT_BYTES,
            "digests": digests,
        }
        try:
            answer = base64.b64decode(self._ask(request)["packed"])
            return _parse(answer, self._whole.keys() | self._growing.keys())
        except (ValueError, KeyError, TypeError, RecursionError, zlib.error, struct.error) as error:
            raise ResultsInvalid(
                f"Node {self._node} answers a request for its logs with something else.",
                why=f"{type(error).__name__}: {error}",
                fix=f"Its files are in {self._node_folder} there.",
            ) from error

    def _keep(self, name: str, file: Mapping[str, Any], body: bytes, offsets: Mapping[str, int]) -> None:
        try:
            if name in self._growing:
                _write_at(self._growing[name], offsets[name], body, file["size"])
            elif body:
                _replace(self._whole[name], body)
                self._versions[name] = str(file["version"])
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                _full(self._folder.path)
            raise


def _parse(answer: bytes, asked: set[str]) -> tuple[dict[str, Any], Mapping[str, bytes]]:
    """The header and each file's bytes; raises ValueError, KeyError or TypeError for anything that was not asked."""
    limit = 4 + _HEADER_BYTES + 2 * _WHOLE_BYTES + LIMIT_BYTES
    unpacker = zlib.decompressobj()
    # A few kilobytes can unpack to gigabytes.
    content = unpacker.decompress(answer, limit)
    if not unpacker.eof:
        raise ValueError("it is cut off, or too long")
    (length,) = struct.unpack_from("!I", content)
    header = json.loads(content[4 : 4 + length])
    names = [file["name"] for file in header["files"]]
    if set(names) != asked or len(names) != len(asked) or header["agent"] not in ("none", "alive", "gone"):
        raise ValueError("it is about other files than those asked for")
    bodies, at = {}, 4 + length
    for file in header["files"]:
        if type(file["sent"]) is not int or file["sent"] < 0 or type(file.get("size", 0)) is not int:
            raise ValueError("it has lengths that are none")
        bodies[file["name"]] = content[at : at + file["sent"]]
        at += file["sent"]
    if at != len(content):
        raise ValueError("its parts do not add up to its length")
    return header, bodies


def _write_at(path: Path, at: int, body: bytes, size: int) -> None:
    """Write at the place that was asked for, not at the end: another pull may have been there; both write the same."""
    if size < 0 or (not body and path.exists()):
        return
    # NOFOLLOW: a run folder may have come from elsewhere.
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        while body:
            written = os.pwrite(handle, body, at)
            body, at = body[written:], at + written
    finally:
        os.close(handle)


def _replace(path: Path, body: bytes) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(body)
    Path(temporary).replace(path)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _full(path: Path) -> NoReturn:
    raise DiskFull(
        f"No room for the run's logs in {path}.",
        why="The run goes on, and its files stay on the nodes.",
        fix=f"Make room, then: mlb bench collect {path.name}. The nodes end at their fleet's deadline.",
    )
