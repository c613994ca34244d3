"""One command on a node over SSH, its three streams and its deadlines; paramiko's channel has none of its own."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import paramiko

from ..errors import NodeUnfit
from .transport import TIMED_OUT, Finished

TICK_S = 0.5
_MOST_STDERR = 64 * 1024
_MOST_STDOUT = 1 << 28
_MOST_LINE = 1 << 20


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds."""

    connect_s: float = 10.0
    """For each step of a connection: TCP, banner, key exchange, log-in."""
    silence_s: float = 5.0
    """A connection that is silent for so long while an answer is due is asked for a sign of life."""
    ping_s: float = 10.0
    """It has so long to give it."""
    retry_s: float = 30.0
    """How long a link may stay lost before the node counts as unreachable."""
    grace_s: float = 8.0
    """What a command may take beyond its own time: to be ended there, and to say so."""


PATIENT = Patience()


class LinkLost(Exception):
    """The connection broke or froze; the same again may work."""


class Session:
    """One command that runs on the node, and its three streams."""

    def __init__(
        self, patience: Patience, ping_lock: threading.Lock, channel: paramiko.Channel, timeout_s: float | None
    ) -> None:
        self._patience = patience
        self._ping_lock = ping_lock
        self._channel = channel
        self._due = None if timeout_s is None else time.monotonic() + timeout_s
        self._read = bytearray()
        self._stderr = bytearray()
        self._over = False

    def send(self, data: bytes) -> None:
        """Write to the command's standard input; to nobody where the command has ended, which `finish` tells."""
        view = memoryview(data)
        silent_since = time.monotonic()
        while view and not self._over:
            try:
                view = view[self._channel.send(view[: 1 << 17]) :]
                silent_since = time.monotonic()
            except TimeoutError:
                silent_since = self._idle(silent_since)
            except OSError:
                if self._channel.status_event.wait(TICK_S) and self._active():
                    return
                raise

    def send_all(self, data: bytes) -> None:
        """Write all and end the input."""
        self.send(data)
        self._channel.shutdown_write()

    def line(self) -> bytes:
        """The next line of standard output; what there is of it if the output ends."""
        while b"\n" not in self._read and self._receive():
            if len(self._read) > _MOST_LINE:
                raise NodeUnfit(f"A line of a node's answer has no end: more than {_MOST_LINE:,} bytes.")
        end = self._read.find(b"\n") + 1 or len(self._read)
        line = bytes(self._read[:end])
        del self._read[:end]
        return line

    def some(self, most: int) -> bytes:
        """The next bytes of standard output, at most `most`; none at its end."""
        if not self._read:
            self._receive()
        piece = bytes(self._read[:most])
        del self._read[:most]
        return piece

    def finish(self) -> Finished:
        """The command's end, with all of its output that was not read yet."""
        while self._receive():
            if len(self._read) > _MOST_STDOUT:
                raise NodeUnfit(f"A node's answer has no end: more than {_MOST_STDOUT:,} bytes.")
        silent_since = time.monotonic()
        while not self._over and not self._channel.status_event.wait(TICK_S):
            silent_since = self._idle(silent_since)
        code = TIMED_OUT if self._over else self._channel.exit_status
        if code == -1 and not self._active():
            raise LinkLost("the connection broke")
        if code in (-1, 137) and self._due is not None and time.monotonic() > self._due:
            code = TIMED_OUT
        self._take_stderr()
        return Finished(code, bytes(self._read), bytes(self._stderr[-_MOST_STDERR:]))

    def _receive(self) -> bool:
        """Wait for output; False once there will be no more."""
        silent_since = time.monotonic()
        while not self._over:
            self._take_stderr()
            try:
                piece = self._channel.recv(1 << 18)
            except TimeoutError:
                silent_since = self._idle(silent_since)
            else:
                self._read += piece
                return bool(piece)
        return False

    def _take_stderr(self) -> None:
        while self._channel.recv_stderr_ready():
            self._stderr = self._stderr[-_MOST_STDERR:] + self._channel.recv_stderr(1 << 16)

    def _idle(self, silent_since: float) -> float:
        """Nothing came for a tick: is the time over, or the other side dead? Gives since when it is silent."""
        now = time.monotonic()
        if self._due is not None and now > self._due + self._patience.grace_s:
            self._ping()
            self._over = True
        elif now - silent_since > self._patience.silence_s:
            self._ping()
            return time.monotonic()
        return silent_since

    def _ping(self) -> None:
        """Ask for a sign of life; raises LinkLost if there is none."""
        transport = self._channel.get_transport()
        with self._ping_lock:
            # In a thread: paramiko waits for the answer without an end.
            asking = threading.Thread(target=_ask_for_life, args=(transport,), daemon=True)
            asking.start()
            asking.join(self._patience.ping_s)
            if asking.is_alive() or not transport.is_active():
                transport.close()
                raise LinkLost(f"it gave no sign of life within {self._patience.ping_s:g} s")

    def _active(self) -> bool:
        return bool(self._channel.get_transport().is_active())


def _ask_for_life(transport: paramiko.Transport) -> None:
    # Whatever the answer is, it is one: OpenSSH denies a request that it does not know.
    try:
        transport.global_request("keepalive@openssh.com", wait=True)
    except (paramiko.SSHException, EOFError, OSError):
        transport.close()
