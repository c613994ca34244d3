"""The loop's decisions, on a task whose quality is scripted; the log it writes is the real one."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mlb.aggregation.base import NO_AVERAGES, Aggregation, Averages
from mlb.aggregation.exchange import Exchange
from mlb.results.log import read_log
from mlb.results.run import RunSpec
from mlb.results.writer import EventLog
from mlb.runners.alignment import ClockExchange
from mlb.runners.checkpoint import Position
from mlb.runners.loop import TrainingLoop, parameter_digest
from mlb.runners.loss import cause_of
from mlb.tasks.base import Batch, Evaluation
from support import example_spec
from torch import Tensor, nn

SPEC = example_spec(ranks=1)


class ScriptedTask:
    """Two steps an epoch; validation gives the scripted qualities one after the other."""

    metric = "perplexity"
    splits: tuple[str, ...] = ("validation", "test")
    clip_norm: float | None = 0.25

    def __init__(self, qualities: list[float], losses: float = 1.0) -> None:
        self.model: nn.Module = nn.Linear(1, 1)
        self.qualities, self.loss, self.adapted = qualities, losses, 0

    def hyperparameters(self) -> Mapping[str, object]:
        return {}

    def batches(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        for _ in range(2 - skip):
            yield Batch(3, 30, (torch.ones(1, 1),))

    def to_device(self, batch: Batch) -> Batch:
        return batch

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.model(batch.tensors[0]).sum(), torch.tensor(self.loss)

    def optimise(self) -> None:
        return None

    def averages(self) -> AbstractContextManager[bool]:
        return nullcontext(True)

    def evaluate(self, split: str) -> Evaluation:
        return Evaluation(self.qualities.pop(0) if split == "validation" else 99.0, 7)

    def state(self) -> dict[str, object]:
        return {}

    def load_state(self, state: Mapping[str, object]) -> None:
        return None

    def end_epoch(self, quality: float) -> str | None:
        self.adapted += 1
        return "asgd" if quality == 42.0 else None


def train(
    path: Path, task: ScriptedTask, spec: RunSpec = SPEC, start: Position | None = None
) -> tuple[str, list[tuple[str, Mapping[str, object]]]]:
    log = EventLog(path, rank=0, local_rank=0, world_size=1, node=0, run_id="r", launched_unix_ns=0)
    try:
        aggregation = Aggregation(task.model, Exchange(1))
        reason = TrainingLoop(spec, task, aggregation, log, torch.device("cpu"), start=start).run()
    finally:
        log.close()
    return reason, [(event.key, event.fields) for event in read_log(path).events]


@pytest.mark.parametrize(
    ("qualities", "bound", "reason", "epochs"),
    [
        ([30.0, 10.0], None, "goal", 2),
        ([30.0, 42.0, 30.0, 11.0], None, "epochs", 4),
        ([float("nan"), float("nan"), float("nan"), float("nan")], None, "epochs", 4),
        ([30.0, 30.0], 3, "steps", 2),
    ],
)
def test_why_a_run_ends(tmp_path: Path, qualities: list[float], bound: int | None, reason: str, epochs: int) -> None:
    task = ScriptedTask(qualities)
    ended, events = train(tmp_path / "log", task, replace(SPEC, max_steps=bound))
    assert ended == reason
    (stop,) = [fields for key, fields in events if key == "run_stop"]
    assert stop["reason"] == reason
    assert stop["status"] == ("success" if reason == "goal" else "aborted")
    assert len([1 for key, _ in events if key == "epoch_start"]) == epochs
    tests = [fields for key, fields in events if key == "eval_accuracy" and fields["split"] == "test"]
    assert len(tests) == (0 if bound else 1), "the test split is evaluated once, at the end"
    steps = [fields["step"] for key, fields in events if key == "step"]
    assert steps == list(range(bound or 2 * epochs))


@pytest.mark.parametrize("first", [1, 3])
def test_clocks_are_compared_once_before_each_epoch_and_at_the_end(tmp_path: Path, first: int) -> None:
    log = EventLog(tmp_path / "log", rank=0, local_rank=0, world_size=1, node=0, run_id="r", launched_unix_ns=0)
    task = ScriptedTask([30.0, 10.0])
    clocks = ClockExchange(SimpleNamespace(rank=0, world_size=1, tell_all=lambda value: value))
    start = Position(epoch=first, epoch_steps=0, steps=2 * (first - 1))
    pattern = Aggregation(task.model, Exchange(1))
    TrainingLoop(SPEC, task, pattern, log, torch.device("cpu"), clocks, start=start).run()
    log.close()
    told = [event.key for event in read_log(tmp_path / "log").events if event.key in ("clock_sync", "step", "run_stop")]
    assert told == ["clock_sync", "step", "step", "clock_sync", "step", "step", "run_stop", "clock_sync"]


def test_an_optimiser_switch_is_logged(tmp_path: Path) -> None:
    _, events = train(tmp_path / "log", ScriptedTask([42.0, 1.0]))
    assert [fields["value"] for key, fields in events if key == "optimiser_switch"] == ["asgd"]


def test_a_goal_that_must_be_risen_to(tmp_path: Path) -> None:
    reason, _ = train(tmp_path / "log", ScriptedTask([9.0, 10.0]), replace(SPEC, target_is_upper_bound=False))
    assert reason == "goal"


def test_a_loss_that_is_no_number_ends_the_run_at_its_step(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="the loss became nan in step 0 of epoch 1; it is the first step"):
        train(tmp_path / "log", ScriptedTask([], losses=float("nan")))
    events = read_log(tmp_path / "log").events
    assert [event.fields["loss"] for event in events if event.key == "step"] == ["nan"]


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ([2.0, 3.0, 9.0, 4e3], "it was growing (2, 3, 9, 4000): the learning rate is too high"),
        ([2.0, 2.1, 1.9, 2.0], "it was not growing (2, 2.1, 1.9, 2): the input of this step"),
    ],
)
def test_a_loss_that_is_no_number_has_a_cause(before: list[float], words: str) -> None:
    assert words in cause_of(before)


def test_warm_up_is_marked_not_hidden(tmp_path: Path) -> None:
    _, events = train(tmp_path / "log", ScriptedTask([30.0, 10.0]))
    assert [fields["warmup"] for key, fields in events if key == "step"] == [True, True, True, False]


@pytest.mark.parametrize("overhead", [False, True])
def test_warm_up_counts_from_where_a_resumed_run_begins(tmp_path: Path, overhead: bool) -> None:
    """Its process is new, whatever its first step's number; its pairs of steps begin after the warm-up, too."""
    start = Position(epoch=2, epoch_steps=1, steps=3)
    spec = replace(SPEC, max_epochs=5, measure_overhead=overhead)
    _, events = train(tmp_path / "log", ScriptedTask([30.0, 30.0, 30.0, 10.0]), spec, start)
    steps = [(fields["step"], fields["warmup"]) for key, fields in events if key in ("step", "bare_step")]
    assert steps == [(3, True), (4, True), (5, True), (6, False), (7, False), (8, False), (9, False)]
    assert [fields["step"] for key, fields in events if key == "overhead_pair"] == ([8] if overhead else [])


