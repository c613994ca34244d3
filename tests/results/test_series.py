"""A run over time: what goes in comes out, however it falls into buckets."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlb.results.compare import entry_of
from mlb.results.extent import BUCKETS
from mlb.results.keys import PHASES
from mlb.results.metrics import compute

MS = 1_000_000


def test_the_buckets_add_up_to_the_split(small_run, tmp_path: Path) -> None:
    run = small_run(tmp_path)
    metrics = compute(run.folder, buckets=7)
    series = metrics.series
    assert series is not None
    for part in (*PHASES, "startup", "evaluation", "between_epochs", "finish"):
        assert series.parts_s[part].sum() == pytest.approx(metrics.split.mean_seconds(part)), part
    assert series.amounts["tokens"].sum() == pytest.approx(metrics.tokens)
    assert series.amounts["samples"].sum() == pytest.approx(metrics.samples)
    assert series.buckets * series.width_s == pytest.approx(metrics.split.wall_s)
    # No bucket holds more time than it is wide.
    total = np.sum(list(series.parts_s.values()), axis=0)
    assert (total <= series.width_s * (1 + 1e-9)).all()


def test_evaluations_know_what_was_trained_on_before_them(small_run, tmp_path: Path) -> None:
    run = small_run(tmp_path)
    series = compute(run.folder, BUCKETS).series
    assert series is not None
    counts = [(p.epoch, p.split, p.steps, p.samples, p.tokens) for p in series.progress]
    assert counts == [
        (1, "validation", 5, 100, 7000),
        (2, "validation", 10, 200, 14000),
        (0, "test", 10, 200, 14000),
    ]


def test_steps_that_are_not_measured_count(story, run_at, tmp_path: Path) -> None:
    """As with --measure-every 4: three steps of four have a length and no phases."""
    run = run_at(tmp_path)
    for rank in range(2):
        tale = story(rank, clock_ns=(7 + rank) * 1000 * MS).start().wait(3 * MS).event("run_start")
        for step in range(160):
            if step % 4:
                tale.bare_step(100 * MS, samples=5, tokens=50)
            else:
                tale.step(*[10 * MS] * 7, samples=5, tokens=50)
            if step in (119, 159):
                tale.evaluate(310.0 - step / 4, 40 * MS)
        run.tell(tale.event("run_stop", status="success", reason="goal").stop())
    metrics = compute(run.node().folder, buckets=7)
    series = metrics.series
    assert series is not None
    assert [(p.steps, p.samples, p.tokens) for p in series.progress] == [(120, 1200, 12_000), (160, 1600, 16_000)]
    assert (metrics.steps, metrics.samples, metrics.tokens) == (160, 1600, 16_000)
    for name, total in (("steps", 320), ("samples", 1600), ("tokens", 16_000)):
        assert series.amounts[name].sum() == pytest.approx(total), name
    for part in (*PHASES, "bare_steps", "evaluation"):
        assert series.parts_s[part].sum() == pytest.approx(metrics.split.mean_seconds(part)), part
    assert series.parts_s["bare_steps"].sum() == pytest.approx(12.0)
    entry = entry_of(run.folder, metrics)
    assert (entry.at_target("steps"), entry.at_target("samples")) == (120, 1200), "at the first of the two"
    assert not np.isnan(series.loss).all()


@settings(max_examples=40)
@given(
    phases=st.lists(st.lists(st.integers(0, 400 * MS), min_size=7, max_size=7), min_size=1, max_size=20),
    buckets=st.integers(1, 50),
)
def test_nothing_is_lost_between_buckets(story, run_at, tmp_path_factory, phases, buckets: int) -> None:
    tale = story(0).start().stage("import", 1 * MS)
    for step in phases:
        tale.step(*step)
    run = run_at(tmp_path_factory.mktemp("run"), ranks=1).tell(tale.wait(1).stop())
    series = compute(run.folder, buckets=buckets).series
    assert series is not None
    for index, phase in enumerate(PHASES):
        expected = sum(step[index] for step in phases) / 1e9
        assert series.parts_s.get(phase, np.zeros(1)).sum() == pytest.approx(expected, abs=1e-9)
    assert series.amounts["steps"].sum() == pytest.approx(len(phases))


def test_a_run_without_a_log_has_no_series(run_at, tmp_path: Path) -> None:
    run = run_at(tmp_path)
    assert compute(run.folder, BUCKETS).series is None


def test_lines_that_lack_their_fields_are_left_out(story, run_at, tmp_path: Path) -> None:
    tale = story(0).start().wait(5 * MS)
    tale.event("step", step=0).event("stage", name=7, start_ns=1, duration_ns=1).event("eval_stop")
    tale.step(*[MS] * 7).event("eval_accuracy", value=3.0)
    run = run_at(tmp_path, ranks=1).tell(tale.stop())
    series = compute(run.folder, BUCKETS).series
    assert series is not None
    assert series.amounts["steps"].sum() == pytest.approx(1)
    assert len(series.progress) == 1
