"""Task 1b on one process: steps in passes, the optimiser, the schedule, the decoding, the evaluation."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mlb.aggregation.zero import shares
from mlb.models.resnet50 import ResNet50, ResNet50Config
from mlb.tasks.base import Batch
from mlb.tasks.lars import LARS, scaled_and_plain
from mlb.tasks.recipe1b import RECIPES_1B, Recipe1b
from mlb.tasks.task1b import Task1b
from task_support import evaluate_as, setup_of
from torch import nn

TINY = Recipe1b(
    blocks="1-1", width=4, classes=3, images_per_step=24, images_per_pass=5, learning_rate=0.5, warmup_epochs=1.0,
    decay_steps=20, side=16, first_side=16, eval_resized=20, eval_side=16,
)  # fmt: skip


def make(path: Path, rank: int = 0, world: int = 1, recipe: Recipe1b = TINY, workers: int = 0) -> Task1b:
    torch.manual_seed(7)
    return Task1b(setup_of(path, rank, world), recipe, workers=workers)


@pytest.mark.parametrize(
    ("name", "made"), [("lars", "LARS"), ("recipe", "LARS"), ("sgd", "SGD"), ("adamw", "AdamW"), ("muon", "Together")]
)
def test_it_trains_with_the_optimiser_that_is_named(few_images: Path, name: str, made: str) -> None:
    """It once took any other than LARS for SGD."""
    task = make(few_images, recipe=replace(TINY, optimiser=name))
    assert type(task._optimiser).__name__ == made
    assert task.hyperparameters()["opt_name"] == {"recipe": "lars"}.get(name, name)


def test_a_schedule_by_name_is_stepped_by(few_images: Path) -> None:
    task = make(few_images, recipe=replace(TINY, schedule="multistep:milestones=0.5:gamma=0.25"))
    assert [task.rate(step) for step in range(4)] == pytest.approx([0.5, 0.5, 0.125, 0.125])


def test_a_step_is_the_same_images_for_any_number_of_ranks(few_images: Path) -> None:
    """Every image once an epoch, none lost, augmented alike wherever it lands; passes of at most five images."""

    def seen(world: int) -> list[set[bytes]]:
        ranks = [list(make(few_images, rank, world).batches(1)) for rank in range(world)]
        steps = []
        for step in zip(*ranks, strict=True):
            parts = [part for batch in step for part in batch.parts]
            assert all(0 < part.samples <= 5 for part in parts)
            assert sum(part.weight for part in parts) == pytest.approx(world)
            assert len({len(batch.parts) for batch in step}) == 1, "the ranks meet in the last pass"
            steps.append({image.numpy().tobytes() for part in parts for image in part.tensors[0]})
            assert len(steps[-1]) == sum(batch.samples for batch in step)
        return steps

    alone = seen(1)
    assert [len(step) for step in alone] == [24, 24, 24, 18]
    assert len(set.union(*alone)) == 90
    for world in (2, 3, 7):
        assert seen(world) == alone


def test_no_pass_is_empty_where_a_pass_is_one_image(few_images: Path) -> None:
    """Of the last step's 18 images two ranks of seven have three, the others two."""
    recipe = replace(TINY, images_per_pass=1)
    last = [list(make(few_images, rank, 7, recipe).batches(1))[-1] for rank in range(7)]
    assert sum(batch.samples for batch in last) == 18
    assert {len(batch.parts) for batch in last} == {2}
    assert all(part.samples for batch in last for part in batch.parts)


def test_an_epoch_goes_on_where_it_was_left_and_differs_from_the_next(few_images: Path) -> None:
    task = make(few_images)
    whole, rest, other = list(task.batches(3)), list(task.batches(3, skip=2)), list(task.batches(4))
    for a, b in zip(whole[2:], rest, strict=True):
        assert torch.equal(a.parts[0].tensors[0], b.parts[0].tensors[0])
    assert not torch.equal(whole[0].parts[0].tensors[0], other[0].parts[0].tensors[0])


@pytest.mark.system
def test_processes_decode_what_this_one_would(few_images: Path) -> None:
    """Also after an epoch that was left in its middle."""
    alone, fed = make(few_images), make(few_images, workers=2)
    next(fed.batches(1))
    for a, b in zip(alone.batches(2), fed.batches(2), strict=True):
        for one, other in zip(a.parts, b.parts, strict=True):
            assert torch.equal(one.tensors[0], other.tensors[0])
            assert torch.equal(one.tensors[1], other.tensors[1])


