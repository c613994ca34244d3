"""Prepared sentence pairs: read by number, put into batches of like length, shared out to ranks.

Shapes: N pairs, B pairs of a batch, S and T pieces of its longest source and target.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UsageError
from .load import load_array
from .parallel import BEGIN, END, PAD
from .share import generator


@dataclass(frozen=True)
class Side:
    """One side of a split."""

    ids: Tensor
    """All sentences, one after the other, (pieces,)."""
    ends: Tensor
    """The place behind each sentence, (N,)."""

    @property
    def lengths(self) -> Tensor:
        """Pieces of each sentence, (N,)."""
        return torch.diff(self.ends, prepend=torch.zeros(1, dtype=torch.int64))

    def sentence(self, number: int) -> Tensor:
        first = int(self.ends[number - 1]) if number else 0
        return self.ids[first : int(self.ends[number])].long()


@dataclass(frozen=True)
class Pairs:
    """One split."""

    source: Side
    target: Side

    def __len__(self) -> int:
        return len(self.source.ends)

    def sources(self, chosen: list[int]) -> Tensor:
        """(B, S): each source and its end, padded."""
        return _padded([torch.cat([self.source.sentence(i), _END]) for i in chosen])

    def targets(self, chosen: list[int]) -> tuple[Tensor, Tensor]:
        """(B, T) each: the target behind its beginning, and the same moved on by one, with its end."""
        sentences = [self.target.sentence(i) for i in chosen]
        return _padded([torch.cat([_BEGIN, s]) for s in sentences]), _padded([torch.cat([s, _END]) for s in sentences])


def longest_of(path: Path) -> int:
    """The most pieces that either side of a training pair has: longer pairs were left out when the set was made."""
    return int(json.loads((path / "meta.json").read_text())["made_from"]["longest"])


_BEGIN, _END = torch.tensor([BEGIN]), torch.tensor([END])


def load_pairs(path: Path, split: str, limit: int | None = None) -> Pairs:
    """The pairs of a split; at most the first `limit`."""

    def side(name: str) -> Side:
        return Side(load_array(path, f"{split}_{name}"), load_array(path, f"{split}_{name}_ends")[:limit])

    return Pairs(side("source"), side("target"))


def bucketed(
    pairs: Pairs, group: int, seed: int, epoch: int, *, tokens: int | None = None, sentences: int | None = None
) -> list[list[int]]:
    """An epoch's batches, each pair in one of them: of like length, in random order, a multiple of `group` many.

    A batch holds at most `tokens` pieces a side, padding and end included, and at most `sentences` pairs. Where the
    number of batches is no multiple of `group`, the largest are halved until it is: nothing is left out, and nothing
    comes twice.

    Raises:
        UsageError: a sentence is longer than a batch, or there are fewer pairs than a step has batches.
    """
    lengths = torch.maximum(pairs.source.lengths, pairs.target.lengths) + 1
    if tokens is not None and int(lengths.max()) > tokens:
        raise UsageError(
            f"A sentence of {int(lengths.max())} pieces does not fit into a batch of {tokens}.",
            fix="Use larger batches.",
        )
    if len(pairs) < group:
        raise UsageError(
            f"{len(pairs):,} sentence pairs cannot be shared out to {group:,} batches of one step.",
            fix="Use fewer ranks or fewer batches a step.",
        )
    random = generator(seed, 3, epoch)
    shuffled = torch.randperm(len(pairs), generator=random)
    # Sorting what was shuffled, stably: pairs of one length meet others in every epoch.
    order = shuffled[lengths[shuffled].sort(stable=True).indices]
    batches: list[list[int]] = []
    batch: list[int] = []
    for number, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        too_long = tokens is not None and length * (len(batch) + 1) > tokens
        if too_long or len(batch) == sentences:
            batches.append(batch)
            batch = []
        batch.append(number)
    batches.append(batch)
    _fill_up(batches, group)
    return [batches[i] for i in torch.randperm(len(batches), generator=random).tolist()]


def _fill_up(batches: list[list[int]], group: int) -> None:
    """Halve the largest batches until their number is a multiple of `group`."""
    while len(batches) % group:
        largest = max(range(len(batches)), key=lambda i: len(batches[i]))
        whole = batches[largest]
        batches[largest] = whole[: len(whole) // 2]
        batches.append(whole[len(whole) // 2 :])


def _padded(sentences: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(sentences, batch_first=True, padding_value=PAD)
