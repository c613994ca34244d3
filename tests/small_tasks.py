"""Every task but 1b at a size that trains an epoch in a moment; hyperparameters may be changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlb.tasks.recipe1a import Recipe1a
from mlb.tasks.recipe2a import Recipe2a
from mlb.tasks.recipe3a import Recipe3a
from mlb.tasks.recipe4 import Recipe4a, Recipe4b
from mlb.tasks.task1a import Task1a
from mlb.tasks.task2a import Task2a
from mlb.tasks.task3a import Task3a
from mlb.tasks.task4a import Task4a
from mlb.tasks.task4b import Task4b
from task_support import setup_of


def task_1a(request: Any, **changes: Any) -> Task1a:
    path = request.getfixturevalue("small_images")
    return Task1a(setup_of(path), Recipe1a(depth=8, width=4, batch_per_rank=32, train_images=150, **changes))


def task_2a(request: Any, **changes: Any) -> Task2a:
    return Task2a(setup_of(request.getfixturevalue("small_rows")), Recipe2a(batch_per_rank=60, **changes))


def task_3a(request: Any, **changes: Any) -> Task3a:
    """Averages from the second epoch on, drops everywhere, carries its hidden state."""
    recipe = Recipe3a(embedding=8, hidden=10, layers=2, batch_per_rank=4, bptt=70, nonmono=0,
                      **{"learning_rate": 30.0, **changes})  # fmt: skip
    task = Task3a(setup_of(request.getfixturevalue("small_text")), recipe)
    task._qualities.append(0.0)
    return task


def task_4a(request: Any, **changes: Any) -> Task4a:
    """Two passes a step, drops everywhere, its rate falling on the way."""
    recipe = Recipe4a(width=8, layers=3, pairs_per_step=20, most_pairs_per_rank=10, beam=1, longest_extra=3,
                      warmup_steps=3, schedule_epochs=3, **changes)  # fmt: skip
    return Task4a(setup_of(request.getfixturevalue("small_pairs")), recipe)


def task_4b(request: Any, **changes: Any) -> Task4b:
    recipe = Recipe4b(width=8, feed_forward=8, heads=2, layers=1, tokens_per_rank=128, tokens_per_step=128,
                      warmup_steps=3, beam=1, longest_extra=3, **changes)  # fmt: skip
    return Task4b(setup_of(request.getfixturevalue("small_pairs")), recipe)


TASKS: dict[str, Callable[..., Any]] = {"1a": task_1a, "2a": task_2a, "3a": task_3a, "4a": task_4a, "4b": task_4b}
