"""GNMT: its size, its equations written out, and decoding piece by piece."""

from __future__ import annotations

import torch
from mlb.models.gnmt import GNMT, GNMTConfig
from torch import Tensor
from torch.nn import functional as F

TINY = GNMTConfig(vocabulary=30, width=6, layers=4, dropout=0.2, init_range=0.5)


def test_the_model_has_mlbenchs_parameters() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in GNMT(GNMTConfig()).parameters()) == 160_671_297


def batch() -> tuple[Tensor, Tensor, Tensor]:
    source = torch.randint(4, 30, (3, 5), generator=torch.Generator().manual_seed(1))
    real = torch.ones(3, 5, dtype=torch.bool)
    real[1, 3:] = False
    real[2, 4:] = False
    return source, real, torch.randint(4, 30, (3, 4), generator=torch.Generator().manual_seed(2))


def lstm(weights: dict[str, Tensor], name: str, xs: list[Tensor]) -> list[Tensor]:
    """One layer by its gates, in the order input, forget, cell, output."""
    w, u = weights[f"{name}.weight_ih_l0"], weights[f"{name}.weight_hh_l0"]
    b = weights[f"{name}.bias_ih_l0"] + weights[f"{name}.bias_hh_l0"]
    h = c = xs[0].new_zeros(u.shape[1])
    out = []
    for x in xs:
        i, f, g, o = (w @ x + u @ h + b).chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        out.append(h)
    return out


def by_the_equations(w: dict[str, Tensor], source: list[int], target: list[int]) -> Tensor:
    """Scores of one sentence, (T, V), without padding and without batches."""
    xs = [w["embedding.weight"][i] for i in source]
    forth, back = lstm(w, "forth", xs), lstm(w, "back", xs[::-1])[::-1]
    xs = lstm(w, "encoder.0", [torch.cat(pair) for pair in zip(forth, back, strict=True)])
    for i in (1, 2):
        xs = [a + b for a, b in zip(lstm(w, f"encoder.{i}", xs), xs, strict=True)]
    ys = lstm(w, "first", [w["embedding.weight"][i] for i in target])
    direction = w["attention.length"] * w["attention.direction"] / w["attention.direction"].norm()
    contexts = []
    for y in ys:
        sums = [w["attention.query.weight"] @ y + w["attention.key.weight"] @ x + w["attention.bias"] for x in xs]
        p = torch.stack([direction @ torch.tanh(s) for s in sums]).softmax(0)
        contexts.append(sum(p[j] * xs[j] for j in range(len(xs))))
    for i in (0, 1, 2):
        new = lstm(w, f"decoder.{i}", [torch.cat(pair) for pair in zip(ys, contexts, strict=True)])
        ys = new if i == 0 else [a + b for a, b in zip(new, ys, strict=True)]
    return torch.stack([w["classifier.weight"] @ y + w["classifier.bias"] for y in ys])


def test_loss_and_gradients_equal_the_equations() -> None:
    """Float64, sentences of three lengths in one batch against each alone."""
    torch.manual_seed(4)
    model = GNMT(TINY).double().eval()
    source, real, target = batch()
    F.cross_entropy(model(source, real, target).flatten(0, 1), target.flatten(), reduction="sum").backward()
    copies = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    for b in range(3):
        words = source[b][real[b]].tolist()
        scores = by_the_equations(copies, words, target[b].tolist())
        torch.testing.assert_close(model(source, real, target)[b], scores, rtol=1e-9, atol=1e-10)
        F.cross_entropy(scores, target[b], reduction="sum").backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, copies[name].grad, rtol=1e-7, atol=1e-10, msg=name)


def test_piece_by_piece_is_the_whole_pass() -> None:
    torch.manual_seed(4)
    model = GNMT(TINY).double().eval()
    source, real, target = batch()
    whole = model(source, real, target)
    state = model.start(source, real)
    for t in range(target.shape[1]):
        scores, state, attention = model.advance(target[:, t], state)
        torch.testing.assert_close(scores, whole[:, t], rtol=1e-9, atol=1e-10)
        assert attention is not None
        torch.testing.assert_close(attention.sum(1), torch.ones(3, dtype=torch.float64))
        assert not attention[~real].any()
