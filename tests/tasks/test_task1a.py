"""Task 1a on one process: its model, its augmentation, its gradient, its evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mlb.datasets.load import load_array
from mlb.errors import UsageError
from mlb.models.resnet_cifar import ResNetCIFAR, ResNetCIFARConfig
from mlb.tasks.augment import CropAndFlip
from mlb.tasks.recipe1a import RECIPES_1A, Recipe1a
from mlb.tasks.task1a import Task1a
from task_support import evaluate_as, setup_of
from torch import Tensor
from torch.nn import functional as F

TINY = Recipe1a(depth=8, width=4, batch_per_rank=16)


def make(path: Path, rank: int = 0, world: int = 1, recipe: Recipe1a = TINY) -> Task1a:
    torch.manual_seed(7)
    return Task1a(setup_of(path, rank, world), recipe)


def test_the_model_has_mlbenchs_parameters() -> None:
    assert sum(p.numel() for p in ResNetCIFAR(ResNetCIFARConfig()).parameters()) == 272_474


def by_the_equations(x: Tensor, weights: dict[str, Tensor], depth: int) -> Tensor:
    """The network's training pass written out: convolutions as sums over shifts, normalisation by batch moments."""

    def convolve(x: Tensor, w: Tensor, stride: int) -> Tensor:
        padding = w.shape[-1] // 2
        padded = F.pad(x, (padding,) * 4)
        size = (x.shape[-1] + 2 * padding - w.shape[-1]) // stride + 1
        total = torch.zeros(x.shape[0], w.shape[0], size, size, dtype=x.dtype)
        for i in range(w.shape[-1]):
            for j in range(w.shape[-1]):
                part = padded[:, :, i : i + stride * size : stride, j : j + stride * size : stride]
                total = total + torch.einsum("bchw,oc->bohw", part[:, :, :size, :size], w[:, :, i, j])
        return total

    def normalise(x: Tensor, name: str) -> Tensor:
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
        scale, shift = weights[f"{name}.weight"].view(1, -1, 1, 1), weights[f"{name}.bias"].view(1, -1, 1, 1)
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    x = normalise(convolve(x, weights["conv.weight"], 1), "bn").clamp_min(0)
    per_stage = (depth - 2) // 6
    for i in range(3 * per_stage):
        stride = 2 if i and i % per_stage == 0 else 1
        name = f"blocks.{i}"
        y = normalise(convolve(x, weights[f"{name}.conv1.weight"], stride), f"{name}.bn1").clamp_min(0)
        y = normalise(convolve(y, weights[f"{name}.conv2.weight"], 1), f"{name}.bn2")
        if f"{name}.shortcut.0.weight" in weights:
            x = normalise(convolve(x, weights[f"{name}.shortcut.0.weight"], stride), f"{name}.shortcut.1")
        x = (y + x).clamp_min(0)
    return x.mean((2, 3)) @ weights["linear.weight"].t() + weights["linear.bias"]


def test_loss_and_gradients_equal_the_equations(small_images: Path) -> None:
    """Float64, one fixed batch: the model's pass against shifts, sums and moments written out."""
    torch.manual_seed(3)
    model = ResNetCIFAR(ResNetCIFARConfig(depth=20, width=4)).double()
    images = load_array(small_images, "train")[:6].double() / 255
    labels = load_array(small_images, "train_labels")[:6].long()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    copies = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    scores = by_the_equations(images, copies, 20)
    expected = (torch.logsumexp(scores, 1) - scores.gather(1, labels[:, None]).squeeze(1)).mean()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for name, p in model.named_parameters():
        assert p.grad is not None
        torch.testing.assert_close(p.grad, copies[name].grad, rtol=1e-8, atol=1e-11)


def test_a_crop_is_a_window_of_the_padded_image_and_half_are_mirrored() -> None:
    images = torch.randint(1, 256, (400, 3, 8, 8), dtype=torch.uint8)
    augmented = CropAndFlip(2, True)(images, torch.arange(400), 400, seed=1, epoch=1)
    padded = F.pad(images, (2, 2, 2, 2))
    mirrored, offsets = 0, set()
    for before, after in zip(padded, augmented, strict=True):
        windows = {(i, j): before[:, i : i + 8, j : j + 8] for i in range(5) for j in range(5)}
        plain = [place for place, window in windows.items() if torch.equal(window, after)]
        flipped = [place for place, window in windows.items() if torch.equal(window.flip(2), after)]
        assert len(plain) + len(flipped) == 1
        mirrored += len(flipped)
        offsets.update(plain + flipped)
    assert 150 < mirrored < 250
    assert len(offsets) == 25


