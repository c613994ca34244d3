"""The metrics of runs that went well."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlb.errors import ResultsInvalid
from mlb.results import verdict
from mlb.results.metrics import Metrics, compute
from mlb.results.report import to_text
from mlb.results.run import RunFolder

MS = 1_000_000
S = 1000 * MS


@pytest.fixture
def metrics(small_run: Any, tmp_path: Path) -> Metrics:
    return compute(small_run(tmp_path).folder)


def test_the_result(metrics: Metrics) -> None:
    assert metrics.status == verdict.GOAL_REACHED
    assert metrics.stop_reason == "goal"
    assert metrics.failure is None
    assert (metrics.epochs, metrics.steps, metrics.tokens, metrics.samples) == (2, 10, 14_000, 200)
    assert metrics.hosts == ("node-0", "node-1")


def test_the_quality(metrics: Metrics) -> None:
    quality = metrics.quality
    assert [(e.epoch, e.split, e.value) for e in quality.evaluations] == [
        (1, "validation", 420.5),
        (2, "validation", 288.1234),
        (0, "test", 295.5),
    ]
    first, second, test = quality.evaluations
    assert quality.best == quality.final == quality.reached == second
    assert quality.test == test
    assert quality.best_possible == 251.5
    assert first.since_run_start_s == pytest.approx(0.01 + 5 * 0.44 + 0.4)


def test_the_time_to_target(metrics: Metrics) -> None:
    assert metrics.time_to_target_s == pytest.approx(2 * (0.01 + 5 * 0.44 + 0.4))
    # Before run_start: launch 1.5, import 2.5, process group 0.5, 40 ms of nothing, model 0.3.
    assert metrics.time_to_target_from_launch_s == pytest.approx(4.84 + 2 * (0.01 + 5 * 0.44 + 0.4))
    assert metrics.training_only_s == pytest.approx(10 * 0.44)


def test_training_only_is_of_the_slowest_rank(story: Any, run_at: Any, tmp_path: Path) -> None:
    def tell(rank: int, ns: int) -> Any:
        step = (0, 0, ns, 0, 0, 0, 0)
        return story(rank).start().event("run_start").step(*step).evaluate(200.0, 2 * S - ns).step(*step).stop()

    metrics = compute(run_at(tmp_path).tell(tell(0, S), tell(1, S + 500 * MS)).folder)
    assert metrics.training_only_s == 1.5
    assert metrics.time_to_target_s == 2.0


def test_the_throughput(metrics: Metrics) -> None:
    rates = metrics.throughput
    assert rates.tokens_per_s == pytest.approx(2 * 700 / 0.44)
    assert rates.samples_per_s == pytest.approx(2 * 10 / 0.44)
    assert rates.warmup_steps == 3


def test_warm_up_is_left_out_and_shown(story: Any, run_at: Any, tmp_path: Path) -> None:
    tale = story().start().event("run_start")
    tale.step(0, 0, 3 * S, 0, 0, 0, 0, tokens=100, samples=1, warmup=True)
    tale.step(0, 0, 1 * S, 0, 0, 0, 0, tokens=100, samples=1).stop()
    rates = compute(run_at(tmp_path, ranks=1).tell(tale).folder).throughput
    assert (rates.tokens_per_s, rates.tokens_per_s_with_warmup) == (100.0, 50.0)
    assert (rates.samples_per_s, rates.samples_per_s_with_warmup) == (1.0, 0.5)


@pytest.mark.parametrize("held", [100, 52, 3, 0, None])
def test_a_log_that_was_cut_off_lowers_no_rate(story: Any, run_at: Any, tmp_path: Path, held: int | None) -> None:
    """Two ranks of 10 samples in each step of 100 ms; `held` of rank 1's steps arrived, three of them warm-up."""

    def told(rank: int) -> Any:
        tale = story(rank).start().event("run_start")
        for step in range(100):
            tale.step(0, 0, 100 * MS, 0, 0, 0, 0, samples=10, tokens=0, warmup=step < 3)
        return tale.event("run_stop", status="aborted", reason="steps").stop()

    run = run_at(tmp_path).tell(told(0)).node()
    if held is not None:
        lines = told(1).lines
        run.write(1, b"".join(lines if held == 100 else lines[: 2 + held]))
    metrics = compute(run.folder)
    rates, text = metrics.throughput, to_text(metrics)
    some, every = held is not None and held > 3, bool(held)
    assert ("Throughput" in text, "with warm-up" in text) == (some, every), "and none is said to be 0"
    assert rates.samples_per_s == (pytest.approx(200.0) if some else None)
    assert rates.samples_per_s_with_warmup == (pytest.approx(200.0) if every else None)


def test_the_split(metrics: Metrics) -> None:
    first, second = metrics.split.ranks
    assert first.seconds("launch") == 1.5
    assert first.seconds("startup") == pytest.approx(3.3)
    assert second.seconds("startup") == pytest.approx(3.34)
    assert (first.seconds("communication"), second.seconds("communication")) == (1.0, 0.6)
    assert (first.seconds("backward"), second.seconds("backward")) == (2.0, 2.4)
    assert first.seconds("evaluation") == pytest.approx(1.15)
    assert first.seconds("between_epochs") == pytest.approx(0.02)
    assert first.seconds("finish") == pytest.approx(0.02)
    assert (first.seconds("ending"), second.seconds("ending")) == (pytest.approx(0.01), 0.0)
    assert first.seconds("unaccounted") == pytest.approx(0.045)
    assert second.seconds("unaccounted") == pytest.approx(0.015)
    assert (first.adds_up, second.adds_up) == (True, True)
    for split in metrics.split.ranks:
        assert sum(split.parts_ns.values()) == split.wall_ns
    assert metrics.split.wall_s == first.wall_ns / 1e9
    assert metrics.split.mean_seconds("communication") == pytest.approx(0.8)


