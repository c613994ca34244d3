"""Keeps the agents of a run's nodes in touch, so that the end of one is the end of all, controller or not.

The agent of node 0 is the hub, all others hold one connection to it: a JSON object a line, a line a second each way.
A node that is silent for `LOST_S`, or whose connection ends without a goodbye, is lost. The same lines carry the wall
clocks, so that the order of deaths on different nodes can be told (Cristian's method: the exchange with the shortest
round trip bounds the error by half of it).
"""

from __future__ import annotations

import contextlib
import hmac
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .link import Link

BEAT_S = 1.0
LOST_S = 10.0
"""Silence after which a peer is lost. With the ranks' 10 s to save their logs, all end within 30 s of a cut link."""

MEET_S = 120.0
"""How long the agents may take to find each other."""


@dataclass(frozen=True)
class Ending:
    """Why the ranks of every node have to end."""

    kind: str
    """The state that the node where it began ended in, or `lost`."""
    node: int
    why: str


class Peers:
    """One agent's end of the talk; `on_ending` is called from a thread, once at most."""

    def __init__(self, node: int, token: str, on_ending: Callable[[Ending], None]) -> None:
        self.node = node
        self.clock_offset_ns = 0
        self.clock_error_ns: int | None = 0
        self._token = token
        self._on_ending = on_ending
        self._closing = threading.Event()
        self._told = False
        self._thread = threading.Thread(target=self._talk, daemon=True)

    def start(self) -> None:
        """Begin to talk."""
        self._thread.start()

    def announce(self, ending: Ending) -> None:
        """Tell all others how this node ended; kind `succeeded` says that nothing is wrong."""
        raise NotImplementedError

    def close(self) -> None:
        """Say what is still to be said, then stop."""
        self._closing.set()
        self._thread.join(2 * BEAT_S + 1)

    def _talk(self) -> None:
        raise NotImplementedError

    def _tell(self, ending: Ending) -> None:
        if not self._told and not self._closing.is_set():
            self._told = True
            self._on_ending(ending)


class Hub(Peers):
    """Node 0's end: listens, answers beats, passes an ending on."""

    def __init__(
        self,
        address: str,
        port: int,
        nodes: int,
        token: str,
        on_ending: Callable[[Ending], None],
        meet_s: float = MEET_S,
    ) -> None:
        super().__init__(0, token, on_ending)
        self._nodes, self._meet_s = nodes, meet_s
        self._listener = socket.create_server((address, port), backlog=nodes)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._links: dict[int, Link] = {}
        self._strangers: list[Link] = []
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listener.getsockname()[1])

    def announce(self, ending: Ending) -> None:
        with self._lock:
            for link in self._links.values():
                link.send({"ending": asdict(ending)})

    def _talk(self) -> None:
        meet_by = time.monotonic() + self._meet_s
        while not self._closing.is_set():
            for key, _ in self._selector.select(BEAT_S / 4):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._hear(key.data)
            self._look_for_lost(meet_by)
        for link in (*self._links.values(), *self._strangers):
            link.finish()
        self._selector.close()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            # A peer that reads nothing must not hold the hub for long.
            connection.settimeout(BEAT_S)
            link = Link(connection)
            self._strangers.append(link)
            self._selector.register(connection, selectors.EVENT_READ, link)

    def _hear(self, link: Link) -> None:
        messages = link.receive()
        for message in messages or ():
            if link.node < 0 and not self._greet(link, message):
                messages = None
                break
            if "beat" in message:
                link.send({"echo": message["beat"], "unix_ns": time.time_ns()})
            if "ending" in message:
                self._ended(link, _ending_from(message["ending"], link.node))
        if messages is None:
            self._selector.unregister(link.connection)
            link.connection.close()
            if link.node < 0:
                self._strangers.remove(link)
            elif not link.ended:
                self._lose(link.node, "its agent is gone without a word")

    def _greet(self, link: Link, message: Mapping[str, Any]) -> bool:
        node = message.get("node")
        if type(node) is not int or not 0 < node < self._nodes or node in self._links:
            return False
        if not hmac.compare_digest(str(message.get("token")), self._token):
            return False
        link.node = node
        self._strangers.remove(link)
        with self._lock:
            self._links[node] = link
        return True

    def _ended(self, link: Link, ending: Ending) -> None:
        link.ended = True
        if ending.kind != "succeeded":
            self.announce(ending)
            self._tell(ending)

    def _look_for_lost(self, meet_by: float) -> None:
        now = time.monotonic()
        for link in list(self._links.values()):
            if not link.ended and now - link.heard > LOST_S:
                self._lose(link.node, f"nothing was heard of it for {LOST_S:.0f} s")
        if now > meet_by:
            for node in set(range(1, self._nodes)) - set(self._links):
                self._lose(node, f"its agent did not come within {self._meet_s:.0f} s")

    def _lose(self, node: int, why: str) -> None:
        ending = Ending("lost", node, why)
        if node in self._links:
            self._links[node].ended = True
        self.announce(ending)
        self._tell(ending)


