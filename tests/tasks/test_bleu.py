"""BLEU: exact over any number of ranks, with the signatures that say which BLEU it is."""

from __future__ import annotations

import pytest
import sacrebleu
import torch
from mlb.tasks.bleu import CASED_13A, UNCASED_INTL, corpus_bleu
from torch import Tensor

REFERENCES = ["The cat sat on the mat.", "It's 3.5 o'clock, isn't it?", "Ein Hund läuft über die Wiese.", "Yes."]
TRANSLATIONS = ["the cat sat on a mat .", "It is 3.5 o'clock, isn't it?", "Ein Hund läuft auf der Wiese.", ""]


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_it_is_that_of_the_whole_corpus_for_any_number_of_ranks(world: int) -> None:
    """Seven ranks share four sentences: three have none."""
    shares = [range(4)[rank::world] for rank in range(world)]
    totals: list[Tensor] = []

    def gather(values: Tensor) -> Tensor:
        totals.append(values.clone())
        return values

    for share in shares:
        corpus_bleu([TRANSLATIONS[i] for i in share], [REFERENCES[i] for i in share], UNCASED_INTL, gather, CPU)
    whole = torch.stack(totals).sum(0)
    found = corpus_bleu([], [], UNCASED_INTL, lambda values: values.copy_(whole), CPU)
    expected = sacrebleu.corpus_bleu(TRANSLATIONS, [REFERENCES], lowercase=True, tokenize="intl")
    assert found.value == pytest.approx(expected.score, abs=1e-9)


def test_the_signatures_name_what_was_done() -> None:
    uncased, cased = (corpus_bleu(TRANSLATIONS, REFERENCES, how, lambda v: v, CPU) for how in (UNCASED_INTL, CASED_13A))
    assert "case:lc" in uncased.signature
    assert "tok:intl" in uncased.signature
    assert "case:mixed" in cased.signature
    assert "tok:13a" in cased.signature
    assert cased.value < uncased.value
    empty = corpus_bleu([], [], UNCASED_INTL, lambda v: v, CPU)
    assert empty.signature == uncased.signature, "also of a rank without sentences"


CPU = torch.device("cpu")
