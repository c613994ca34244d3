"""The TCP connection under SSH: one whose writes do not wait without an end."""

from __future__ import annotations

import errno
import socket
import time
from typing import Any


class PatientSocket(socket.socket):
    """A connected socket whose `send` fails once it got nowhere for some time.

    paramiko tries a write again for as long as the kernel has no room for it. Where a link is cut under a transfer the
    room fills up, and stays so until the kernel gives the connection up: a quarter of an hour. Who waits for an answer
    can ask for a sign of life meanwhile; who is caught in a write cannot.
    """

    write_s: float
    """How long a write may get nowhere."""
    _stuck_since: float | None = None

    def send(self, data: Any, flags: int = 0, /) -> int:
        try:
            sent = super().send(data, flags)
        except TimeoutError:
            now = time.monotonic()
            self._stuck_since = self._stuck_since or now
            if now - self._stuck_since > self.write_s:
                raise ConnectionError(errno.ETIMEDOUT, "the other side takes nothing more") from None
            raise
        self._stuck_since = None
        return sent


def connect(host: str, port: int, *, connect_s: float, write_s: float) -> PatientSocket:
    """A connection to the first of the host's addresses that answers; small packets leave at once.

    Raises:
        OSError: none answers.
    """
    made = socket.create_connection((host, port), connect_s)
    # 14 ms a command instead of 50.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    patient = PatientSocket(made.family, made.type, made.proto, made.detach())
    patient.settimeout(connect_s)
    patient.write_s = write_s
    return patient
