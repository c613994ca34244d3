"""Recipes: the published values, what may be changed, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from typing import get_type_hints

import pytest
from mlb.errors import UsageError
from mlb.tasks import bounds, catalogue, recipes

PUBLISHED = {
    "task1a": {"batch_per_rank": 128, "learning_rate": 0.02, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4,
               "plateau_factor": 0.5, "plateau_patience": 1, "plateau_threshold": 0.01, "depth": 20, "width": 16},
    "task2a": {"batch_per_rank": 100, "learning_rate": 4.0, "scaled_ranks": 16, "plateau_factor": 0.75,
               "plateau_patience": 0, "plateau_threshold": 0.01, "l2": 2.5e-6},
    "task3a": {"embedding": 400, "hidden": 1150, "layers": 3, "batch_per_rank": 20, "bptt": 70, "learning_rate": 15.0,
               "weight_decay": 1.2e-6, "clip_norm": 0.25, "dropout_input": 0.65, "dropout_weights": 0.5, "nonmono": 5},
    "task4a": {"width": 1024, "layers": 4, "dropout": 0.2, "init_range": 0.1, "pairs_per_step": 2048,
               "most_pairs_per_rank": 128, "learning_rate": 2e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8,
               "clip_norm": 5.0, "warmup_steps": 200, "decay_from": 0.4, "decay_interval": 0.05, "decay_steps": 4,
               "decay_factor": 0.5, "label_smoothing": 0.1, "beam": 5, "length_alpha": 0.6, "length_constant": 5.0,
               "coverage_beta": 0.1, "longest_ratio": 0.0, "longest_extra": 150},
    "task4b": {"width": 1024, "feed_forward": 4096, "heads": 16, "layers": 6, "dropout": 0.1, "dropout_attention": 0.1,
               "dropout_relu": 0.1, "tokens_per_rank": 8192, "tokens_per_step": 131_072, "learning_rate": 1.976e-3,
               "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-9, "clip_norm": None, "warmup_steps": 1000,
               "label_smoothing": 0.1, "beam": 4, "length_alpha": 0.6, "longest_ratio": 1.0, "longest_extra": 50},
}  # fmt: skip
"""MLBench's, as its code has them."""


@pytest.mark.parametrize("task", PUBLISHED)
def test_the_reference_is_what_was_published(task: str) -> None:
    found = recipes.values(task, "reference")
    assert {name: found[name] for name in PUBLISHED[task]} == PUBLISHED[task]


@pytest.mark.parametrize("task", catalogue.TASKS)
def test_every_goal_names_recipes_that_there_are(task: str) -> None:
    for goal in catalogue.TASKS[task].goals.values():
        assert set(goal.recipes) <= set(recipes.names(task))
        assert goal.comparable == (goal.recipes[0] == "reference")


def test_the_reference_is_closed() -> None:
    with pytest.raises(UsageError, match="The reference recipe of task1a is closed") as raised:
        recipes.choose("task1a", "reference", {"momentum": "0.8"})
    assert "--recipe custom" in raised.value.fix


def numbers(task: str, recipe: str) -> dict[str, float]:
    values = recipes.values(task, recipe).items()
    return {name: value for name, value in values if isinstance(value, (int, float)) and not isinstance(value, bool)}


@pytest.mark.parametrize("task", catalogue.TASKS)
def test_every_number_has_bounds_and_every_published_value_lies_in_them(task: str) -> None:
    for recipe in recipes.names(task):
        for name, value in recipes.values(task, recipe).items():
            if value is not None and not isinstance(value, (bool, str)):
                assert bounds.bounds_of(task, name).hold(float(str(value))), (recipe, name)
            assert bounds.fault_of(task, name, value) is None
    kinds = get_type_hints(type(recipes.build(task, "reference", {})))
    for name in (name for name, kind in kinds.items() if kind not in (bool, str)):
        assert bounds.bounds_of(task, name), name


