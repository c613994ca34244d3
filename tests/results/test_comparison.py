"""Which runs may stand for their configuration: not a part of a training, nor one whose logs are not all there."""

from pathlib import Path

import pytest
from mlb.errors import UsageError
from mlb.pages.page import comparison_page
from mlb.results.compare import compare, compared, entry_of, group_of
from mlb.results.compare_report import render_comparison
from mlb.results.comparison import Comparison, Entry
from mlb.results.run import RunFolder
from mlb.results.table import text_of
from stories import paced_run, small_run


def said(made: Comparison) -> str:
    return text_of(render_comparison(made), 200)


def paced(runs: Path, name: str, seed: int, step_ms: int, *, logged: int | None = 100) -> Entry:
    """A run of two ranks to the target, of 100 steps; so many of rank 1's arrived, None: no log of it."""
    folder = paced_run(runs, name, 2, step_ms, 10, steps=100, seed=seed, quality=(400, 200))
    log = folder.rank_events(1)
    if logged is None:
        log.unlink()
    elif logged < 100:
        log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[: logged + 3]))
    return entry_of(folder)


def test_a_run_without_all_of_its_logs_is_shown_said_and_in_no_number(tmp_path: Path) -> None:
    runs = [paced(tmp_path, f"run-{seed}", seed, 100 + seed) for seed in range(3)]
    cut = paced(tmp_path, "cut", 3, 20, logged=45)
    assert cut.metrics.status == "goal reached", "by the nodes' status and the other rank's log"
    made = compare([*runs, cut], by=("backend",))
    (group,) = made.groups
    assert (len(group.runs), group.counting, group.reached) == (4, 3, 3)
    assert group.rates.values == pytest.approx((200 / 0.1, 200 / 0.101, 200 / 0.102)), "tokens a second"
    assert group.measures["step_ms"].values == pytest.approx((100.0, 101.0, 102.0))
    assert "A: cut is shown and not averaged: no whole log of rank 1." in said(made)
    assert cut.at_target("steps") == 100
    assert cut.at_target("samples") is None, "rank 1's are missing in the sum"
    assert made.to_json()["groups"][0]["runs"][3]["counts"] is False


@pytest.mark.parametrize("logged", [52, 0, None])
def test_no_winner_by_logs_that_are_not_all_there(tmp_path: Path, logged: int | None) -> None:
    whole = [paced(tmp_path, f"whole-{seed}", seed, 100 + seed) for seed in range(4)]
    parts = [paced(tmp_path, f"part-{seed}", seed, 50 + seed, logged=logged) for seed in range(4)]
    assert all(run.metrics.status == "goal reached" for run in parts)
    made = compared([group_of("A", "", whole), group_of("B", "", parts)])
    (pair,) = made.pairs
    assert (pair.first.counting, pair.second.counting) == (4, 0)
    assert (pair.times.ratio, pair.rates.ratio, made.fastest) == (None, None, None)
    assert "is faster than" not in said(made)
    assert sum("no whole log of rank 1" in warning for warning in made.warnings) == 4


def test_a_run_whose_ranks_disagree_is_no_result(tmp_path: Path) -> None:
    """One log says a better quality than the other at the same evaluation."""
    paced(tmp_path, "whole", 0, 100)
    log = RunFolder(tmp_path / "whole").rank_events(0)
    text = log.read_text()
    assert '"value":200' in text
    log.write_text(text.replace('"value":200', '"value":2'))
    changed = entry_of(RunFolder(tmp_path / "whole"))
    made = compare([changed])
    assert made.groups[0].counting == 0
    assert "whole is shown and not averaged: its ranks measured different qualities at the same evaluation" in said(
        made
    )
    assert any("The ranks measured different qualities" in warning for warning in made.warnings), "as the report says"


def test_a_run_and_its_copy_are_no_repeats(tmp_path: Path) -> None:
    run = paced(tmp_path, "run", 0, 100)
    with pytest.raises(UsageError, match="are the same run: run"):
        compare([run, run])


def test_a_resumed_run_is_no_whole_training(tmp_path: Path) -> None:
    runs = [entry_of(small_run(tmp_path, run_id=f"run-{seed}", seed=seed).folder) for seed in range(3)]
    rest = entry_of(small_run(tmp_path, run_id="rest", seed=3, resumed_run="broken", division="open").folder)
    assert rest.metrics.time_to_target_s == pytest.approx(5.22), "its own report says so, with a warning"
    assert (rest.time_to_target_s, rest.crossing_s, rest.at_target("steps"), rest.at_target("samples")) == (None,) * 4
    assert rest.points("time") == [], "its curve would begin where the others' do"
    why = "rest is shown and not averaged: it goes on with broken, and its times, steps and samples are those of the "
    together = compare([*runs, rest], by=("backend",))
    (group,) = together.groups
    assert (len(group.runs), group.counting, group.times.values) == (4, 3, (5.22,) * 3)
    assert [len(group.measures[name].values) for name in ("time_to_target_s", "steps_to_target", "step_ms")] == [3] * 3
    assert f"A: {why}rest." in said(together)
    apart = compare([*runs, rest])
    assert [g.counting for g in apart.groups] == [3, 0]
    assert apart.fastest is None
    assert f"B: {why}rest." in said(apart)
    assert "rest" in comparison_page(apart)


def test_where_a_first_evaluation_meets_the_target_no_line_crosses_it(tmp_path: Path) -> None:
    """The untrained model's quality is not known, so nothing is between it and the first evaluation."""
    at_once = entry_of(paced_run(tmp_path, "at-once", 1, 100, steps=20, quality=(250, 200)))
    assert at_once.at_target("samples") == 100
    assert (at_once.crossing_s, at_once.crossing("samples")) == (None, None)
    lost = entry_of(paced_run(tmp_path, "lost", 1, 100, steps=20, quality=(float("inf"), 200)))
    assert (lost.at_target("samples"), lost.crossing("samples")) == (200, None), "no line from what is no number"
    between = entry_of(paced_run(tmp_path, "between", 1, 100, steps=20, quality=(400, 200)))
    assert between.crossing("samples") == 150
