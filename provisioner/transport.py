"""How the provisioner reaches a node: run a command there, start a unit that outlives the connection, move files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

from ..results.process import is_running
from .on_node import at_home, read_slice

TIMED_OUT = 124
"""Exit code of a command that ran past its time and was ended, as timeout(1) has it."""

Progress = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes in all."""


@dataclass(frozen=True)
class Finished:
    """How a command on a node ended."""

    returncode: int
    """124 when the command ran past its time, as timeout(1) has it; negative for a signal."""
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class Slice:
    """A part of a file on a node: up to `limit` bytes from `offset`."""

    path: PurePath
    offset: int
    limit: int


@dataclass(frozen=True)
class ClockOffset:
    """How far a node's time of day is from this machine's, by the exchange with the shortest round trip."""

    offset_s: float
    """The node's clock minus this machine's."""
    error_s: float
    """Half of the round trip: the true offset is at most so far from `offset_s`."""


def no_progress(_done: int, _all: int) -> None:
    """For transfers that nobody watches."""


class Transport(Protocol):
    """One node's door.

    A relative path starts in the home folder of the node's user. Every method may raise NodeUnreachable once the
    link to the node stays lost, and DiskFull or NodeUnfit where the node's system refuses; what was begun may be
    done again then: every method does no harm if it happens twice.
    """

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Finished:
        """Run one short command; past its time it is ended there. Run again where the link broke in between."""

    def start(self, argv: Sequence[str], env: Mapping[str, str], log: PurePath) -> None:
        """Start a unit of its own: no terminal, no link to this process, output to `log` on the node."""

    def alive(self, pid: int, start_ticks: int) -> bool:
        """Whether the very process that started then still runs."""

    def signal(self, pid: int, start_ticks: int, number: signal.Signals) -> bool:
        """Send a signal to that process; False if it is gone."""

    def read(self, path: PurePath, offset: int, limit: int) -> bytes:
        """Bytes of a file from an offset; none if the file is absent or ends there."""

    def pull(self, slices: Sequence[Slice]) -> list[bytes]:
        """Parts of many files in one round trip, compressed on the way; none of a file that is absent."""

    def put(self, local: Path, remote: PurePath, progress: Progress = no_progress) -> None:
        """Copy a file to the node: resumed where it was cut, verified by checksum, there in one step."""

    def get(self, remote: PurePath, local: Path, progress: Progress = no_progress) -> None:
        """Copy a file from the node, with the same promises."""

    def clock(self) -> ClockOffset:
        """The node's time of day against this machine's."""

    def close(self) -> None:
        """Let go of the connection; units go on."""


class LocalTransport:
    """This machine: units are processes in a session of their own."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Finished:
        child = subprocess.Popen(
            list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        with child:
            try:
                out, err = child.communicate(stdin, timeout_s)
                return Finished(child.returncode, out, err)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                out, err = child.communicate()
                return Finished(TIMED_OUT, out, err)
            except BaseException:
                os.killpg(child.pid, signal.SIGKILL)
                raise

    def start(self, argv: Sequence[str], env: Mapping[str, str], log: PurePath) -> None:
        file = at_home(log)
        with file.open("ab") as output:
            subprocess.Popen(
                list(argv),
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=file.parent,
            )

    def alive(self, pid: int, start_ticks: int) -> bool:
        return is_running(pid, start_ticks)

    def signal(self, pid: int, start_ticks: int, number: signal.Signals) -> bool:
        if not self.alive(pid, start_ticks):
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def read(self, path: PurePath, offset: int, limit: int) -> bytes:
        return read_slice(at_home(path), offset, limit)

    def pull(self, slices: Sequence[Slice]) -> list[bytes]:
        return [self.read(part.path, part.offset, part.limit) for part in slices]

    def put(self, local: Path, remote: PurePath, progress: Progress = no_progress) -> None:
        target = at_home(remote)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
        try:
            shutil.copyfile(local, name)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        progress(target.stat().st_size, target.stat().st_size)

    def get(self, remote: PurePath, local: Path, progress: Progress = no_progress) -> None:
        self.put(at_home(remote), local, progress)

    def clock(self) -> ClockOffset:
        return ClockOffset(0.0, 0.0)

    def close(self) -> None:
        return None