@pytest.mark.parametrize("task", catalogue.TASKS)
def test_no_number_may_be_next_to_its_bounds_on_the_wrong_side(task: str) -> None:
    for name in numbers(task, "smoke"):
        held = bounds.bounds_of(task, name)
        for text in (held.low if held.above_low else held.low - 1, held.high + 1):
            with pytest.raises(UsageError, match=f"Nobody can train {task} with {name}="):
                recipes.choose(task, "smoke", {name: f"{int(text)}"})


@pytest.mark.parametrize(
    ("task", "setting", "valid"),
    [
        ("task3a", "batch_per_rank=0", "from 1 to 65,536"),
        ("task3a", "batch_per_rank=1000000000", "from 1 to 65,536"),
        ("task3a", "layers=0", "from 1 to 256"),
        ("task3a", "hidden=-1", "from 1 to 65,536"),
        ("task3a", "dropout_input=7", "from 0 to 0.99999"),
        ("task3a", "learning_rate=-5", "from 0 to 10,000"),
        ("task1b", "blocks=3-0-x", "3-4-6-3"),
        ("task1a", "depth=21", "6 n + 2"),
        ("task4b", "heads=3", "multiple of heads"),
        ("task1a", "schedule=one-cycle", "cycle_epochs above 0"),
    ],
)
def test_what_nobody_can_train_with_is_refused(task: str, setting: str, valid: str) -> None:
    name, _, value = setting.partition("=")
    with pytest.raises(UsageError) as refused:
        recipes.choose(task, "custom", {name: value})
    assert valid in str(refused.value)
    assert setting in str(refused.value)


def test_custom_starts_from_the_reference_and_names_what_differs() -> None:
    choice = recipes.choose("task1a", "custom", {"momentum": "0.8", "batch_per_rank": "128", "nesterov": "yes"})
    assert choice.changes == {"momentum": "0.8", "nesterov": "True"}, "a value as published is no change"
    built = recipes.build("task1a", "custom", choice.changes)
    assert (built.momentum, built.nesterov, built.learning_rate) == (0.8, True, 0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentom": "0.8"}, "no hyperparameter 'momentom'. Did you mean 'momentum'"),
        ({"batch_per_rank": "12.5"}, "batch_per_rank=12.5 is not a whole number"),
        ({"momentum": "nan"}, "momentum=nan is not a finite number"),
        ({"nesterov": "maybe"}, "nesterov=maybe is not true or false"),
        ({"train_images": "few"}, "train_images=few is not a whole number or none"),
        ({"precision": "float16"}, "precision cannot be 'float16'"),
        ({"compile": "gpus"}, "compile cannot be 'gpus'. Did you mean 'gpu'"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace(".", r"\.")):
        recipes.choose("task1a", "custom", settings)


def test_a_bound_can_be_taken_away() -> None:
    choice = recipes.choose("task1a", "smoke", {"train_images": "none"})
    assert choice.changes == {"train_images": "None"}
    assert recipes.build("task1a", "smoke", choice.changes).train_images is None


def test_a_goal_cannot_be_run_with_any_recipe() -> None:
    info = catalogue.task("task1a")
    with pytest.raises(UsageError, match=r"cannot be run with the recipe 'smoke'"):
        catalogue.choose_recipe(info, info.goal("full"), "smoke", {})
    with pytest.raises(UsageError, match=r"no recipe 'fats'. Did you mean 'fast'"):
        catalogue.choose_recipe(info, info.goal("full"), "fats", {})


def test_data_without_a_target_is_refused() -> None:
    goal = catalogue.task("task2a").goal("smoke")
    assert goal.data_named("real") == "a9a"
    with pytest.raises(UsageError, match="has no target on the data set 'epsilon'"):
        goal.data_named("epsilon")


def test_recipes_are_known_without_torch() -> None:
    code = "import sys, mlb.tasks.catalogue; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