def test_augmentation_is_a_samples_own_whatever_the_ranks(small_images: Path) -> None:
    """One rank with the global batch and four ranks see the same augmented images; each epoch has others."""

    def images_of(world: int, epoch: int) -> dict[bytes, int]:
        recipe = replace(TINY, batch_per_rank=16 // world)
        batches = [b for rank in range(world) for b in make(small_images, rank, world, recipe).batches(epoch)]
        return {image.contiguous().numpy().tobytes(): 1 for b in batches for image in b.tensors[0]}

    assert images_of(1, 1) == images_of(4, 1)
    assert images_of(1, 1) != images_of(1, 2)


def test_weights_make_the_ranks_average_the_mean_over_samples(small_images: Path) -> None:
    """180 training images in steps of 48 leave one of 36: shares of 12 for each of three ranks, or 11 and 12."""
    for world in (1, 2, 3, 7):
        ranks = [list(make(small_images, rank, world).batches(1)) for rank in range(world)]
        for step in zip(*ranks, strict=True):
            total = sum(batch.samples for batch in step)
            for batch in step:
                assert batch.weight == pytest.approx(batch.samples * world / total)
        assert sum(batch.samples for batches in ranks for batch in batches) == 180


@pytest.mark.parametrize("world", [2, 3, 24])
def test_evaluation_is_the_same_for_any_number_of_ranks(small_images: Path, world: int) -> None:
    """20 held-out images on 24 ranks: four ranks have none."""
    alone = make(small_images)
    for batch in alone.batches(1):
        alone.forward(batch)[0].backward()
        alone.optimise()
    expected = alone.evaluate("validation")
    found, _ = evaluate_as(world, lambda rank, k: make(small_images, rank, k), alone, "validation")
    assert found == expected
    assert expected.samples == 20


def test_an_epoch_goes_on_where_it_was_left(small_images: Path) -> None:
    whole = list(make(small_images).batches(3))
    rest = list(make(small_images).batches(3, skip=5))
    assert len(rest) == len(whole) - 5
    for a, b in zip(whole[5:], rest, strict=True):
        assert torch.equal(a.tensors[0], b.tensors[0])


def test_the_fast_recipe_learns_the_same_function(small_images: Path) -> None:
    """Its bfloat16 gradient points where the float32 one points."""
    fast = replace(RECIPES_1A["fast"], depth=8, width=8, batch_per_rank=64)
    gradients = []
    for recipe in (fast, replace(fast, precision="float32", channels_last=False)):
        task = make(small_images, recipe=recipe)
        objective, _ = task.forward(next(task.batches(1)))
        objective.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in task.model.parameters() if p.grad is not None]))
    assert F.cosine_similarity(gradients[0], gradients[1], dim=0) > 0.99


def test_warming_up_leaves_no_trace(small_images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs on the clock has run before, on zeros: the training that follows is the one without it, to the bit.

    The compiler is left out: its own rounding differs.
    """
    monkeypatch.setattr("mlb.tasks.task1a.compiled", lambda model, **_: model)
    states = []
    for when in ("always", "never"):
        task = make(
            small_images, recipe=replace(TINY, compile=when, momentum=0.9, schedule="one-cycle", cycle_epochs=2.0)
        )
        for batch in task.batches(1):
            task.forward(batch)[0].backward()
            task.optimise()
        states.append((task.state(), task.evaluate("validation").quality))
    (warmed, quality), (cold, other) = states
    assert quality == other
    assert warmed["steps"] == cold["steps"]
    for name, value in cold["model"].items():
        assert torch.equal(value, warmed["model"][name]), name
    with pytest.raises(UsageError, match="compile=sometimes"):
        make(small_images, recipe=replace(TINY, compile="sometimes"))
