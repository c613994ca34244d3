"""What task 0a's check lets pass: operations done right on any number of ranks, and nothing that is not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from mlb.results.raw import OPERATIONS, SUMS, elements
from mlb.runners import raw, raw_pattern
from mlb.runners.raw_pattern import Pattern
from torch import Tensor

RANKS = 4
DTYPES = ("float32", "float16", "bfloat16")
Buffers = list[tuple[Tensor, Tensor]]
"""Of each rank, what it sends and what it receives."""


def all_reduce(buffers: Buffers) -> None:
    total = torch.stack([sent for sent, _ in buffers]).sum(0)
    for _, received in buffers:
        received.copy_(total)


def all_gather(buffers: Buffers) -> None:
    whole = torch.cat([sent for sent, _ in buffers])
    for _, received in buffers:
        received.copy_(whole)


def reduce_scatter(buffers: Buffers) -> None:
    total = torch.stack([sent for sent, _ in buffers]).sum(0)
    for (_, received), share in zip(buffers, total.chunk(len(buffers)), strict=True):
        received.copy_(share)


def broadcast(buffers: Buffers) -> None:
    for _, received in buffers:
        received.copy_(buffers[0][0])


def all_to_all(buffers: Buffers) -> None:
    for rank, (_, received) in enumerate(buffers):
        received.copy_(torch.cat([sent.chunk(len(buffers))[rank] for sent, _ in buffers]))


def send_recv(buffers: Buffers) -> None:
    for rank, (_, received) in enumerate(buffers):
        received.copy_(buffers[rank - 1][0])


RIGHT: dict[str, Callable[[Buffers], None]] = {
    one.__name__: one for one in (all_reduce, all_gather, reduce_scatter, broadcast, all_to_all, send_recv)
}


def cases_of(
    monkeypatch: pytest.MonkeyPatch, operation: str, ranks: int, size: int, dtype: str
) -> tuple[list[raw.Case], Buffers]:
    """Every rank's case, in this one process, and their buffers; the calls do nothing."""
    buffers: Buffers = []

    class Calls:
        def barrier(self) -> Callable[[], None]:
            return lambda: None

        def __getattr__(self, _operation: str) -> Callable[[Tensor, Tensor], Callable[[], None]]:
            def make(sent: Tensor, received: Tensor) -> Callable[[], None]:
                buffers.append((sent, received))
                return lambda: None

            return make

    monkeypatch.setattr(raw, "calls_of", lambda _group: Calls())
    place = raw.Place("none", torch.device("cpu"), None)
    count, kind = elements(operation, size, dtype, ranks), getattr(torch, dtype)
    return [raw.Case(operation, kind, count, place, ranks, rank) for rank in range(ranks)], buffers


def judged(cases: list[raw.Case], buffers: Buffers, call: Callable[[Buffers], object], shift: int = 0) -> bool:
    for case in cases:
        case.fill(shift)
    call(buffers)
    return all(case.is_correct() for case in cases)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_done_right_is_right_by_any_pattern(
    monkeypatch: pytest.MonkeyPatch, operation: str, dtype: str
) -> None:
    monkeypatch.setattr(raw_pattern, "_BLOCK", 100)
    for ranks, size in ((2, 1), (3, 7), (RANKS, 1_000), (8, 999), (130, 260)):
        cases, buffers = cases_of(monkeypatch, operation, ranks, size, dtype)
        assert judged(cases, buffers, RIGHT[operation]), (ranks, size)
        assert judged(cases, buffers, RIGHT[operation], shift=1), (ranks, size)


def swapped(buffers: Buffers) -> Buffers:
    """Ranks 0 and 3 taken for each other by who sends."""
    order = [3, 1, 2, 0]
    return [(buffers[order[rank]][0].clone(), received) for rank, (_, received) in enumerate(buffers)]


def first_chunks(buffers: Buffers) -> None:
    """An all-to-all in which everyone gets what everyone has for rank 0."""
    for _, received in buffers:
        received.copy_(torch.cat([sent.chunk(RANKS)[0] for sent, _ in buffers]))


def next_chunk(buffers: Buffers) -> None:
    """A reduce-scatter that hands out every share to the rank before."""
    total = torch.stack([sent for sent, _ in buffers]).sum(0).chunk(RANKS)
    for rank, (_, received) in enumerate(buffers):
        received.copy_(total[(rank + 1) % RANKS])


def without_the_last(buffers: Buffers) -> None:
    total = torch.stack([sent for sent, _ in buffers[:-1]]).sum(0)
    for rank, (_, received) in enumerate(buffers):
        received.copy_(total if received.shape == total.shape else total.chunk(RANKS)[rank])


