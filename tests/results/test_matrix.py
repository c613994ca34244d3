"""A matrix of runs: its order, how it is gone on with, and what its runs say side by side."""

from pathlib import Path
from typing import Any

import pytest
from mlb.errors import Locked
from mlb.pages.compare_charts import charts_of_comparison
from mlb.results.compare_report import render_comparison
from mlb.results.matrix import Cell, Matrix, interleaved, read_matrix, working_on, write_matrix
from mlb.results.matrix_compare import compare_matrix
from mlb.results.measures import nic_bytes
from mlb.results.metrics import compute
from mlb.results.run import RunFolder
from mlb.results.statistics import least_runs, paired_of, permutation_p
from mlb.results.table import text_of
from stories import Run, Story


def run(runs: Path, name: str, step_ms: int, *, quality: float = 250.0, **spec: Any) -> Cell:
    """A run of ten steps of one rank and an evaluation; the target is 300, to be fallen to."""
    story = Story(0, run_id=name).start().event("run_start")
    for _ in range(10):
        story.step(*[step_ms * 1_000_000 // 7] * 7)
    story.evaluate(quality, 1_000_000).event("run_stop", status="success", reason="goal").stop()
    made = Run(runs / "made", **{"run_id": name, "ranks": 1, "target": 300.0, **spec}).tell(story).node()
    made.folder.path.rename(runs / name)
    return Cell({"aggregation": spec["aggregation"]}, 0, spec["seed"], name, "succeeded")


def compared(tmp_path: Path, cells: list[Cell], **more: Any) -> Any:
    return compare_matrix(Matrix("m", "compare", {}, tuple(cells), keeps_failures=True, **more), tmp_path)


def series(tmp_path: Path, aggregation: str, steps_ms: list[int], **more: Any) -> list[Cell]:
    return [
        run(tmp_path, f"{aggregation}-{seed}", step_ms, aggregation=aggregation, seed=seed, **more)
        for seed, step_ms in enumerate(steps_ms)
    ]


def test_rounds_take_turns_and_share_a_seed() -> None:
    cells = interleaved([{"a": 1}, {"a": 2}, {"a": 3}], 2, 7)
    assert [(cell.changes["a"], cell.repeat, cell.seed) for cell in cells] == [
        (1, 0, 7), (2, 0, 7), (3, 0, 7), (3, 1, 8), (2, 1, 8), (1, 1, 8),
    ]  # fmt: skip
    matrix = Matrix("m", "compare", {}, cells)
    assert [cell.seed for cell in matrix.cells_of({"a": 3})] == [7, 8]
    assert [changes["a"] for changes in matrix.configurations] == [1, 2, 3]


def test_what_needs_no_further_run(tmp_path: Path) -> None:
    states = ("succeeded", "failed", "hang", "interrupted", "stopped", "lost", "")
    cells = tuple(Cell({}, i, i, "r", state) for i, state in enumerate(states))
    keeps, repeats = (Matrix("m", "compare", {}, cells, keeps_failures=keeps) for keeps in (True, False))
    assert [keeps.settled(cell) for cell in cells] == [True, True, True, False, False, False, False]
    assert [repeats.settled(cell) for cell in cells] == [True, *[False] * 6]
    write_matrix(tmp_path / "m", keeps)
    assert read_matrix(tmp_path / "m") == keeps


def test_two_commands_do_not_make_the_same_runs(tmp_path: Path) -> None:
    with working_on(tmp_path / "m"), pytest.raises(Locked, match="Another command"), working_on(tmp_path / "m"):
        pass
    with working_on(tmp_path / "m"):
        pass


def test_a_difference_outside_noise_is_called_and_measured(tmp_path: Path) -> None:
    times = [100, 104, 97, 101, 99, 102]
    cells = series(tmp_path, "allreduce", times) + series(tmp_path, "ddp", [t // 2 for t in times])
    made = compared(tmp_path, cells)
    assert made.fastest.name == "B"
    assert made.fastest.beaten == ("A",)
    (effect,) = made.effects
    assert (effect.first, effect.second, effect.pairs) == ("allreduce", "ddp", 6)
    ratio = effect.on[0].ratio
    assert ratio.ratio == pytest.approx(0.5, rel=0.02)
    assert ratio.p_value == pytest.approx(2 / 2**6)
    assert ratio.decided()
    assert [group.label for group in made.groups] == ["aggregation=allreduce", "aggregation=ddp"]
    assert made.groups[0].measures["steps_to_target"].values == (10.0,) * 6
    text = text_of(render_comparison(made), 200)
    assert "B is faster than A to the target" in text
    assert "6 of 6" in text
    assert "split-of-step" in {chart.id for chart in charts_of_comparison(made)}


def test_runs_that_missed_failed_or_are_not_there_are_said_and_in_no_number(tmp_path: Path) -> None:
    cells = series(tmp_path, "allreduce", [100, 100, 100])
    cells += series(tmp_path, "sign", [10, 10])
    cells.append(run(tmp_path, "sign-2", 10, aggregation="sign", seed=2, quality=900.0))
    failed = run(tmp_path, "topk-0", 1, aggregation="topk", seed=0)
    RunFolder(tmp_path / "topk-0").rank_events(0).write_text("")
    cells.append(Cell(failed.changes, 0, 0, "topk-0", "failed", "Rank 1 failed first: boom."))
    cells.append(Cell({"aggregation": "topk"}, 1, 1))
    made = compared(tmp_path, cells)
    assert [(g.reached, g.counting, len(g.runs)) for g in made.groups] == [(3, 3, 3), (2, 3, 3), (0, 0, 1)]
    assert made.fastest is None, "of the runs of B only the lucky ones would be compared"
    text = text_of(render_comparison(made), 200)
    assert "2 of 3" in text
    assert "C: the run with seed 0 failed: Rank 1 failed first: boom." in text
    assert "seed 1 is not there (yet)" in text
    assert "not compared: not every run that ended reached the target" in text


def test_a_change_is_not_judged_by_the_seeds_that_were_lucky(tmp_path: Path) -> None:
    """Seven of nine seeds reach the target, and would be told to be faster outside of noise."""
    cells = series(tmp_path, "allreduce", [100] * 9) + series(tmp_path, "topk", [90 - i for i in range(7)])
    cells += [run(tmp_path, f"topk-{i}", 80, aggregation="topk", seed=i, quality=900.0) for i in (7, 8)]
    made = compared(tmp_path, cells)
    (effect,) = made.effects
    told = {on.measure: on for on in effect.on}
    assert effect.pairs == 9
    assert told["time_to_target_s"].pairs == told["steps_to_target"].pairs == 7
    assert told["time_to_target_s"].ratio.ratio is None
    assert told["step_ms"].pairs == 9
    assert told["step_ms"].ratio.decided()
    text = text_of(render_comparison(made), 200)
    assert "7 of 9" in text
    assert "not compared: not every run that ended reached the target" in text
    assert made.to_json()["effects"][0]["time_to_target_s"]["pairs"] == 7


def test_the_headline_does_not_deny_what_stands_below_it(tmp_path: Path) -> None:
    """Of A, whose times swing, nothing can be told; that B is faster than C can."""
    cells = series(tmp_path, "allreduce", [60, 150, 70, 140, 80, 130])
    cells += series(tmp_path, "ddp", [88, 89, 90, 91, 92, 90]) + series(
        tmp_path, "topk", [120, 121, 122, 123, 124, 122]
    )
    title = render_comparison(compared(tmp_path, cells)).title
    assert title[1] == "No winner: B is faster than C, and not told from A"


def test_too_few_runs_are_not_called_noise(tmp_path: Path) -> None:
    cells = series(tmp_path, "allreduce", [100, 101, 102]) + series(tmp_path, "ddp", [50, 51, 52])
    report = render_comparison(compared(tmp_path, cells))
    assert report.title[1] == "No winner: too few runs to tell one"
    said = dict(report.rows)["Time to target, B : A"]
    assert "90 % interval" in said
    assert "no winner, too few runs to tell; about 4 runs of each" in said
    assert "(1 more)" in said
    groups = next(table for table in report.tables if table.title == "Groups")
    assert groups.rows[0][4].endswith(", 75 %")


def test_nothing_run_is_no_comparison(tmp_path: Path) -> None:
    assert compared(tmp_path, [Cell({"aggregation": "ddp"}, 0, 1)]) is None


def test_a_sign_flip_test_decides_from_six_pairs_on() -> None:
    assert paired_of([]).ratio is None
    assert not paired_of([0.5] * 5).decided()
    assert paired_of([0.5] * 6).decided()
    assert not paired_of([0.5, 2.0] * 3).decided()
    assert paired_of([0.5] * 20).p_value == pytest.approx(2 / 2**20, abs=1e-4)


@pytest.mark.parametrize("comparisons", [1, 2, 5, 11])
def test_the_least_runs_are_those_that_can_decide(comparisons: int) -> None:
    n = least_runs(comparisons)
    apart = permutation_p(list(range(n)), list(range(100, 100 + n)))
    assert apart <= 0.05 / comparisons
    fewer = permutation_p(list(range(n - 1)), list(range(100, 99 + n)))
    assert fewer > 0.05 / comparisons


def test_bytes_of_the_nic_are_known_only_where_all_nodes_were_sampled(tmp_path: Path) -> None:
    run(tmp_path, "alone", 10, aggregation="ddp", seed=0)
    assert nic_bytes(compute(RunFolder(tmp_path / "alone"))) is None
