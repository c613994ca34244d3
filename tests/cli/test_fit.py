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
        ("task1a", "lars"),
        ("task1b", "lamb"),
        ("task2a", "muon"),
        ("task3a", "lamb"),
        ("task4b", "muon"),
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
        ("task1a", ("optimiser=asgd",)),
        ("task3a", ()),
        ("task3a", ("optimiser=adamw",)),
        ("task4a", ()),
    ],
)
def test_shards_go_with_the_others(task: str, settings: tuple[str, ...]) -> None:
    """Task 1b's LARS is its own, which takes norms of shards."""
    ask(task, *settings, aggregation="fsdp")


def test_schedule_free_sgd_needs_momentum() -> None:
    """schedulefree raised on the nodes."""
    pytest.importorskip("schedulefree")
    with pytest.raises(UsageError, match="needs a momentum above 0 and below 1; that of task2a is 0"):
        ask("task2a", "optimiser=schedulefree-sgd")
    with pytest.raises(UsageError, match="needs a momentum above 0 and below 1; that of task1a"):
        ask("task1a", "optimiser=schedulefree-sgd", "momentum=0")
    ask("task1a", "optimiser=schedulefree-sgd")
    ask("task2a", "optimiser=schedulefree-adamw")
