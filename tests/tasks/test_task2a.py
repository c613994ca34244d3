"""Task 2a on one process: its loss, its optimiser, its evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mlb.errors import ResultsInvalid
from mlb.tasks.recipe2a import Recipe2a
from mlb.tasks.task2a import Task2a
from task_support import evaluate_as, setup_of


def make(path: Path, rank: int = 0, world: int = 1, recipe: Recipe2a | None = None) -> Task2a:
    torch.manual_seed(7)
    return Task2a(setup_of(path, rank, world), recipe or Recipe2a(batch_per_rank=20))


def test_the_model_has_a_weight_a_feature_and_no_bias(small_rows: Path) -> None:
    assert [tuple(p.shape) for p in make(small_rows).model.parameters()] == [(1, 12)]


def test_loss_and_gradient_equal_the_equations(small_rows: Path) -> None:
    """-mean(y log s + (1 - y) log(1 - s)) + l2/2 |w|^2 with s = 1 / (1 + exp(-x w)), in float64."""
    task = make(small_rows, recipe=Recipe2a(batch_per_rank=20, l2=0.3))
    batch = next(task.batches(1))
    objective, reported = task.forward(batch)
    objective.backward()
    x, y = (t.double() for t in batch.tensors)
    w = task.model.linear.weight.detach().double().squeeze(0)
    s = 1 / (1 + torch.exp(-x @ w))
    loss = -(y * s.log() + (1 - y) * (1 - s).log()).mean() + 0.15 * (w * w).sum()
    gradient = x.t() @ (s - y) / len(y) + 0.3 * w
    assert objective.item() == pytest.approx(loss.item(), rel=1e-6)
    assert reported.item() == pytest.approx(loss.item(), rel=1e-6)
    assert task.model.linear.weight.grad is not None
    torch.testing.assert_close(task.model.linear.weight.grad.squeeze(0).double(), gradient, rtol=1e-5, atol=1e-7)


def test_averaging_gradients_is_averaging_weights_after_a_step(small_rows: Path) -> None:
    """What MLBench did, each rank's own step and then the mean of the weights, is what is done here."""
    tasks = [make(small_rows, rank, 2) for rank in range(2)]
    start = tasks[0].model.linear.weight.detach().clone()
    gradients, stepped = [], []
    for task in tasks:
        objective, _ = task.forward(next(task.batches(1)))
        objective.backward()
        gradients.append(task.model.linear.weight.grad.clone())  # type: ignore[union-attr]
        task.optimise()
        stepped.append(task.model.linear.weight.detach().clone())
    rate = 4.0 * 2
    torch.testing.assert_close((stepped[0] + stepped[1]) / 2, start - rate * (gradients[0] + gradients[1]) / 2)


@pytest.mark.parametrize(("world", "rate"), [(1, 4.0), (2, 8.0), (16, 64.0), (20, 64.0)])
def test_the_rate_grows_with_up_to_sixteen_ranks(small_rows: Path, world: int, rate: float) -> None:
    assert make(small_rows, 0, world).hyperparameters()["opt_base_learning_rate"] == rate


@pytest.mark.parametrize("world", [2, 5, 24])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluation_is_the_same_for_any_number_of_ranks(small_rows: Path, world: int, split: str) -> None:
    alone = make(small_rows)
    expected = alone.evaluate(split)
    found, _ = evaluate_as(world, lambda rank, k: make(small_rows, rank, k), alone, split)
    assert found == expected
    assert expected.samples == {"validation": 50, "test": 83}[split]


def test_it_learns(small_rows: Path) -> None:
    task = make(small_rows, recipe=Recipe2a(batch_per_rank=20, learning_rate=1.0))
    for epoch in (1, 2, 3):
        for batch in task.batches(epoch):
            task.forward(batch)[0].backward()
            task.optimise()
        task.end_epoch(task.evaluate("validation").quality)
    assert task.evaluate("test").quality > 95


def test_a_checkpoint_without_an_optimiser_does_where_the_optimiser_keeps_nothing(small_rows: Path) -> None:
    """Older versions did not save it."""
    old = make(small_rows).state()
    del old["optimiser"]
    make(small_rows).load_state(old)
    with pytest.raises(ResultsInvalid, match=r"lacks the state of adam.*\n.*version.*\n.*without --resume"):
        make(small_rows, recipe=Recipe2a(batch_per_rank=20, optimiser="adam")).load_state(old)
