"""Dynamic evaluation: its update rule, its order, and what it leaves alone."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mlb.models.awd_lstm import AWDLSTM, AWDLSTMConfig
from mlb.tasks.base import Setup
from mlb.tasks.dynamic import Adaptation, adapted_loss, gradient_statistics, without_dropout
from mlb.tasks.recipe3a import Recipe3a
from mlb.tasks.task3a import Task3a
from torch import Tensor
from torch.nn import functional as F

HOW = Adaptation(bptt=3, learning_rate=0.01, decay=0.05, epsilon=0.001)


def tiny_model() -> AWDLSTM:
    torch.manual_seed(1)
    return AWDLSTM(AWDLSTMConfig(vocabulary=20, embedding=6, hidden=8, layers=2)).double()


def text(length: int) -> Tensor:
    return torch.randint(0, 20, (length,), generator=torch.Generator().manual_seed(2), dtype=torch.int32)


def test_loss_and_weights_equal_the_formula() -> None:
    """Step by step with autograd on a functional copy: scored first, adapted after."""
    model = without_dropout(tiny_model()).double()
    statistics = [torch.rand_like(p) for p in model.parameters()]
    ids = text(11)
    reference = without_dropout(model).double()
    start = [p.detach().clone() for p in reference.parameters()]
    mean = torch.cat([r.flatten() for r in statistics]).mean()
    total, state = 0.0, reference.initial_state(1)
    for first, end in ((0, 3), (3, 6), (6, 9), (9, 10)):
        reference.zero_grad()
        out = reference(ids[first:end, None].long(), state)
        state = [(h.detach(), c.detach()) for h, c in out.state]
        loss = F.cross_entropy(reference.logits(out.hidden_NE), ids[first + 1 : end + 1].long())
        loss.backward()
        total += loss.item() * (end - first)
        for p, w0, r in zip(reference.parameters(), start, statistics, strict=True):
            d = torch.minimum(r / mean, torch.tensor(1 / HOW.decay))
            p.data += HOW.decay * d * (w0 - p.data) - HOW.learning_rate * p.grad / (r + HOW.epsilon)
    found, count = adapted_loss(model, ids, statistics, HOW)
    assert (found, count) == (pytest.approx(total, rel=1e-10), 10)
    for p, q in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)


def test_statistics_are_the_root_of_the_mean_square() -> None:
    model = without_dropout(tiny_model()).double()
    columns = text(40).view(2, 20).t().contiguous()
    found = gradient_statistics(model, columns, 5, 3)
    squares, state = [torch.zeros_like(p) for p in model.parameters()], model.initial_state(2)
    for start in (0, 5, 10):
        model.zero_grad()
        out = model(columns[start : start + 5].long(), state)
        state = [(h.detach(), c.detach()) for h, c in out.state]
        F.cross_entropy(model.logits(out.hidden_NE), columns[start + 1 : start + 6].long().flatten()).backward()
        squares = [s + p.grad**2 for s, p in zip(squares, model.parameters(), strict=True)]
    for r, s in zip(found, squares, strict=True):
        torch.testing.assert_close(r, (s / 3).sqrt())


def full(path: Path, rank: int = 0, world: int = 1, **changes: float) -> Task3a:
    torch.manual_seed(7)
    recipe = Recipe3a(
        embedding=6, hidden=8, layers=2, batch_per_rank=4, bptt=10, bptt_std=2.0, bptt_min=2, eval_tokens=300,
        dynamic_below=1e9, dynamic_statistics=10,
    )  # fmt: skip
    setup = Setup("full", "reference", path, 7, rank, world, torch.device("cpu"), lambda total: total)
    return Task3a(setup, replace(recipe, **changes))


def test_the_full_goal_is_measured_by_adapting_and_tells_the_static_value(small_text: Path) -> None:
    task = full(small_text)
    before = [p.detach().clone() for p in task.model.parameters()]
    found = task.evaluate("validation")
    static, _ = task._static_perplexity("validation")
    assert found.details == {"static perplexity": static}
    assert found.quality < static, "an untrained model learns from what it reads"
    assert found.samples == 299
    for p, q in zip(task.model.parameters(), before, strict=True):
        assert torch.equal(p, q), "the model that is trained stays as it is"


def test_adapting_is_left_out_while_it_could_not_help(small_text: Path) -> None:
    found = full(small_text, dynamic_below=1.0).evaluate("validation")
    assert not found.details


def test_it_is_the_same_for_any_number_of_ranks(small_text: Path) -> None:
    """Every rank adapts to the whole text; one of them counts."""
    alone = full(small_text)._dynamic_perplexity("validation")
    assert full(small_text, 0, 3)._dynamic_perplexity("validation") == alone
    perplexity, _ = full(small_text, 2, 3)._dynamic_perplexity("validation")
    assert math.log(perplexity) == 0


def test_the_switch_of_optimisers_looks_at_the_static_value(small_text: Path) -> None:
    task = full(small_text)
    switched = []
    for epoch in range(8):
        task._static = 100.0 + epoch
        switched.append(task.end_epoch(50.0 - epoch))
    assert "asgd" in switched
