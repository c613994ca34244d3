"""What task 0a sends, and what must come of it: whole numbers that tell rank, chunk and place apart.

Element j of the chunk that rank r has for rank d is (a r + b d + j) mod m. So whatever lands in a wrong place, comes
from a wrong rank or is added up once too often or too seldom differs from what is expected, in buffers that do not
need a second one beside them to be filled or compared: along j, everything repeats after m.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..results.raw import SUMS

_EXACT = 256
"""Whole numbers to here are exact in bfloat16, and so in every type of the plan."""
_BLOCK = 1 << 20
"""Elements written or compared at once."""
_POISON = -1


class Pattern:
    """What one rank sends in an operation, and what it is to receive.

    Args:
        shift: added to every value before the modulus; another one makes the results of a former call wrong.
    """

    def __init__(self, operation: str, ranks: int, rank: int, shift: int = 0) -> None:
        self._operation, self._ranks, self._rank, self._shift = operation, ranks, rank, shift
        self._senders, self._m = _of_sums(ranks) if operation in SUMS else (ranks, 251)
        # 251 is prime, and neither 17, 101 nor their difference is a multiple of it.
        self._a, self._b = (1, 1) if operation in SUMS else (17, 101)

    def fill(self, sent: Tensor) -> None:
        """Write this rank's values into what it sends; float32, float16 or bfloat16, contiguous."""
        if self._rank >= self._senders:
            sent.zero_()
            return
        chunks = self._ranks if self._operation in ("reduce_scatter", "all_to_all") else 1
        values = torch.arange(self._m)
        for part, expected in self._pieces(sent, [self._at(self._rank, chunk) for chunk in range(chunks)], values):
            part.copy_(expected)

    def is_in(self, received: Tensor) -> bool:
        """Whether every element is what the operation should have left there."""
        firsts = {
            "all_reduce": [self._shift],
            "all_gather": [self._at(rank, 0) for rank in range(self._ranks)],
            "reduce_scatter": [self._at(0, self._rank)],
            "broadcast": [self._at(0, 0)],
            "all_to_all": [self._at(rank, self._rank) for rank in range(self._ranks)],
            "send_recv": [self._at((self._rank - 1) % self._ranks, 0)],
        }[self._operation]
        values = torch.arange(self._m)
        if self._operation in SUMS:
            values = sum(((values + rank) % self._m for rank in range(self._senders)), torch.zeros_like(values))
        return all(torch.equal(part, expected) for part, expected in self._pieces(received, firsts, values))

    def _at(self, rank: int, chunk: int) -> int:
        return self._a * rank + self._b * chunk + self._shift

    def _pieces(self, buffer: Tensor, firsts: Sequence[int], values: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Blocks of a buffer, each with what belongs there: its equal chunks begin with these places of the values."""
        chunks = buffer.view(len(firsts), -1)
        longest = min(_BLOCK, chunks.shape[1])
        ramp = values.repeat(-(-longest // self._m) + 1).to(buffer)
        for first, chunk in zip(firsts, chunks, strict=True):
            for start in range(0, len(chunk), _BLOCK):
                part, place = chunk[start : start + _BLOCK], (first + start) % self._m
                yield part, ramp[place : place + len(part)]


def poison(received: Tensor) -> None:
    """Put in what no operation leaves, so that what is not written is wrong."""
    received.fill_(_POISON)


def _of_sums(ranks: int) -> tuple[int, int]:
    """How many ranks send something, and the m of their values: the largest whose sums are exact.

    It must not divide the senders, or all sums would be equal. From 130 ranks on there are numbers without any m, and
    from 257 on nothing is exact: the last ranks then send zeros.
    """
    for senders in range(min(ranks, _EXACT), 0, -1):
        for m in range(_EXACT // senders + 1, 1, -1):
            if senders % m:
                return senders, m
    raise AssertionError("one rank has an m")