class Spoke(Peers):
    """Any other node's end: beats, listens, measures the clock."""

    def __init__(
        self,
        address: str,
        port: int,
        node: int,
        token: str,
        on_ending: Callable[[Ending], None],
        meet_s: float = MEET_S,
    ) -> None:
        super().__init__(node, token, on_ending)
        self.clock_error_ns = None
        self._address, self._port, self._meet_s = address, port, meet_s
        self._link: Link | None = None
        self._hub_ended = False

    def announce(self, ending: Ending) -> None:
        if self._link:
            self._link.send({"ending": asdict(ending)})

    def _talk(self) -> None:
        connection = self._connect()
        if connection is None:
            self._tell(Ending("lost", 0, f"its agent did not answer within {self._meet_s:.0f} s"))
            return
        link = self._link = Link(connection)
        link.send({"node": self.node, "token": self._token})
        next_beat = 0.0
        while not self._closing.is_set():
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + BEAT_S
                link.send({"beat": time.time_ns()})
            if not self._listen(link) or self._hub_ended:
                break
            if time.monotonic() - link.heard > LOST_S:
                self._tell(Ending("lost", 0, f"nothing was heard of it for {LOST_S:.0f} s"))
                break
        if self._hub_ended:
            self._closing.wait()
        link.finish()

    def _connect(self) -> socket.socket | None:
        end = time.monotonic() + self._meet_s
        while time.monotonic() < end and not self._closing.is_set():
            try:
                connection = socket.create_connection((self._address, self._port), timeout=BEAT_S)
            except OSError:
                # Not there yet, or not to be reached: both may pass.
                self._closing.wait(0.1)
                continue
            connection.settimeout(BEAT_S / 4)
            return connection
        return None

    def _listen(self, link: Link) -> bool:
        messages = link.receive()
        if messages is None:
            self._tell(Ending("lost", 0, "its agent is gone without a word"))
            return False
        for message in messages:
            if "echo" in message:
                self._measure(int(message["echo"]), int(message["unix_ns"]))
            if "ending" in message:
                ending = _ending_from(message["ending"])
                self._hub_ended = self._hub_ended or ending.node == 0
                if ending.kind != "succeeded":
                    self._tell(ending)
        return True

    def _measure(self, sent_ns: int, hub_ns: int) -> None:
        now_ns = time.time_ns()
        error_ns = (now_ns - sent_ns) // 2
        if self.clock_error_ns is None or error_ns < self.clock_error_ns:
            self.clock_error_ns, self.clock_offset_ns = error_ns, hub_ns - sent_ns - error_ns


def _ending_from(raw: Mapping[str, Any], node: int | None = None) -> Ending:
    return Ending(str(raw.get("kind")), int(raw.get("node", 0)) if node is None else node, str(raw.get("why"))[:2000])
