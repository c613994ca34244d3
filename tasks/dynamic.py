"""Dynamic evaluation: a language model that goes on learning from the text it is being evaluated on.

Krause, Kahembwe, Murray and Renals 2017, "Dynamic Evaluation of Neural Sequence Models", section 4. The text is one
stream. Each sequence of a few tokens is scored with the weights as they are; only then does its gradient g change them:

    w += decay * d * (w0 - w) - rate * g / (r + epsilon)

w0 are the trained weights, r the root of the mean square of each weight's gradient on training text, and d is r over
its mean over all weights, at most 1 / decay: weights that matter little are pulled back little.

Shapes: T tokens, V vocabulary. Weights and their statistics are lists of tensors, one a parameter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.awd_lstm import AWDLSTM, detached


@dataclass(frozen=True)
class Adaptation:
    """How fast the model follows the text."""

    bptt: int
    """Tokens of a sequence, scored together and then learned from."""
    learning_rate: float
    decay: float
    epsilon: float


def without_dropout(model: AWDLSTM) -> AWDLSTM:
    """A copy of the model that drops nothing; in training mode, in which every device can differentiate an LSTM."""
    copy = AWDLSTM(model.config.without_dropout()).to(next(model.parameters()).device)
    copy.load_state_dict(model.state_dict())
    return copy.train()


def gradient_statistics(model: AWDLSTM, text_TB: Tensor, bptt: int, sequences: int) -> list[Tensor]:
    """r of the formula above: over the first `sequences` sequences of `bptt` steps of training text."""
    squares = [torch.zeros_like(p) for p in model.parameters()]
    state, seen = model.initial_state(text_TB.shape[1]), 0
    for x_TB, y_TB in _sequences(text_TB, bptt, sequences, next(model.parameters()).device):
        out = model(x_TB, state)
        state = detached(out.state)
        loss = F.cross_entropy(model.logits(out.hidden_NE), y_TB.flatten())
        for square, g in zip(squares, torch.autograd.grad(loss, list(model.parameters())), strict=True):
            square.addcmul_(g, g)
        seen += 1
    return [(square / seen).sqrt_() for square in squares]


def adapted_loss(model: AWDLSTM, text_T: Tensor, statistics: Sequence[Tensor], how: Adaptation) -> tuple[float, int]:
    """The summed cross-entropy of a text and its number of predictions; `model` ends adapted to the text."""
    weights = list(model.parameters())
    trained = [w.detach().clone() for w in weights]
    mean = sum(float(r.sum()) for r in statistics) / sum(r.numel() for r in statistics)
    pull = [(r / mean).clamp_max_(1 / how.decay).mul_(how.decay) for r in statistics]
    scale = [how.learning_rate / (r + how.epsilon) for r in statistics]
    total = torch.zeros((), dtype=torch.float64, device=weights[0].device)
    state, count = model.initial_state(1), 0
    for x_TB, y_TB in _sequences(text_T[:, None], how.bptt, None, weights[0].device):
        out = model(x_TB, state)
        state = detached(out.state)
        loss = F.cross_entropy(model.logits(out.hidden_NE), y_TB.flatten())
        gradients = torch.autograd.grad(loss, weights)
        total += loss.detach().double() * y_TB.numel()
        count += y_TB.numel()
        with torch.no_grad():
            for w, w0, p, s, g in zip(weights, trained, pull, scale, gradients, strict=True):
                w.addcmul_(p, w0 - w).addcmul_(s, g, value=-1)
    return float(total), count


def _sequences(text_TB: Tensor, bptt: int, limit: int | None, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets of consecutive sequences, on the device."""
    last = text_TB.shape[0] - 1
    for start in list(range(0, last, bptt))[:limit]:
        length = min(bptt, last - start)
        x_TB, y_TB = text_TB[start : start + length], text_TB[start + 1 : start + 1 + length]
        yield x_TB.long().to(device), y_TB.long().to(device)
