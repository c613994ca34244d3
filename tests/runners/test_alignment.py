"""The comparison of clocks: real sockets, between threads that read clocks of known offset."""

import threading
import time
from queue import Queue

import pytest
from mlb.runners import alignment
from mlb.runners.alignment import ClockExchange, Offset


class Meeting:
    """What ranks have in common before they have anything: rank 0's value reaches all."""

    def __init__(self, rank: int, world_size: int, queues: list[Queue]) -> None:
        self.rank, self.world_size, self._queues = rank, world_size, queues

    def tell_all(self, value: object) -> object:
        if self.rank == 0:
            for queue in self._queues:
                queue.put(value)
        return self._queues[self.rank].get(timeout=60)


def measure(world: int, monkeypatch: pytest.MonkeyPatch, ahead_ns: dict[int, int]) -> list[ClockExchange | Offset]:
    """Let `world` ranks measure; rank r's clock is ahead of the real one by `ahead_ns[r]`."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    queues: list[Queue] = [Queue() for _ in range(world)]
    results: dict[int, object] = {}
    real, mine = time.monotonic_ns, threading.local()
    monkeypatch.setattr(alignment.time, "monotonic_ns", lambda: real() + getattr(mine, "ahead", 0))

    def rank(number: int) -> None:
        mine.ahead = ahead_ns.get(number, 0)
        exchange = ClockExchange(Meeting(number, world, queues))
        results[number] = exchange.measure() or exchange
        exchange.close()

    threads = [threading.Thread(target=rank, args=(number,)) for number in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [results[number] for number in range(world)]  # type: ignore[misc]


def test_the_offset_lies_within_its_stated_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = {1: 3_000_000_000, 2: -7_654_321}
    offsets = measure(3, monkeypatch, ahead)
    for rank, offset in enumerate(offsets):
        assert isinstance(offset, Offset)
        assert abs(offset.offset_ns + ahead.get(rank, 0)) <= offset.error_ns
    assert offsets[0] == Offset(offsets[0].time_ns, 0, 0, 0)


def test_alone_there_is_nothing_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    (offset,) = measure(1, monkeypatch, {})
    assert isinstance(offset, Offset)
    assert (offset.offset_ns, offset.error_ns) == (0, 0)


def test_without_a_port_every_rank_says_so_and_none_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(alignment.socket, "create_server", refuse)
    first, second = measure(2, monkeypatch, {})
    assert isinstance(first, Offset), "rank 0 is its own reference"
    assert isinstance(second, ClockExchange)
    assert second.trouble == "rank 0 has no port to compare clocks at"


def test_a_stranger_at_the_port_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    connected = alignment._connected

    def stranger_first(address: str, port: int, token: bytes) -> object:
        with alignment.socket.create_connection((address, port)) as stranger:
            stranger.sendall(b"x" * len(token))
        with alignment.socket.create_connection((address, port)):
            return connected(address, port, token)

    monkeypatch.setattr(alignment, "_connected", stranger_first)
    assert all(isinstance(offset, Offset) for offset in measure(2, monkeypatch, {}))
