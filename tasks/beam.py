"""Beam search over any model that decodes token by token, many sentences at a time.

A hypothesis y of a source x is worth log P(y|x) / lp(y) + cp(x, y) (Wu et al. 2016, section 7):

    lp(y) = ((c + |y|) / (c + 1)) ^ alpha          cp(x, y) = beta * sum over i of log(min(sum over j of p_ij, 1))

p_ij is the attention of target token j to source token i; |y| counts the end-of-sentence token. With c = 0 and
beta = 0 the length penalty is |y| ^ alpha. A sentence is done once as many hypotheses have ended as the beam is wide;
the search ends there or at its longest length, where what has not ended competes as it is only if nothing has.

Shapes: B sentences, K hypotheses of each, S source tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Decoder(Protocol):
    """A model that decodes token by token. Every tensor of a state has the sentence as its first axis."""

    def start(self, source_BS: Tensor, real_BS: Tensor) -> list[Tensor]: ...

    def advance(self, tokens_B: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Scores of the next token, (B, V); the new state; the attention to the source, (B, S), if there is one."""


@dataclass(frozen=True)
class Beam:
    """How to search."""

    width: int
    length_alpha: float
    length_constant: float
    coverage_beta: float
    begin: int
    end: int
    """Ids of the tokens that begin and end a sentence."""


@dataclass
class _Ended:
    """A finished hypothesis."""

    worth: float
    tokens: list[int]


def search(model: Decoder, source_BS: Tensor, real_BS: Tensor, longest_B: list[int], beam: Beam) -> list[list[int]]:
    """The best translation of each sentence, without the tokens that begin and end it.

    Args:
        longest_B: tokens that a translation may have, the end included, for each sentence.
    """
    sentences, width, device = source_BS.shape[0], beam.width, source_BS.device
    state = [t.repeat_interleave(width, 0) for t in model.start(source_BS, real_BS)]
    tokens_BK1 = torch.full((sentences, width, 1), beam.begin, device=device)
    # At first all hypotheses of a sentence are one and the same: only the first may go on.
    scores_BK = torch.full((sentences, width), -torch.inf, device=device)
    scores_BK[:, 0] = 0.0
    covered_BKS = torch.zeros(sentences, width, source_BS.shape[1], device=device)
    ended: list[list[_Ended]] = [[] for _ in range(sentences)]
    for length in range(1, max(longest_B) + 1):
        logits_NV, state, attention_NS = model.advance(tokens_BK1[:, :, -1].flatten(), state)
        log_p = torch.log_softmax(logits_NV.float(), -1).view(sentences, width, -1)
        if attention_NS is not None:
            covered_BKS = covered_BKS + attention_NS.float().view_as(covered_BKS)
        vocabulary = log_p.shape[-1]
        # Twice the width: even if all of the first half end, as many are left to go on.
        all_BKV = scores_BK[:, :, None] + log_p
        best_scores, best = all_BKV.flatten(1).topk(min(2 * width, width * vocabulary), 1)
        parents, words = best // vocabulary, best % vocabulary
        worth = _worth(best_scores, covered_BKS.gather(1, _wide(parents, covered_BKS)), real_BS, length, beam)
        chosen = _advance_sentences(ended, tokens_BK1, best_scores, parents, words, worth, longest_B, length, beam)
        if chosen is None:
            break
        scores_BK, keep = chosen
        parents, words = parents.gather(1, keep), words.gather(1, keep)
        tokens_BK1 = torch.cat([tokens_BK1.gather(1, _wide(parents, tokens_BK1)), words[:, :, None]], 2)
        covered_BKS = covered_BKS.gather(1, _wide(parents, covered_BKS))
        order = (torch.arange(sentences, device=device)[:, None] * width + parents).flatten()
        state = [t.index_select(0, order) for t in state]
    return [max(hypotheses, key=lambda h: h.worth).tokens for hypotheses in ended]


def _worth(scores: Tensor, covered: Tensor, real_BS: Tensor, length: int, beam: Beam) -> Tensor:
    """What hypotheses of this length are worth once they end: (B, 2 K)."""
    penalty: float = ((beam.length_constant + length) / (beam.length_constant + 1)) ** beam.length_alpha
    worth = scores / penalty
    if beam.coverage_beta:
        logs = covered.clamp(1e-9, 1.0).log().masked_fill(~real_BS[:, None, :], 0.0)
        worth = worth + beam.coverage_beta * logs.sum(-1)
    return worth


def _advance_sentences(
    ended: list[list[_Ended]],
    tokens_BKT: Tensor,
    scores: Tensor,
    parents: Tensor,
    words: Tensor,
    worth: Tensor,
    longest_B: list[int],
    length: int,
    beam: Beam,
) -> tuple[Tensor, Tensor] | None:
    """Take in what ended; the scores, (B, K), and places, (B, K), of what goes on; None once nothing does."""
    ends = (words == beam.end) & scores.isfinite()
    for b, i in ends[:, : beam.width].nonzero().tolist():
        if not _done(ended[b], longest_B[b], length - 1, beam):
            tokens = tokens_BKT[b, parents[b, i], 1:].tolist()
            ended[b].append(_Ended(float(worth[b, i]), tokens))
    going_scores, keep = scores.masked_fill(ends, -torch.inf).topk(beam.width, 1)
    for b, longest in enumerate(longest_B):
        if length == longest and not ended[b]:
            # Nothing ended in time: the best of what goes on is better than no translation.
            i = int(keep[b, 0])
            tokens = [*tokens_BKT[b, parents[b, i], 1:].tolist(), int(words[b, i])]
            ended[b].append(_Ended(float(worth[b, i]), tokens))
    if all(_done(hypotheses, longest_B[b], length, beam) for b, hypotheses in enumerate(ended)):
        return None
    return going_scores, keep


def _done(hypotheses: list[_Ended], longest: int, length: int, beam: Beam) -> bool:
    return length >= longest or len(hypotheses) >= beam.width


def _wide(index_BK: Tensor, like_BKX: Tensor) -> Tensor:
    """An index of hypotheses, for gathering whole rows of another tensor."""
    return index_BK[:, :, None].expand(-1, -1, like_BKX.shape[2])