def test_passes_add_up_to_the_mean_over_the_step(few_images: Path) -> None:
    """In evaluation mode, so that batch normalisation does not tell passes apart."""
    task = make(few_images, recipe=replace(TINY, label_smoothing=0.1, zero_last_scale=False))
    task.model.eval()
    batch = next(task.batches(1))
    losses = [task.forward(part) for part in batch.parts]
    torch.stack([objective for objective, _ in losses]).sum().backward()
    found = [p.grad.clone() for p in task.model.parameters() if p.grad is not None]
    task.model.zero_grad()
    images = torch.cat([part.tensors[0] for part in batch.parts])
    labels = torch.cat([part.tensors[1] for part in batch.parts])
    expected = nn.functional.cross_entropy(task.model(task._normalised(images)), labels, label_smoothing=0.1)
    expected.backward()
    assert sum(float(loss) for _, loss in losses) == pytest.approx(expected.item(), rel=1e-5)
    for gradient, p in zip(found, task.model.parameters(), strict=True):
        torch.testing.assert_close(gradient, p.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("world", [2, 3, 24])
def test_evaluation_is_the_same_for_any_number_of_ranks(few_images: Path, world: int) -> None:
    alone = make(few_images)
    batch = next(alone.batches(1))
    for part in batch.parts:
        alone.forward(part)[0].backward()
    alone.optimise()
    expected = alone.evaluate("validation")
    found, _ = evaluate_as(world, lambda rank, k: make(few_images, rank, k), alone, "validation")
    assert found == expected
    assert expected.samples == 20


def test_the_reference_schedule_is_mlperfs(few_images: Path) -> None:
    """313 steps an epoch; the values of lars_util.py's formula worked out by hand."""
    task = make(few_images, recipe=RECIPES_1B["reference"])
    task._steps_of_epoch = [(0, 0)] * 313
    warmup, total = 1_565, 13_137
    assert task.rate(0) == 0.0
    assert task.rate(313) == pytest.approx(2.0)
    assert task.rate(warmup) == 10.0
    half = warmup + (total - warmup + 1) / 2
    assert task.rate(int(half)) == pytest.approx(2.5, rel=1e-3)
    assert task.rate(total) == pytest.approx((10 - 1e-4) / (total - warmup + 1) ** 2 + 1e-4)
    assert task.rate(total + 500) == 1e-4


def test_lars_is_its_equations() -> None:
    torch.manual_seed(1)
    w, b = nn.Parameter(torch.randn(4, 3, dtype=torch.float64)), nn.Parameter(torch.randn(4, dtype=torch.float64))
    groups = [{"params": [w]}, {"params": [b], "scaled": False, "weight_decay": 0.0}]
    optimiser = LARS(groups, lr=0.0, momentum=0.9, weight_decay=0.01, eta=0.02, epsilon=0.0)
    expected_w, expected_b, v_w, v_b = w.detach().clone(), b.detach().clone(), torch.zeros(4, 3), torch.zeros(4)
    for step, rate in enumerate((0.5, 0.3, 0.1)):
        g_w, g_b = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
        if step == 2:
            g_w = torch.zeros_like(g_w)  # the scaling is 1 where a norm is 0
        w.grad, b.grad = g_w, g_b
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        trust = 0.02 * expected_w.norm() / (g_w.norm() + 0.01 * expected_w.norm()) if g_w.any() else 1.0
        v_w = 0.9 * v_w + rate * trust * (g_w + 0.01 * expected_w)
        v_b = 0.9 * v_b + rate * g_b
        expected_w, expected_b = expected_w - v_w, expected_b - v_b
        torch.testing.assert_close(w.detach(), expected_w, rtol=1e-12, atol=0)
        torch.testing.assert_close(b.detach(), expected_b, rtol=1e-12, atol=0)


@pytest.mark.parametrize("ranks", [6, 7, 8])
def test_lars_steps_on_shares_of_the_parameters(ranks: int) -> None:
    """ZeRO-1 leaves some ranks no vector: a group without gradients. All ranks' steps together are one of the whole."""
    torch.manual_seed(3)
    model = ResNet50(ResNet50Config())
    parameters, before = list(model.parameters()), [p.detach().clone() for p in model.parameters()]
    owned = shares(parameters, ranks)
    assert any(all(p.ndim > 1 for p in own) for own in owned)

    def stepped(*parts: list[nn.Parameter]) -> list[torch.Tensor]:
        """The weights after each part was stepped by an optimiser of its own, with gradients of 1."""
        for part in parts:
            optimiser = LARS(scaled_and_plain(model), lr=0.5, momentum=0.9, weight_decay=0.01, eta=0.02, epsilon=0.0)
            for p in part:
                p.grad = torch.ones_like(p)
            optimiser.step()
            optimiser.zero_grad()
        found = [p.detach().clone() for p in parameters]
        for p, value in zip(parameters, before, strict=True):
            p.data.copy_(value)
        return found

    torch.testing.assert_close(stepped(*owned), stepped(parameters), rtol=0, atol=0)


def test_the_fast_recipe_grows_its_images(few_images: Path) -> None:
    task = make(few_images, recipe=RECIPES_1B["fast"])
    sides = [task._side(epoch) for epoch in range(1, 29)]
    assert sides == sorted(sides)
    assert (sides[0], sides[-1], {side % 32 for side in sides}) == (128, 192, {0})


def test_a_resumed_task_takes_the_same_steps_to_the_bit(few_images: Path) -> None:
    """The state holds LARS's momenta and the schedule's place; the images that come are found again by the epoch."""
    whole, first, rest = (make(few_images) for _ in range(3))

    def train(task: Task1b, batches: list[Batch]) -> None:
        for batch in batches:
            for part in batch.parts:
                task.forward(part)[0].backward()
            task.optimise()

    train(whole, list(whole.batches(1)))
    train(first, list(first.batches(1))[:2])
    rest.load_state(copy.deepcopy(first.state()))
    train(rest, list(rest.batches(1, skip=2)))
    for (name, value), other in zip(whole.model.state_dict().items(), rest.model.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
