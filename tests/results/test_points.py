"""A run as points for trackers: named by the log's own step numbers, and few."""

from pathlib import Path

from mlb.results.metrics import compute
from mlb.results.points import POINTS_AT_MOST, facts_of, points_of
from stories import MS, Run, S, Story, small_run


def test_points_are_the_logs_own(tmp_path: Path) -> None:
    folder = small_run(tmp_path).folder
    points = list(points_of(folder, compute(folder)))
    by_name = {name: [(p.step, p.value) for p in points if p.name == name] for name in {p.name for p in points}}
    assert by_name["eval/validation perplexity"] == [(4, 420.5), (9, 288.1234)]
    assert by_name["time/step_ms"] == [(i, 440.0) for i in range(10)]
    assert by_name["run/time_to_target_s"] == [(10, 5.22)]
    assert all(p.unix_ns >= 1_700_000_000 * S for p in points)
    assert facts_of(compute(folder))["dropout"] == "0.4"


def test_an_evaluation_comes_after_steps_that_were_not_measured(tmp_path: Path) -> None:
    story = Story(0).start(world_size=1).event("run_start").step(MS, 0, 0, 0, 0, 0, 0)
    story.bare_step(MS).bare_step(MS).evaluate(320.0, MS).event("run_stop", status="aborted", reason="epochs")
    run = Run(tmp_path, ranks=1).tell(story.stop()).node()
    (point,) = [p for p in points_of(run.folder, compute(run.folder)) if p.name == "eval/validation perplexity"]
    assert (point.step, point.value) == (2, 320.0)


def test_a_long_run_is_handed_on_in_few_points(tmp_path: Path) -> None:
    story = Story(0).start(world_size=1).event("run_start")
    for _ in range(5 * POINTS_AT_MOST):
        story.step(MS, 0, 0, 0, 0, 0, 0)
    run = Run(tmp_path, ranks=1).tell(story.event("run_stop", status="aborted", reason="steps").stop()).node()
    points = [p for p in points_of(run.folder, compute(run.folder)) if p.name == "time/step_ms"]
    assert len(points) == POINTS_AT_MOST
    assert (points[0].step, points[-1].step, points[0].value) == (4, 5 * POINTS_AT_MOST - 1, 1.0)
