"""Tasks 4a and 4b on one process: steps of several passes, its schedule, its loss, an evaluation spread over ranks."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mlb.tasks.base import Batch
from mlb.tasks.recipe4 import RECIPES_4B, Recipe4a, Recipe4b
from mlb.tasks.schedules import inverse_root
from mlb.tasks.task4a import Task4a
from mlb.tasks.task4b import Task4b
from mlb.tasks.translation import Translation
from task_support import setup_of
from torch import Tensor, nn

TINY = Recipe4b(
    width=16, feed_forward=16, heads=2, layers=1, dropout=0.0, dropout_attention=0.0, dropout_relu=0.0,
    tokens_per_rank=128, tokens_per_step=128, warmup_steps=4, beam=2, longest_extra=4,
)  # fmt: skip


def make(path: Path, rank: int = 0, world: int = 1, recipe: Recipe4b = TINY) -> Task4b:
    torch.manual_seed(7)
    return Task4b(setup_of(path, rank, world), recipe)


def test_the_published_schedule() -> None:
    """Linear to 1.976e-3 at step 1,000, then times the root of 1,000 / step."""
    rate = RECIPES_4B["reference"].learning_rate
    found = [rate * inverse_root(step, 1000) for step in (1, 500, 1000, 4000, 100_000)]
    assert found == pytest.approx([1.976e-6, 0.988e-3, 1.976e-3, 0.988e-3, 1.976e-4])


@pytest.mark.parametrize(("ranks", "passes"), [(1, 16), (2, 8), (16, 1), (32, 1)])
def test_the_step_holds_as_many_pieces_for_any_number_of_ranks(small_pairs: Path, ranks: int, passes: int) -> None:
    recipe = replace(TINY, tokens_per_rank=8_192, tokens_per_step=131_072)
    assert make(small_pairs, 0, ranks, recipe)._passes == passes


def gradient(task: Translation, batch: Batch) -> tuple[Tensor, float]:
    loss = 0.0
    for part in batch.parts or (batch,):
        objective, reported = task.forward(part)
        objective.backward()
        loss += float(reported)
    return torch.cat([p.grad.flatten() for p in task.model.parameters() if p.grad is not None]), loss


@pytest.mark.parametrize(("world", "passes"), [(1, 3), (2, 1), (3, 2)])
def test_a_steps_gradient_is_the_mean_over_its_pieces(small_pairs: Path, world: int, passes: int) -> None:
    """However many ranks and passes: the average over ranks is the label-smoothed loss of every piece, written out."""
    recipe = replace(TINY, tokens_per_step=128 * world * passes)
    tasks = [make(small_pairs, rank, world, recipe) for rank in range(world)]
    steps = [next(task.batches(1)) for task in tasks]
    assert all(len(step.parts) == (passes if passes > 1 else 0) for step in steps)
    mean = torch.stack([gradient(task, step)[0] for task, step in zip(tasks, steps, strict=True)]).mean(0)
    whole = make(small_pairs)
    total, pieces = torch.zeros(()), 0
    for step in steps:
        for source, target, following in (part.tensors for part in step.parts or (step,)):
            log_p = whole.model(source, source != 0, target).log_softmax(-1)
            picked = log_p.gather(2, following[:, :, None]).squeeze(2)
            smoothed = 0.9 * picked + 0.1 * log_p.mean(2)
            total = total - smoothed[following != 0].sum()
            pieces += int((following != 0).sum())
    (total / pieces).backward()
    expected = torch.cat([p.grad.flatten() for p in whole.model.parameters() if p.grad is not None])
    torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("world", [2, 3, 12])
def test_evaluation_is_the_same_for_any_number_of_ranks(small_pairs: Path, world: int) -> None:
    """Nine sentences on twelve ranks: three have none."""
    expected = make(small_pairs).evaluate("validation")
    counts: list[Tensor] = []

    def keep(values: Tensor) -> Tensor:
        counts.append(values.clone())
        return values

    for rank in range(world):
        task = make(small_pairs, rank, world)
        task.setup = replace(task.setup, sum_over_ranks=keep)
        task.evaluate("validation")
    sums = iter([torch.stack(counts[0::2]).sum(0), torch.stack(counts[1::2]).sum(0)])
    task = make(small_pairs, 0, world)
    task.setup = replace(task.setup, sum_over_ranks=lambda _: next(sums))
    assert task.evaluate("validation") == expected
    assert expected.samples == 9
    assert "tok:intl" in str(expected.details["signature (uncased, intl)"])


def test_it_learns_to_translate(small_pairs: Path) -> None:
    task = make(small_pairs, recipe=replace(TINY, width=32, feed_forward=64, learning_rate=0.01, warmup_steps=20))
    for epoch in range(1, 51):
        for batch in task.batches(epoch):
            gradient(task, batch)
            task.optimise()
    found = task.evaluate("validation")
    assert found.quality > 80, found
    assert task.translate(task._train.sources([1]))[0] == "grün blau"


def make_4a(path: Path, rank: int = 0, world: int = 1) -> Task4a:
    torch.manual_seed(7)
    recipe = Recipe4a(width=24, layers=3, dropout=0.0, pairs_per_step=20, most_pairs_per_rank=10, beam=2,
                      longest_extra=9, warmup_steps=5, learning_rate=0.02, schedule_epochs=40)  # fmt: skip
    return Task4a(setup_of(path, rank, world), recipe)


def test_task_4a_sums_over_ranks_what_each_divides_by_its_pairs(small_pairs: Path) -> None:
    """One rank in two passes of ten pairs, two ranks in one: the objective's sum over the ranks is equal."""
    alone = make_4a(small_pairs)
    step = next(alone.batches(1))
    assert len(step.parts) == 2
    ours = sum(alone.forward(part)[0].item() for part in step.parts)
    ranks = [make_4a(small_pairs, rank, 2) for rank in range(2)]
    theirs = [task.forward(next(task.batches(1)))[0].item() for task in ranks]
    assert sum(theirs) / 2 == pytest.approx(2 * ours, rel=1e-5), "the average over ranks is what is stepped with"


