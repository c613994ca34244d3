"""Every optimiser by name: it makes a loss fall, goes on where it was saved, and is refused with what is valid."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from mlb.errors import UsageError
from mlb.tasks import optimisers, recipes
from mlb.tasks.optimisers import NAMES, RECIPES_OWN
from torch import Tensor, nn

MADE = [name for name in NAMES if name != RECIPES_OWN]
FAST = {"lars": 1.0, "schedulefree-sgd": 0.5, "sgd": 0.05, "asgd": 0.5}
"""Rates at which each falls on this small problem; the others take 0.02."""
AVERAGING = ("asgd", "schedulefree-sgd", "schedulefree-adamw")


def problem(name: str) -> tuple[nn.Module, Any]:
    optimisers.check(name)
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
    return model, optimisers.make(name, model, lr=FAST.get(name, 0.02), momentum=0.9, weight_decay=0.0)


def steps(model: nn.Module, optimiser: Any, count: int) -> None:
    for _ in range(count):
        loss_of(model).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=False)


def loss_of(model: nn.Module) -> Tensor:
    random = torch.Generator().manual_seed(1)
    x = torch.randn(64, 6, generator=random)
    return (model(x) - x.sum(dim=1, keepdim=True).tanh()).pow(2).mean()


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", MADE)
def test_the_loss_falls(name: str) -> None:
    model, optimiser = problem(name)
    before = loss_of(model).item()
    steps(model, optimiser, 60)
    with optimisers.averages(optimiser):
        assert loss_of(model).item() < before / 2


@pytest.mark.parametrize("name", MADE)
def test_it_goes_on_where_it_was_saved(name: str) -> None:
    whole, first = problem(name), problem(name)
    steps(*whole, 8)
    steps(*first, 5)
    file = io.BytesIO()
    torch.save({"model": first[0].state_dict(), "optimiser": first[1].state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    second = problem(name)
    second[0].load_state_dict(state["model"])
    second[1].load_state_dict(state["optimiser"])
    steps(*second, 3)
    torch.testing.assert_close(weights(second[0]), weights(whole[0]), rtol=0, atol=0)


@pytest.mark.parametrize("name", AVERAGING)
def test_an_evaluation_leaves_the_training_as_it_was(name: str) -> None:
    """Whatever is written over the averages: a pattern puts the mean over the ranks there."""
    once, again = problem(name), problem(name)
    steps(*once, 6)
    steps(*again, 3)
    trained = weights(again[0])
    with optimisers.averages(again[1]) as kept:
        assert kept
        assert not torch.equal(weights(again[0]), trained)
        nn.utils.vector_to_parameters(torch.zeros_like(trained), again[0].parameters())
    steps(*again, 3)
    assert torch.equal(weights(once[0]), weights(again[0]))


def test_most_optimisers_keep_no_averages() -> None:
    for name in set(MADE) - set(AVERAGING):
        with optimisers.averages(problem(name)[1]) as kept:
            assert not kept


@pytest.mark.parametrize("name", MADE)
def test_a_step_without_gradients_changes_nothing(name: str) -> None:
    """So it is on a rank that owns no parameter, or none of a group, where the optimiser's state is shared out."""
    model, optimiser = problem(name)
    before = weights(model)
    optimiser.step()
    assert torch.equal(weights(model), before)


def test_muon_has_the_matrices_and_adamw_the_rest() -> None:
    model, optimiser = problem("muon")
    sizes = {type(o).__name__: sum(p.dim() for g in o.param_groups for p in g["params"]) for o in optimiser.optimisers}
    assert sizes == {"Muon": 2 * 2, "AdamW": 2 * 1}
    assert sum(len(g["params"]) for g in optimiser.param_groups) == len([*model.parameters()])


@pytest.mark.parametrize("task", ["task1a", "task2a", "task3a"])
def test_a_task_takes_its_name_and_refuses_others(task: str) -> None:
    assert recipes.choose(task, "custom", {"optimiser": "adamw"}).changes == {"optimiser": "adamw"}
    with pytest.raises(UsageError, match=r"There is no optimiser 'adamv'.*Did you mean 'adam"):
        recipes.choose(task, "custom", {"optimiser": "adamv"})


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimisers, "_LIBRARY_OF", {"lamb": "no_such_library"})
    with pytest.raises(UsageError, match=r"pip install 'mlb\[optimisers\]'"):
        optimisers.check("lamb")
