"""Task 3a on one process: its data, its schedule, its loss, its optimiser's switch."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mlb.datasets.load import load_array
from mlb.tasks.base import Batch, Setup
from mlb.tasks.recipe3a import Recipe3a
from mlb.tasks.task3a import Task3a
from torch import nn
from torch.nn import functional as F

TINY = Recipe3a(embedding=6, hidden=8, layers=2, batch_per_rank=4, bptt=10, bptt_std=2.0, bptt_min=2)

NO_DROPOUT = {f"dropout_{where}": 0.0 for where in ("output", "hidden", "input", "embedding", "weights")}


def make(path: Path, recipe: Recipe3a = TINY, *, rank: int = 0, world: int = 1, seed: int = 7) -> Task3a:
    torch.manual_seed(seed)
    setup = Setup("light", "reference", path, seed, rank, world, torch.device("cpu"), lambda total: total)
    return Task3a(setup, recipe)


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_token_is_predicted_once_an_epoch_by_one_rank(small_text: Path, world: int) -> None:
    """Ranks read disjoint columns whose concatenation is the text; targets are the inputs moved on by one."""
    ids = load_array(small_text, "train").tolist()
    columns: list[list[int]] = []
    for rank in range(world):
        task = make(small_text, rank=rank, world=world)
        batches = list(task.batches(epoch=1))
        x_TB = torch.cat([batch.tensors[0] for batch in batches])
        y_TB = torch.cat([batch.tensors[1] for batch in batches])
        assert torch.equal(x_TB[1:], y_TB[:-1])
        columns += [[*column, last] for column, last in zip(x_TB.t().tolist(), y_TB[-1].tolist(), strict=True)]
    length = len(ids) // (4 * world)
    assert columns == [ids[i * length : (i + 1) * length] for i in range(4 * world)]


def test_all_ranks_cut_the_same_sequences_and_each_epoch_others(small_text: Path) -> None:
    cuts = [list(make(small_text, rank=rank, world=2).sequences(1)) for rank in (0, 1)]
    assert cuts[0] == cuts[1]
    assert cuts[0] != list(make(small_text, rank=0, world=2).sequences(2))
    assert cuts[0] != list(make(small_text, rank=0, world=2, seed=8).sequences(1))


def test_sequence_lengths_follow_the_published_distribution(small_text: Path) -> None:
    """max(5, int(N(70 or, one time in twenty, 35; 5)))."""
    task = make(small_text, replace(TINY, bptt=70, bptt_std=5.0, bptt_min=5))
    task._train_TB = torch.zeros(400_001, 1)
    lengths = [length for _, length in task.sequences(1)][:-1]
    short = [n for n in lengths if n < 52]
    assert len(short) / len(lengths) == pytest.approx(0.05, abs=0.01)
    usual = torch.tensor([n for n in lengths if n >= 52], dtype=torch.float64)
    assert usual.mean().item() == pytest.approx(69.5, abs=0.3)  # int() cuts half a token off on average
    assert usual.std().item() == pytest.approx(5.0, abs=0.3)
    assert torch.tensor(short).double().mean().item() == pytest.approx(34.5, abs=1.0)


def test_the_objective_is_cross_entropy_with_ar_and_tar(small_text: Path) -> None:
    task = make(small_text, replace(TINY, **NO_DROPOUT))
    batch = next(task.batches(1))
    objective, loss = task.forward(batch)
    x_TB, y_TB = batch.tensors
    out = task.model(x_TB, task.model.initial_state(4))
    expected = F.cross_entropy(task.model.logits(out.hidden_NE), y_TB.flatten())
    torch.testing.assert_close(loss, expected.detach())
    h = out.raw_TBE
    torch.testing.assert_close(objective, expected + 2 * (h**2).mean() + ((h[1:] - h[:-1]) ** 2).mean())


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_rate_scales_with_ranks_and_length(small_text: Path, world: int) -> None:
    """15 x sqrt(k) x length / 70, on the gradient clipped to norm 0.25."""
    task = make(small_text, TINY, world=world)
    batch = next(task.batches(1))
    task.forward(batch)[0].backward()
    before = [p.detach().clone() for p in task.model.parameters()]
    for p in task.model.parameters():
        p.grad = torch.ones_like(p)
    assert task.clip_norm == 0.25
    nn.utils.clip_grad_norm_(task.model.parameters(), task.clip_norm)
    task.optimise()
    count = sum(p.numel() for p in task.model.parameters())
    rate = 15.0 * math.sqrt(world) * batch.tensors[0].shape[0] / 10
    for p, old in zip(task.model.parameters(), before, strict=True):
        step = rate * (0.25 / math.sqrt(count) + 1.2e-6 * old)
        torch.testing.assert_close(p.detach(), old - step, rtol=1e-4, atol=1e-6)
        assert p.grad is not None
        assert p.grad.eq(0).all()


def test_averaging_starts_after_five_epochs_without_a_new_best(small_text: Path) -> None:
    """NT-ASGD compares with the best of all epochs but the last five: 80 here, six epochs before the switch."""
    task = make(small_text)
    switches = [task.end_epoch(q) for q in (100.0, 80.0, 81.0, 82.0, 79.5, 80.5, 79.9, 80.1)]
    assert switches == [None] * 7 + ["asgd"]
    assert task.end_epoch(500.0) is None, "it switches once"
    assert task._learning_rate == 15.0


def test_evaluation_uses_the_average_and_training_goes_on_from_the_last_weights(small_text: Path) -> None:
    task = make(small_text)
    for quality in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0):
        task.end_epoch(quality)
    seen = []
    batches = task.batches(1)
    for _ in range(3):
        task.forward(next(batches))[0].backward()
        task.optimise()
        seen.append([p.detach().clone() for p in task.model.parameters()])
    with task.averages():
        quality = task.evaluate("validation").quality
    for p, last in zip(task.model.parameters(), seen[-1], strict=True):
        assert torch.equal(p, last)
    with torch.no_grad():
        for i, p in enumerate(task.model.parameters()):
            # torch's ASGD begins its average with its second step.
            p.copy_(torch.stack([weights[i] for weights in seen[1:]]).mean(0))
    task._optimiser = torch.optim.SGD(task.model.parameters(), lr=1.0)
    assert task.evaluate("validation").quality == pytest.approx(quality, rel=1e-5)


@pytest.mark.parametrize("world", [2, 3, 4, 12])
def test_evaluation_is_the_same_for_any_number_of_ranks(small_text: Path, world: int) -> None:
    """12 ranks share 10 columns: two of them have none."""
    alone = make(small_text)
    expected = alone.evaluate("validation")
    totals = torch.zeros(2, dtype=torch.float64)
    for rank in range(world):
        task = make(small_text, rank=rank, world=world)
        task.model.load_state_dict(alone.model.state_dict())
        task.setup = replace(task.setup, sum_over_ranks=lambda mine: totals.add_(mine).clamp_min(1e-9))
        task.evaluate("validation")
    assert math.exp(totals[0] / totals[1]) == pytest.approx(expected.quality, rel=1e-6)
    assert int(totals[1]) == expected.samples


def test_a_perplexity_is_the_exponential_of_the_mean_loss(small_text: Path) -> None:
    task = make(small_text)
    with torch.no_grad():
        task.model.embedding.weight.zero_()
    assert task.evaluate("test").quality == pytest.approx(64, rel=1e-5), "uniform over 64 words"


def test_one_cycle_counts_in_rows_of_text_and_a_resumed_task_goes_on(small_text: Path) -> None:
    """The rate of each step: the peak x its length / bptt x the straight lines up and down, at the row it ends on."""
    recipe = replace(
        TINY, schedule="one-cycle", cycle_epochs=2.0, peak_at=0.25, learning_rate=0.5, optimiser="adamw", **NO_DROPOUT
    )
    task, rates, expected = make(small_text, recipe), [], []
    total = 2 * (task._train_TB.shape[0] - 1)

    def train(task: Task3a, batch: Batch) -> float:
        task.forward(batch)[0].backward()
        task.optimise()
        return float(task._optimiser.param_groups[0]["lr"])

    row = 0
    for epoch in (1, 2):
        for batch in task.batches(epoch):
            length = batch.tensors[0].shape[0]
            row += length
            up, down = row / total / 0.25, (1 - row / total) / 0.75
            expected.append(0.5 * length / 10 * (up if row / total < 0.25 else down))
            rates.append(train(task, batch))
            if epoch == 1:
                saved = task.state()
    assert rates == pytest.approx(expected)
    assert rates[-1] == 0.0
    resumed = make(small_text, recipe)
    resumed.load_state(saved)
    second = [train(resumed, batch) for batch in resumed.batches(2)]
    assert second == pytest.approx(expected[-len(second) :])