def test_digests_tell_weights_apart_to_the_last_bit() -> None:
    torch.manual_seed(0)
    one, two = nn.Linear(3, 3), nn.Linear(3, 3)
    two.load_state_dict(one.state_dict())
    assert parameter_digest(one) == parameter_digest(two)
    with torch.no_grad():
        two.bias[2] = torch.nextafter(two.bias[2], torch.tensor(9.0))
    assert parameter_digest(one) != parameter_digest(two)


class Watched(Aggregation):
    """Writes down when the loop calls it."""

    acts_after_step = True

    def __init__(self) -> None:
        super().__init__(nn.Linear(1, 1), Exchange(1))
        self.calls: list[str] = []

    def reduce(self) -> int:
        self.calls.append("reduce")
        return 3

    def clip(self) -> None:
        self.calls.append(f"clip to {self.clip_norm}")

    def after_step(self) -> int:
        self.calls.append("after")
        return 4

    @contextmanager
    def evaluating(self, averages: Averages = NO_AVERAGES) -> Iterator[None]:
        with averages as kept:
            self.calls.append("evaluating averages" if kept else "evaluating")
            yield
        self.calls.append("evaluated")

    def finish(self) -> None:
        self.calls.append("finish")


def test_when_a_pattern_is_called(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log", rank=0, local_rank=0, world_size=1, node=0, run_id="r", launched_unix_ns=0)
    pattern = Watched()
    TrainingLoop(SPEC, ScriptedTask([1.0]), pattern, log, torch.device("cpu")).run()
    log.close()
    evaluation = ["evaluating averages", "evaluated"]
    assert pattern.calls == [*["reduce", "clip to 0.25", "after"] * 2, *evaluation, *evaluation, "finish"]
    steps = [event.fields for event in read_log(tmp_path / "log").events if event.key == "step"]
    assert [step["bytes_reduced"] for step in steps] == [7, 7]
