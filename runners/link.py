"""One connection between two agents: a JSON object a line, with what has come in but is no whole line yet."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LINE_BYTES = 64 << 10


@dataclass
class Link:
    """One end of it."""

    connection: socket.socket
    node: int = -1
    heard: float = field(default_factory=time.monotonic)
    buffer: bytearray = field(default_factory=bytearray)
    ended: bool = False

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a line; a link that does not take it shows as lost in time."""
        with contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that are complete; None when the other side has gone, or talks another language."""
        try:
            chunk = self.connection.recv(_LINE_BYTES)
        except TimeoutError:
            return []
        except OSError:
            return None
        self.buffer += chunk
        *lines, rest = self.buffer.split(b"\n")
        self.buffer = bytearray(rest)
        if not chunk or len(rest) > _LINE_BYTES:
            return None
        self.heard = time.monotonic()
        try:
            messages = [json.loads(line) for line in lines]
        except ValueError:
            return None
        return messages if all(isinstance(message, dict) for message in messages) else None

    def finish(self) -> None:
        """Close without a reset, which would take away what the other side has not read yet."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(0.5)
            while self.connection.recv(_LINE_BYTES):
                pass
        self.connection.close()
