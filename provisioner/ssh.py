"""The transport of a node that is reached over SSH: each method is one verb of `on_node`, sent and answered."""

from __future__ import annotations

import errno
import json
import struct
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from signal import Signals
from types import ModuleType
from typing import Any

from ..errors import DiskFull, MlbError, NodeUnfit, NodeUnreachable
from ..results.text import sanitise
from .fleet import Fleet, FleetNode
from .on_node import CHUNK, FAILED, REFUSED, sha256_of
from .program import LOADER, program
from .ssh_connection import Connection
from .ssh_session import PATIENT, LinkLost, Patience, Session
from .transport import ClockOffset, Finished, Progress, Slice, no_progress

_VERB_S = 60.0
_EXCHANGES = 10


@contextmanager
def doors(fleet: Fleet, nodes: Sequence[FleetNode], patience: Patience = PATIENT) -> Iterator[dict[str, SshTransport]]:
    """A transport for each node, by its name; closed at the end. Nothing is connected before it is used."""
    made = {node.name: SshTransport(node, fleet, patience) for node in nodes}
    try:
        yield made
    finally:
        for transport in made.values():
            transport.close()


class SshTransport:
    """One node's door over SSH; safe to use from several threads."""

    def __init__(self, node: FleetNode, fleet: Fleet, patience: Patience = PATIENT) -> None:
        self.node = node
        self._connection = Connection(node, fleet, patience)

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Finished:
        return self._connection.retried(lambda: self._run(argv, stdin, timeout_s))

    def start(self, argv: Sequence[str], env: Mapping[str, str], log: PurePath) -> None:
        request = {"argv": list(argv), "env": dict(env), "log": str(log), "token": uuid.uuid4().hex[:16]}
        self.call("start", request)

    def alive(self, pid: int, start_ticks: int) -> bool:
        return bool(self.call("alive", {"pid": pid, "start_ticks": start_ticks}).get("alive"))

    def signal(self, pid: int, start_ticks: int, number: Signals) -> bool:
        request = {"pid": pid, "start_ticks": start_ticks, "number": int(number)}
        return bool(self.call("send_signal", request).get("sent"))

    def read(self, path: PurePath, offset: int, limit: int) -> bytes:
        return self.pull([Slice(path, offset, limit)])[0]

    def pull(self, slices: Sequence[Slice]) -> list[bytes]:
        request = {"slices": [[str(part.path), part.offset, part.limit] for part in slices]}
        packed = self._answer("pull", request, _VERB_S)
        most = sum(part.limit + 8 for part in slices)
        try:
            return _unpack(zlib.decompressobj().decompress(packed, most or 1), slices)
        except (zlib.error, struct.error, ValueError) as error:
            raise self._nonsense(f"pull: {error}") from None

    def put(self, local: Path, remote: PurePath, progress: Progress = no_progress) -> None:
        sha256, size = sha256_of(local), local.stat().st_size
        request = {"path": str(remote), "size_bytes": size, "sha256": sha256}
        for _ in range(2):  # what a damaged part was, the node has thrown away
            if self._connection.retried(lambda: self._put(local, request, progress)) == sha256:
                return
        raise NodeUnreachable(
            f"{local} did not arrive whole on {self.node.name}.",
            why="Its checksum differs, twice: the file is being changed, or the node's disk is damaged.",
        )

    def get(self, remote: PurePath, local: Path, progress: Progress = no_progress) -> None:
        part = local.with_name(f".{local.name}.part")
        for _ in range(2):  # a part left by an earlier call may be of another file
            try:
                sha256 = self._connection.retried(lambda: self._get(remote, part, progress))
            except OSError as error:
                raise DiskFull(
                    f"{local} cannot be written.", why=str(error), fix="Make room on this machine."
                ) from None
            if sha256_of(part) == sha256:
                part.replace(local)
                return
            part.unlink()
        raise NodeUnreachable(
            f"{remote} of {self.node.name} did not arrive whole.",
            why="Its checksum differs, twice: the file is being changed there.",
        )

    def clock(self) -> ClockOffset:
        return self._connection.retried(self._clock)

    def close(self) -> None:
        self._connection.close()

    def call(
        self, verb: str, request: Mapping[str, Any], *more: ModuleType, timeout_s: float = _VERB_S
    ) -> dict[str, Any]:
        """A verb's answer: one JSON object.

        Args:
            more: files whose verbs are sent along (`program`).

        Raises:
            NodeUnreachable, DiskFull, NodeUnfit.
        """
        said = self._answer(verb, request, timeout_s, *more)
        try:
            return dict(json.loads(said.splitlines()[-1]))
        except (ValueError, TypeError, IndexError, RecursionError):
            raise self._nonsense(f"{verb}: {said[-200:]!r}") from None

    @contextmanager
    def begun(
        self, verb: str, request: Mapping[str, Any], *more: ModuleType
    ) -> Iterator[tuple[Session, Mapping[str, Any]]]:
        """A verb that answers while it runs: its session and the first line of its answer. Nothing is tried again."""
        try:
            with self._begun(verb, request, *more) as entered:
                yield entered
        except LinkLost as lost:
            raise self._connection.unreachable(str(lost)) from None

    @contextmanager
    def _begun(
        self, verb: str, request: Mapping[str, Any], *more: ModuleType
    ) -> Iterator[tuple[Session, Mapping[str, Any]]]:
        text = program(*more)
        with self._connection.session(_argv(verb, text), None) as session:
            session.send(text + _line(request))
            yield session, self._said(session, verb)

    def _run(self, argv: Sequence[str], stdin: bytes, timeout_s: float) -> Finished:
        with self._connection.session(argv, timeout_s) as session:
            session.send_all(stdin)
            return session.finish()

    def _answer(self, verb: str, request: Mapping[str, Any], timeout_s: float, *more: ModuleType) -> bytes:
        text = program(*more)
        done = self.run(_argv(verb, text), stdin=text + _line(request), timeout_s=timeout_s)
        self._refuse(verb, done)
        return done.stdout

    def _clock(self) -> ClockOffset:
        found = []
        with self._begun("clock", {}) as (session, _):
            for _ in range(_EXCHANGES):
                asked = time.time_ns()
                session.send(b"\n")
                there = self._number(self._said(session, "clock"), "time_ns")
                back = time.time_ns()
                found.append(ClockOffset((there - (asked + back) / 2) / 1e9, (back - asked) / 2e9))
        return min(found, key=lambda offset: offset.error_s)

    def _put(self, local: Path, request: Mapping[str, Any], progress: Progress) -> str:
        size = int(request["size_bytes"])
        with self._begun("receive", request) as (session, said), local.open("rb") as file:
            file.seek(self._number(said, "offset"))
            progress(file.tell(), size)
            while piece := file.read(CHUNK):
                session.send(piece)
                progress(min(file.tell(), size), size)
            session.send_all(b"")
            return str(self._said(session, "receive").get("sha256"))

    def _get(self, remote: PurePath, part: Path, progress: Progress) -> str:
        offset = part.stat().st_size if part.exists() else 0
        request = {"path": str(remote), "offset": offset}
        with self._begun("give", request) as (session, said), part.open("ab") as file:
            size = self._number(said, "size_bytes")
            if size < offset:
                file.truncate(0)
                raise LinkLost("the file there is shorter than what came of it before")
            while offset < size and (piece := session.some(size - offset)):
                offset += file.write(piece)
                progress(offset, size)
            return str(self._said(session, "give").get("sha256"))

    def _said(self, session: Session, verb: str) -> Mapping[str, Any]:
        """The next line that the verb says: a JSON object."""
        line = session.line()
        if not line.endswith(b"\n"):
            self._refuse(verb, session.finish())
            raise LinkLost(f"{verb} ended early")
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError, RecursionError):
            raise self._nonsense(f"{verb}: {line[:200]!r}") from None

    def _number(self, said: Mapping[str, Any], key: str) -> int:
        try:
            return max(0, int(said[key]))
        except (KeyError, TypeError, ValueError):
            raise self._nonsense(f"{key} is no number") from None

    def _refuse(self, verb: str, done: Finished) -> None:
        """Raises what the node's operating system, or its lack of a Python, comes to."""
        if done.returncode in (FAILED, REFUSED):
            raise self._failed(verb, done.stderr)
        if done.returncode == 127:
            raise NodeUnfit(f"{self.node.name} has no python3.", fix="Install it there: apt-get install python3")
        if done.returncode != 0:
            why = done.stderr.decode(errors="replace")[-2000:]
            raise NodeUnfit(f"{verb} failed on {self.node.name} with exit code {done.returncode}.", why=why)

    def _failed(self, verb: str, stderr: bytes) -> MlbError:
        """What the node said about its failure, as the error it comes to."""
        try:
            said = json.loads(stderr.splitlines()[-1])
            if "what" in said:
                lines = [f"  {sanitise(line)}" for line in said["lines"]]
                return NodeUnfit(f"{self.node.name}: {sanitise(said['what'])}", why="\n".join(lines))
            number, why = int(said["errno"] or 0), f"{said['error']}: {said['path']}"
        except (ValueError, KeyError, IndexError, TypeError):
            return self._nonsense(f"{verb}: {stderr[-200:]!r}")
        if number in (errno.ENOSPC, errno.EDQUOT):
            return DiskFull(f"There is no room on {self.node.name}.", why=why, fix="Free some space there.")
        return NodeUnfit(f"{verb} failed on {self.node.name}.", why=why)

    def _nonsense(self, what: str) -> NodeUnfit:
        return NodeUnfit(f"The answer of {self.node.name} makes no sense.", why=what)


def _argv(verb: str, text: bytes) -> list[str]:
    return ["python3", "-IS", "-c", LOADER, str(len(text)), verb]


def _line(request: Mapping[str, Any]) -> bytes:
    return json.dumps(request).encode() + b"\n"


def _unpack(plain: bytes, slices: Sequence[Slice]) -> list[bytes]:
    found, at = [], 0
    for part in slices:
        (length,) = struct.unpack_from("!q", plain, at)
        if not 0 <= length <= min(part.limit, len(plain) - at - 8):
            raise ValueError("a part is longer than what was asked for")
        found.append(plain[at + 8 : at + 8 + length])
        at += 8 + length
    return found
