"""The display of a running benchmark: what it says of events, and that no event can break it."""

import pytest
from mlb.cli.live import LiveView
from mlb.results.keys import PHASES
from mlb.results.line import Event
from mlb.tasks.catalogue import TASKS
from support import example_spec


def event(key: str, **fields: object) -> Event:
    return Event(key, 1, 1, fields, 0)


def step(number: int, loss: object = 2.0) -> Event:
    phases = {f"{phase}_ns": 0 for phase in PHASES} | {"forward_ns": 6_000_000, "backward_ns": 4_000_000}
    return event("step", epoch_num=1, step=number, step_ns=10_000_000, samples=5, tokens=100, loss=loss, **phases)


def test_speed_and_split_of_all_ranks() -> None:
    view = LiveView(example_spec(ranks=2))
    for number in range(60):
        view.add(0, step(number))
        view.add(1, step(number))
    assert view.render() == (
        "epoch 1, step 59: loss 2.000, perplexity 7.4, 20,000 tokens/s, 1,000 samples/s | forward 60 %, backward 40 %"
    )


def test_images_have_no_tokens() -> None:
    view = LiveView(example_spec(ranks=2))
    view.add(0, Event("step", 1, 1, step(0).fields | {"tokens": 5}, 0))
    assert "loss 2.000, perplexity 7.4, 1,000 samples/s | forward" in view.render()


def test_an_evaluation_leaves_a_line() -> None:
    view = LiveView(example_spec(target=170.0))
    view.add(0, step(0))
    view.add(0, event("eval_accuracy", value=171.23, metric="validation perplexity", epoch_num=3, split="validation"))
    (line,) = view.new_lines()
    assert line.startswith("epoch 3: validation perplexity 171.23 (goal <= 170), ")
    assert view.new_lines() == []


@pytest.mark.parametrize(
    "broken",
    [
        event("step"),
        event("step", step_ns="x", tokens=None),
        event("eval_accuracy", value=[]),
        event("stage"),
        step(1, loss="nan"),
        event("optimiser_switch"),
        event("unheard_of", x=1),
    ],
)
def test_no_event_can_break_it(broken: Event) -> None:
    view = LiveView(example_spec())
    view.add(0, broken)
    view.add(0, step(2))
    assert "step 2" in view.render()
    view.new_lines()


def test_the_catalogues_metric_is_what_is_shown() -> None:
    assert all(goal.metric.startswith("validation perplexity") for goal in TASKS["task3a"].goals.values())


def test_debugging_shows_when_each_stage_was_done() -> None:
    view = LiveView(example_spec(created_unix_ns=1_000_000_000), show_stages=True)
    view.add(0, Event("log_start", 0, 5, {"unix_time_ns": 1_500_000_005}, 0))
    view.add(0, Event("stage", 1, 2_000_000_000, {"name": "import", "duration_ns": 1_250_000_000}, 0))
    first = step(0)
    view.add(0, Event("step", 2, 9, {**first.fields, "start_ns": 3_000_000_000}, 0))
    assert view.new_lines() == ["[ 2.500 s] import done, took 1.250 s", "[ 3.500 s] first training step begins"]
