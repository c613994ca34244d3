"""BLEU of a whole corpus whose sentences are spread over ranks: exact, for any number of them; by sacrebleu.

BLEU is a function of counts that add up over sentences (matching n-grams, n-grams, lengths): ranks add up theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor


@dataclass(frozen=True)
class Score:
    """BLEU, from 0 to 100, and how it was computed."""

    value: float
    signature: str


UNCASED_INTL = {"lowercase": True, "tokenize": "intl"}
"""MLPerf's and MLBench's: the one that the targets are about."""
CASED_13A = {"lowercase": False, "tokenize": "13a"}
"""sacrebleu's default, told beside it."""


def corpus_bleu(
    translations: Sequence[str],
    references: Sequence[str],
    how: dict[str, object],
    sum_over_ranks: Callable[[Tensor], Tensor],
    device: torch.device,
) -> Score:
    """BLEU of all ranks' translations; a rank may have none."""
    bleu = BLEU(**how)  # type: ignore[arg-type]  # typed one by one in sacrebleu
    counts = torch.zeros(10, dtype=torch.float64)
    if translations:
        mine = bleu.corpus_score(list(translations), [list(references)])
        counts = torch.tensor([*mine.counts, *mine.totals, mine.sys_len, mine.ref_len], dtype=torch.float64)
    else:
        bleu.corpus_score([""], [[""]])  # the signature needs to have seen the number of references
    total = [round(value) for value in sum_over_ranks(counts.to(device)).tolist()]
    score = BLEU.compute_bleu(
        correct=total[:4], total=total[4:8], sys_len=total[8], ref_len=total[9], smooth_method="exp"
    )
    return Score(float(score.score), str(bleu.get_signature()))
