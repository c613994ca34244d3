"""What is asked for together, and cannot be run together, is refused before anything is done."""

import pytest
from mlb.cli.bench_spec import Ask
from mlb.cli.request import Request
from mlb.errors import UsageError


def ask(task: str, *settings: str, **more: object) -> Ask:
    custom = {"recipe": "custom"} if settings and more.get("goal") != "smoke" else {}
    return Ask.of(Request(task, settings=settings, **{**custom, **more}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "optimiser"),
    [
        ("task1a", "asgd"),
        ("task1a", "lars"),
        ("task1b", "lamb"),
        ("task2a", "muon"),
        ("task3a", "lamb"),
        ("task4b", "asgd"),
    ],
)
def test_an_optimiser_of_whole_tensors_is_refused_with_shards(task: str, optimiser: str) -> None:
    with pytest.raises(UsageError, match=f"fsdp does not fit a run of {task} that trains with {optimiser}"):
        ask(task, f"optimiser={optimiser}", aggregation="fsdp")
    ask(task, f"optimiser={optimiser}", aggregation="zero1")


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("task1a", ()),
        ("task1b", ()),
        ("task1b", ("optimiser=sgd",)),
        ("task2a", ()),
        ("task3a", ("optimiser=adamw",)),
        ("task4a", ()),
    ],
)
def test_shards_go_with_the_others(task: str, settings: tuple[str, ...]) -> None:
    """Task 1b's LARS is its own, which takes norms of shards."""
    ask(task, *settings, aggregation="fsdp")


@pytest.mark.parametrize("goal", ["full", "light", "smoke"])
def test_the_switch_of_task_3a_is_refused_with_shards(goal: str) -> None:
    """It once failed epochs later."""
    with pytest.raises(UsageError, match="task3a that switches to asgd") as refused:
        ask("task3a", goal=goal, aggregation="fsdp")
    assert "zero1" in refused.value.fix
    ask("task3a", goal=goal, aggregation="zero1")
    ask("task3a", "optimiser=sgd", goal=goal, aggregation="fsdp")


@pytest.mark.parametrize("bound", [{"max_epochs": 7}, {"max_steps": 100}])
def test_a_run_that_ends_before_the_switch_may_use_shards(bound: dict[str, int]) -> None:
    """Averaging is decided on after epoch 7, the first with an earlier one than the five before it, for epoch 8."""
    ask("task3a", aggregation="fsdp", **bound)
    with pytest.raises(UsageError, match="switches to asgd"):
        ask("task3a", aggregation="fsdp", max_epochs=8)
    ask("task3a", "nonmono=6", aggregation="fsdp", max_epochs=8)


def test_schedule_free_sgd_needs_momentum() -> None:
    """schedulefree raised on the nodes."""
    pytest.importorskip("schedulefree")
    with pytest.raises(UsageError, match="needs a momentum above 0 and below 1; that of task2a is 0"):
        ask("task2a", "optimiser=schedulefree-sgd")
    for momentum in ("0", "1", "-0.5"):
        with pytest.raises(UsageError, match="needs a momentum above 0 and below 1; that of task1a"):
            ask("task1a", "optimiser=schedulefree-sgd", f"momentum={momentum}")
    ask("task1a", "optimiser=schedulefree-sgd")
    ask("task2a", "optimiser=schedulefree-adamw")
