"""Beam search against brute force over tiny vocabularies."""

from __future__ import annotations

import itertools

import pytest
import torch
from mlb.tasks.beam import Beam, search
from torch import Tensor

BEGIN, END, WORDS = 0, 1, 4
LONGEST = 4


class Toy:
    """Scores of the next token depend on the sentence and on all tokens before; attention likewise."""

    def __init__(self, sentences: int, seed: int, attends: bool) -> None:
        random = torch.Generator().manual_seed(seed)
        self.scores = torch.randn(sentences, WORDS ** (LONGEST + 1), WORDS, generator=random) * 2
        self.attention = torch.rand(sentences, WORDS ** (LONGEST + 1), 3, generator=random)
        self.attends = attends

    def start(self, source_BS: Tensor, real_BS: Tensor) -> list[Tensor]:
        return [source_BS[:, 0], torch.zeros(len(source_BS), dtype=torch.long)]

    def advance(self, tokens_B: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor], Tensor | None]:
        which, path = state
        path = path * WORDS + tokens_B
        attention = self.attention[which, path] if self.attends else None
        return self.scores[which, path], [which, path], attention


def brute_force(toy: Toy, sentence: int, real: Tensor, beam: Beam) -> list[int]:
    """The best of all sequences that end within the longest length."""
    best, worth = [], -float("inf")
    for length in range(1, LONGEST + 1):
        for words in itertools.product([w for w in range(WORDS) if w != END], repeat=length - 1):
            path, total, covered = 0, 0.0, torch.zeros(3)
            for before, word in itertools.pairwise([BEGIN, *words, END]):
                path = path * WORDS + before
                total += float(torch.log_softmax(toy.scores[sentence, path], -1)[word])
                covered += toy.attention[sentence, path]
            penalty = ((beam.length_constant + length) / (beam.length_constant + 1)) ** beam.length_alpha
            coverage = float(covered.clamp(1e-9, 1).log()[real].sum())
            value = total / penalty + beam.coverage_beta * coverage
            if value > worth:
                best, worth = list(words), value
    return best


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(("constant", "beta"), [(0.0, 0.0), (5.0, 0.1), (5.0, 2.0)])
@pytest.mark.parametrize("seed", range(3))
def test_a_wide_beam_finds_what_brute_force_finds(alpha: float, constant: float, beta: float, seed: int) -> None:
    """A beam as wide as there are sequences loses none of them; sources of different lengths side by side."""
    sentences = 5
    toy = Toy(sentences, seed, attends=beta > 0)
    source = torch.arange(sentences)[:, None].expand(-1, 3)
    real = torch.tensor([[True, True, True], [True, True, False]]).repeat(3, 1)[:sentences]
    beam = Beam(WORDS**LONGEST, alpha, constant, beta, BEGIN, END)
    found = search(toy, source, real, [LONGEST] * sentences, beam)
    assert found == [brute_force(toy, b, real[b], beam) for b in range(sentences)]


def test_a_beam_of_one_is_greedy() -> None:
    toy = Toy(3, 9, attends=False)
    found = search(toy, torch.arange(3)[:, None], torch.ones(3, 1, dtype=torch.bool), [LONGEST] * 3,
                   Beam(1, 0.0, 0.0, 0.0, BEGIN, END))  # fmt: skip
    for b in range(3):
        path, words = 0, [BEGIN]
        while len(words) <= LONGEST and words[-1] != END:
            path = path * WORDS + words[-1]
            words.append(int(toy.scores[b, path].argmax()))
        assert found[b] == [w for w in words[1:] if w != END]


def test_sentences_do_not_disturb_each_other() -> None:
    toy = Toy(4, 2, attends=True)
    real = torch.ones(4, 3, dtype=torch.bool)
    source = torch.arange(4)[:, None].expand(-1, 3)
    beam = Beam(3, 0.6, 5.0, 0.1, BEGIN, END)
    longest = [4, 2, 3, 4]
    together = search(toy, source, real, longest, beam)
    alone = [search(toy, source[i : i + 1], real[:1], longest[i : i + 1], beam)[0] for i in range(4)]
    assert together == alone
    assert [len(words) <= n for words, n in zip(together, longest, strict=True)] == [True] * 4