def test_the_stages_of_start_up(metrics: Metrics) -> None:
    stages = [(s.name, s.first_rank_s, s.slowest_s, s.slowest_rank) for s in metrics.split.startup]
    assert stages == [("import", 2.5, 2.5, 0), ("process_group", 0.5, 0.54, 1), ("model", 0.3, 0.3, 0)]


def test_the_ranks_agree(metrics: Metrics) -> None:
    assert metrics.consistency.parameters_equal is True
    assert metrics.consistency.evaluations_equal is True
    assert metrics.consistency.missing_ranks == ()


def test_the_only_warning_is_that_smoke_is_smoke(metrics: Metrics) -> None:
    assert metrics.warnings == ("smoke: not comparable with other systems' results.",)


def test_json_is_plain_and_complete(metrics: Metrics) -> None:
    plain = json.loads(json.dumps(metrics.to_json(), allow_nan=False))
    assert plain == metrics.to_json() | {"quality": plain["quality"], "consistency": plain["consistency"]}
    assert plain["schema_version"] == 1
    assert plain["hyperparameters"] == {"seed": 43, "parameter_count": 1_000_000, "dropout": 0.4}
    assert plain["quality"]["reached"]["value"] == 288.1234
    assert plain["time"]["ranks"][1]["seconds"]["communication"] == 0.6
    assert sum(plain["time"]["mean"]["seconds"].values()) == pytest.approx(plain["time"]["wall_s"])
    assert sum(plain["time"]["mean"]["percent"].values()) == pytest.approx(100)
    assert plain["logs"]["complete"] == 2
    assert plain["logs"]["corrupt_lines"] == []


def test_the_import_begins_before_the_log(story: Any, run_at: Any, tmp_path: Path) -> None:
    """A process has no log in its first moments; they are start-up, not launch, and not both."""
    tale = story().wait(2 * S).start()
    born = tale.clock_ns - 100 * MS
    tale.wait(S).event("stage", name="import", start_ns=born, duration_ns=S + 100 * MS).stop()
    metrics = compute(run_at(tmp_path, ranks=1).tell(tale).folder)
    (split,) = metrics.split.ranks
    assert (split.seconds("launch"), split.seconds("startup"), split.seconds("unaccounted")) == (1.9, 1.1, 0.0)
    assert split.overlap_ns == 0


def test_a_step_may_be_stamped_late(story: Any, run_at: Any, tmp_path: Path) -> None:
    """A GPU's steps are resolved after the step: the span is start and length, not the stamp."""
    tale = story().start()
    phases = dict.fromkeys(("input_ns", "host_to_device_ns", "backward_ns", "communication_ns", "optimiser_ns"), 0)
    span = {"start_ns": tale.clock_ns, "step_ns": S, "forward_ns": S, "other_ns": 0}
    tale.wait(S).event("step", at_ns=tale.clock_ns + S // 2, **span, **phases).stage("epoch", S).stop()
    metrics = compute(run_at(tmp_path, ranks=1).tell(tale).folder)
    assert metrics.split.ranks[0].seconds("forward") == 1.0
    assert metrics.split.ranks[0].seconds("unaccounted") == 0.0


@pytest.mark.parametrize("upper", [True, False])
def test_the_target_has_a_side(story: Any, run_at: Any, tmp_path: Path, upper: bool) -> None:
    tale = story().start().event("run_start")
    for epoch, value in ((1, 0.5), (2, 0.9), (3, float("nan")), (4, 0.7)):
        tale.evaluate(value, S, epoch=epoch)
    run = run_at(tmp_path, ranks=1, target=0.6 if upper else 0.8, target_is_upper_bound=upper).tell(tale.stop())
    quality = compute(run.folder).quality
    assert quality.reached is not None
    assert (quality.reached.epoch, quality.best and quality.best.value) == ((1, 0.5) if upper else (2, 0.9))
    assert quality.final is not None
    assert quality.final.epoch == 4


def test_the_launch_is_the_spec_s_else_the_log_s_else_the_creation(story: Any, run_at: Any, tmp_path: Path) -> None:
    def wall(name: str, told: int, **spec: Any) -> tuple[str, float | None]:
        tale = story().wait(S).start(launched_unix_ns=told).stop()
        metrics = compute(run_at(tmp_path / name, ranks=1, **spec).tell(tale).folder)
        return metrics.launch_clock, metrics.split.wall_s

    launched = 1_700_000_000 * S
    assert wall("spec", 5) == ("launched", 1.0)
    assert wall("log", launched - S, launched_unix_ns=0) == ("launched", 2.0)
    assert wall("created", 0, launched_unix_ns=0) == ("created", 3.0)


def test_a_folder_without_a_spec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsInvalid, match="not a readable run folder"):
        compute(RunFolder(tmp_path))


def test_memory_does_not_grow_with_the_steps(story: Any, run_at: Callable[..., Any], tmp_path: Path) -> None:
    import tracemalloc

    def peak(steps: int) -> int:
        run = run_at(tmp_path / str(steps))
        for rank in range(2):
            tale = story(rank).start().sync()
            for _ in range(steps):
                tale.step(1, 1, 1, 1, 1, 1, 1)
            run.tell(tale.stop())
        tracemalloc.start()
        metrics = compute(run.folder)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert metrics.steps == steps
        assert metrics.communication is not None
        assert metrics.communication.steps == steps
        return most

    peak(1_000)  # loads the libraries
    assert peak(60_000) < 1.5 * peak(15_000)