def one_twice(buffers: Buffers) -> None:
    """Rank 1's values added up in place of rank 2's."""
    sent = [one for one, _ in buffers]
    total = torch.stack([sent[0], sent[1], sent[1], sent[3]]).sum(0)
    for rank, (_, received) in enumerate(buffers):
        received.copy_(total if received.shape == total.shape else total.chunk(RANKS)[rank])


WRONG: list[tuple[str, Callable[[Buffers], None]]] = [
    ("all_gather", lambda buffers: all_gather(swapped(buffers))),
    ("all_to_all", lambda buffers: all_to_all(swapped(buffers))),
    ("broadcast", lambda buffers: broadcast(swapped(buffers))),
    ("send_recv", lambda buffers: send_recv(swapped(buffers))),
    ("send_recv", lambda buffers: send_recv(buffers[::-1])),
    ("all_to_all", first_chunks),
    ("reduce_scatter", next_chunk),
    *((operation, call) for operation in SUMS for call in (without_the_last, one_twice)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("operation", "call"), WRONG)
def test_what_goes_to_or_comes_from_the_wrong_place_is_wrong(
    monkeypatch: pytest.MonkeyPatch, operation: str, call: Callable[[Buffers], None], dtype: str
) -> None:
    for size in (RANKS, 1_000):
        cases, buffers = cases_of(monkeypatch, operation, RANKS, size, dtype)
        assert not judged(cases, buffers, call), size


@pytest.mark.parametrize("operation", OPERATIONS)
def test_elements_in_another_order_or_left_as_they_were_are_wrong(
    monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    def turned(buffers: Buffers) -> None:
        RIGHT[operation](buffers)
        buffers[1][1].copy_(buffers[1][1].roll(1))

    def last_left(buffers: Buffers) -> None:
        before = buffers[1][1][-1].clone()
        RIGHT[operation](buffers)
        buffers[1][1][-1] = before

    cases, buffers = cases_of(monkeypatch, operation, RANKS, 1_000, "float32")
    assert not judged(cases, buffers, turned)
    assert not judged(cases, buffers, last_left)
    assert not judged(cases, buffers, lambda _buffers: None)
    # The very result of a call before.
    assert judged(cases, buffers, RIGHT[operation])
    before = [received.clone() for _, received in buffers]

    def stale(buffers: Buffers) -> None:
        for (_, received), old in zip(buffers, before, strict=True):
            received.copy_(old)

    assert not judged(cases, buffers, stale, shift=1)


def test_all_that_is_sent_and_added_up_is_exact_in_sixteen_bits() -> None:
    for operation in OPERATIONS:
        for ranks in (1, 2, 3, 4, 16, 128, 130, 256, 300):
            sent = torch.zeros(ranks, 2 * ranks)
            for rank, row in enumerate(sent):
                Pattern(operation, ranks, rank, 1).fill(row)
            sums = sent.sum(0) if operation in SUMS else sent
            assert 0 <= sums.min() < sums.max() <= 256, (operation, ranks)


def test_a_buffer_is_checked_without_another_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    repeat = Tensor.repeat

    def seen(self: Tensor, *times: Any) -> Tensor:
        made = repeat(self, *times)
        sizes.append(made.numel())
        return made

    monkeypatch.setattr(Tensor, "repeat", seen)
    (case,), buffers = cases_of(monkeypatch, "all_reduce", 1, 5 << 20, "bfloat16")
    case.fill()
    assert case.is_correct()
    buffers[0][1][-1] += 1
    assert not case.is_correct()
    assert sizes
    assert max(sizes) < (1 << 20) + 1_000


@pytest.mark.parametrize(("wrong_from", "correct"), [(1_000, True), (1, False), (2, False)])
def test_the_first_call_and_one_after_the_last_are_checked(
    monkeypatch: pytest.MonkeyPatch, wrong_from: int, correct: bool
) -> None:
    """One rank whose calls move nothing any more from the first, or from the second on."""

    class Calls:
        made = 0

        def barrier(self) -> Callable[[], None]:
            return lambda: None

        def all_gather(self, sent: Tensor, received: Tensor) -> Callable[[], None]:
            def call() -> None:
                self.made += 1
                if self.made < wrong_from:
                    received.copy_(sent)

            return call

    class Log:
        def event(self, _key: str, **fields: object) -> None:
            self.fields = fields

    calls, log = Calls(), Log()
    monkeypatch.setattr(raw, "calls_of", lambda _group: calls)
    monkeypatch.setattr(raw.dist, "get_world_size", lambda: 1)
    monkeypatch.setattr(raw.dist, "get_rank", lambda: 0)
    monkeypatch.setattr(raw, "_repetitions", lambda *_: 5)
    raw._measure("all_gather", "float32", 100, raw.Place("none", torch.device("cpu"), None), 0.1, log)  # type: ignore[arg-type]
    assert log.fields["correct"] is correct
    assert len(log.fields["times_ns"]) == 5  # type: ignore[arg-type]
    assert calls.made == 1 + 3 + 5 + 1
