"""How far this rank's clock is from rank 0's, by the exchange with the shortest round trip (Cristian's method).

A rank sends a byte at t1, rank 0 answers with its own time s, the answer is here at t2. Whatever the network did,
s lies between t1 and t2, so rank 0's clock is ahead by s - (t1 + t2) / 2, give or take (t2 - t1) / 2.
"""

from __future__ import annotations

import os
import secrets
import socket
import struct
import time
from dataclasses import dataclass
from typing import Protocol

_ROUNDS = 40
_LEAST_ROUNDS = 4
_PATIENCE_NS = 250_000_000
"""A measurement over a slow link ends after about this long, with the rounds it has."""
_CONNECT_S = 10.0
_ANSWER_S = 600.0
"""As long as a collective may take: rank 0 may come to a measurement late, like to any meeting of the ranks."""

_PING, _STOP, _GO = b".", b"!", b">"
_TIME = struct.Struct("!q")


@dataclass(frozen=True)
class Offset:
    """One measurement: add `offset_ns` to this rank's monotonic clock to have rank 0's, give or take `error_ns`."""

    time_ns: int
    """This rank's clock in the middle of the best round."""
    offset_ns: int
    error_ns: int
    rounds: int


class Group(Protocol):
    """What is needed of the process group to find rank 0."""

    rank: int
    world_size: int

    def tell_all(self, value: object) -> object:
        """Rank 0's value, on every rank."""


class ClockExchange:
    """A connection of every rank to rank 0, over which they compare clocks; all ranks measure at the same time."""

    def __init__(self, group: Group) -> None:
        """Connect; never fails: a rank that cannot connect has a `trouble` and measures nothing."""
        self.trouble = ""
        """Why there is no connection; empty if there is one."""
        self._first = group.rank == 0
        self._peers: list[socket.socket] = []
        if group.world_size == 1:
            return
        try:
            self._meet(group)
        except OSError as error:
            self.trouble = f"no connection to compare clocks: {error}"

    def measure(self) -> Offset | None:
        """Compare clocks now, together with all other ranks; None where it cannot be done."""
        if self._first:
            for peer in self._peers:
                self._serve(peer)
            return Offset(time.monotonic_ns(), 0, 0, 0)
        if not self._peers:
            return None
        try:
            return _best_round(self._peers[0])
        except (OSError, struct.error) as error:
            self.trouble = f"the comparison of clocks broke off: {error}"
            self.close()
            return None

    def close(self) -> None:
        """Close the connections."""
        while self._peers:
            self._peers.pop().close()

    def _meet(self, group: Group) -> None:
        listener, port, token = None, 0, secrets.token_bytes(16)
        if self._first:
            try:
                # The address that the ranks have met at: it is this node's, and all of them can reach it.
                listener = socket.create_server((os.environ["MASTER_ADDR"], 0), backlog=group.world_size)
                port = listener.getsockname()[1]
            except OSError as error:
                self.trouble = f"no port to compare clocks at: {error}"
        port, token = group.tell_all((port, token))  # type: ignore[misc]  # rank 0's own tuple
        if not port:
            self.trouble = self.trouble or "rank 0 has no port to compare clocks at"
        elif listener is not None:
            with listener:
                self._accept(listener, group.world_size - 1, token)
        else:
            self._peers = [_connected(os.environ["MASTER_ADDR"], port, token)]

    def _accept(self, listener: socket.socket, expected: int, token: bytes) -> None:
        deadline = time.monotonic() + _CONNECT_S
        while len(self._peers) < expected and (left := deadline - time.monotonic()) > 0:
            listener.settimeout(left)
            peer, _ = listener.accept()
            peer.settimeout(left)
            if _says(peer, token):
                peer.settimeout(_ANSWER_S)
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._peers.append(peer)
            else:
                peer.close()

    def _serve(self, peer: socket.socket) -> None:
        """Answer one rank until it has enough; a rank that is gone is left to the next collective to notice."""
        try:
            peer.sendall(_GO)
            while _receive(peer, 1) == _PING:
                peer.sendall(_TIME.pack(time.monotonic_ns()))
        except OSError:
            self._peers = [other for other in self._peers if other is not peer]
            peer.close()


def _best_round(peer: socket.socket) -> Offset:
    _receive(peer, 1)
    best: tuple[int, int, int] | None = None
    began_ns, rounds = time.monotonic_ns(), 0
    while rounds < _LEAST_ROUNDS or (rounds < _ROUNDS and time.monotonic_ns() - began_ns < _PATIENCE_NS):
        sent_ns = time.monotonic_ns()
        peer.sendall(_PING)
        (there_ns,) = _TIME.unpack(_receive(peer, _TIME.size))
        back_ns = time.monotonic_ns()
        rounds += 1
        if best is None or back_ns - sent_ns < best[2] - best[0]:
            best = sent_ns, there_ns, back_ns
    peer.sendall(_STOP)
    assert best is not None
    sent_ns, there_ns, back_ns = best
    middle_ns = (sent_ns + back_ns) // 2
    return Offset(middle_ns, there_ns - middle_ns, (back_ns - sent_ns + 1) // 2, rounds)


def _connected(address: str, port: int, token: bytes) -> socket.socket:
    peer = socket.create_connection((address, port), timeout=_CONNECT_S)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.sendall(token)
    peer.settimeout(_ANSWER_S)
    return peer


def _says(peer: socket.socket, token: bytes) -> bool:
    try:
        return _receive(peer, len(token)) == token
    except OSError:
        return False


def _receive(peer: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes.

    Raises:
        ConnectionError: the other side is gone.
    """
    data = b""
    while len(data) < size:
        piece = peer.recv(size - len(data))
        if not piece:
            raise ConnectionError("the other side has closed the connection")
        data += piece
    return data