def test_task_4a_learns_to_translate(small_pairs: Path) -> None:
    """With the reference's beam, length and coverage penalties, its state going with the hypotheses."""
    torch.manual_seed(7)
    recipe = replace(make_4a(small_pairs).recipe, width=32, init_range=0.5, beam=5)
    task = Task4a(setup_of(small_pairs), recipe)
    for epoch in range(1, 31):
        for batch in task.batches(epoch):
            gradient(task, batch)
            task.optimise()
    found = task.evaluate("validation")
    assert found.quality > 80, found
    assert task.translate(task._train.sources([1, 3])) == ["grün blau", "Hund grün Katze blau"]


@pytest.mark.parametrize("name", ["4a", "4b"])
def test_one_kernel_for_the_optimiser_changes_nothing(small_pairs: Path, name: str) -> None:
    """The fast recipes' fused Adam against the reference's, over ten steps."""
    ours = []
    for fused in (False, True):
        if name == "4a":
            torch.manual_seed(7)
            recipe = replace(make_4a(small_pairs).recipe, fused_optimiser=fused)
            task: Translation = Task4a(setup_of(small_pairs), recipe)
        else:
            task = make(small_pairs, recipe=replace(TINY, fused_optimiser=fused))
        torch.manual_seed(8)
        nn.utils.vector_to_parameters(0.1 * torch.randn(sum(p.numel() for p in task.model.parameters())),
                                      task.model.parameters())  # fmt: skip
        for batch in itertools.islice(itertools.chain(task.batches(1), task.batches(2), task.batches(3)), 10):
            gradient(task, batch)
            task.optimise()
        ours.append(nn.utils.parameters_to_vector(task.model.parameters()).detach())
    torch.testing.assert_close(ours[0], ours[1], rtol=1e-4, atol=1e-5)


def test_an_epoch_goes_on_where_it_was_left(small_pairs: Path) -> None:
    whole, rest = list(make(small_pairs).batches(2)), list(make(small_pairs).batches(2, skip=2))
    assert len(rest) == len(whole) - 2
    assert all(torch.equal(a.tensors[0], b.tensors[0]) for a, b in zip(whole[2:], rest, strict=True))


@pytest.mark.parametrize("optimiser", ["adamw", "schedulefree-adamw"])
def test_another_optimiser_trains_it_and_is_judged_by_its_averages(small_pairs: Path, optimiser: str) -> None:
    task = make(small_pairs, recipe=replace(TINY, optimiser=optimiser, learning_rate=0.01, warmup_steps=2))
    before = task.forward(next(task.batches(1)))[0].item()
    for batch in [*task.batches(1), *task.batches(2)]:
        gradient(task, batch)
        task.optimise()
    assert task.forward(next(task.batches(1)))[0].item() < before
    assert task.hyperparameters()["opt_name"] == optimiser
    weights = [p.clone() for p in task.model.parameters()]
    task.evaluate("validation")
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(weights, task.model.parameters(), strict=True))
