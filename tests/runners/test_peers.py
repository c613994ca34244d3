"""The agents of a run, talking over real sockets in one process."""

import json
import socket
import time
from contextlib import suppress
from queue import Empty, Queue

import pytest
from mlb.runners.peers import LOST_S, Ending, Hub, Peers, Spoke
from support import wait_until

HOST = "127.0.0.1"
PATIENCE_S = LOST_S + 20


class Table:
    """A hub and its spokes, each with what it was told."""

    def __init__(self, nodes: int, *, meet_s: float = 20.0, seated: int | None = None) -> None:
        self.told: list[Queue[Ending]] = [Queue() for _ in range(nodes)]
        self.hub = Hub(HOST, 0, nodes, "secret", self.told[0].put, meet_s)
        seats = range(1, nodes if seated is None else seated)
        spokes = [Spoke(HOST, self.hub.port, n, "secret", self.told[n].put, meet_s) for n in seats]
        self.all: list[Peers] = [self.hub, *spokes]
        for peers in self.all:
            peers.start()

    def all_have_met(self) -> None:
        wait_until(lambda: all(p.clock_error_ns is not None for p in self.all), "an exchange of clocks")

    def close(self) -> None:
        for peers in self.all:
            peers.close()


def test_an_ending_reaches_every_other_node_once() -> None:
    table = Table(4)
    table.all_have_met()
    table.all[2].announce(Ending("failed", 2, "rank 2: killed by SIGKILL"))
    for node in (0, 1, 3):
        ending = table.told[node].get(timeout=PATIENCE_S)
        assert ending == Ending("failed", 2, "rank 2: killed by SIGKILL")
    table.all[2].announce(Ending("failed", 2, "again"))
    table.close()
    assert all(queue.empty() for node, queue in enumerate(table.told) if node != 2)


def test_the_hubs_own_ending_reaches_all() -> None:
    table = Table(3)
    table.all_have_met()
    table.hub.announce(Ending("stopped", 0, "stopped on request"))
    for node in (1, 2):
        assert table.told[node].get(timeout=PATIENCE_S).kind == "stopped"
    table.close()


def test_success_ends_nobody_in_whatever_order_it_comes() -> None:
    table = Table(3)
    table.all_have_met()
    for peers in (table.hub, table.all[2], table.all[1]):
        peers.announce(Ending("succeeded", peers.node, ""))
        peers.close()
    assert all(queue.empty() for queue in table.told)


def test_a_peer_that_is_gone_without_a_word_is_lost_at_once() -> None:
    table = Table(3)
    table.all_have_met()
    table.all[1].close()
    for node in (0, 2):
        ending = table.told[node].get(timeout=LOST_S / 2)
        assert (ending.kind, ending.node, ending.why) == ("lost", 1, "its agent is gone without a word")
    table.close()


def test_a_silent_peer_is_lost_within_its_bound() -> None:
    told: Queue[Ending] = Queue()
    hub = Hub(HOST, 0, 2, "secret", told.put)
    hub.start()
    with socket.create_connection((HOST, hub.port)) as silent:
        silent.sendall(json.dumps({"node": 1, "token": "secret"}).encode() + b"\n")
        begun = time.monotonic()
        ending = told.get(timeout=PATIENCE_S)
        assert (ending.kind, ending.node) == ("lost", 1)
        assert time.monotonic() - begun > LOST_S / 2, "the bound is not for a slow moment"
    hub.close()


def test_a_node_that_never_comes_is_lost() -> None:
    table = Table(3, meet_s=1.0, seated=2)
    for node in (0, 1):
        ending = table.told[node].get(timeout=PATIENCE_S)
        assert (ending.kind, ending.node) == ("lost", 2)
    table.close()


def test_a_spoke_without_a_hub_gives_up() -> None:
    told: Queue[Ending] = Queue()
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
    spoke = Spoke(HOST, port, 1, "secret", told.put, meet_s=0.5)
    spoke.start()
    assert told.get(timeout=PATIENCE_S).kind == "lost"
    spoke.close()


@pytest.mark.parametrize(
    "sent",
    [
        b'{"node": 1, "token": "wrong"}\n',
        b'{"node": 7, "token": "secret"}\n',
        b'{"node": true, "token": "secret"}\n',
        b'{"ending": {"kind": "failed", "node": 1, "why": "x"}}\n',
        b"GET / HTTP/1.1\r\n\r\n",
        b'["node", 1]\n',
        b"x" * 200_000,
    ],
)
def test_a_stranger_is_sent_away_and_ends_nothing(sent: bytes) -> None:
    table = Table(2)
    table.all_have_met()
    with socket.create_connection((HOST, table.hub.port)) as stranger:
        stranger.settimeout(PATIENCE_S)
        stranger.sendall(sent)
        with suppress(ConnectionResetError):
            assert stranger.recv(1) == b""
    with pytest.raises(Empty):
        table.told[0].get(timeout=0.5)
    assert table.told[1].empty()
    table.close()
