"""A scaling series: medians over its sizes, speed-up taken apart, a curve and its prediction; what is left out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlb.errors import ResultsInvalid
from mlb.pages.page import scaling_page
from mlb.pages.scale_charts import charts_of_scaling
from mlb.results.matrix import Cell, Matrix, read_matrix, write_matrix
from mlb.results.run import RunFolder
from mlb.results.scale import scaling_of
from mlb.results.scale_fit import Law, fit_of, law_of
from mlb.results.scale_report import render_scaling
from mlb.results.table import text_of
from stories import paced_run


def run_of(runs: Path, name: str, ranks: int, step_ms: int, communication_ms: int = 0, **more: Any) -> Cell:
    """A run of a series; see `paced_run`."""
    paced_run(runs, name, ranks, step_ms, communication_ms, **more)
    return Cell({"nodes": ranks, "gpus": None}, 0, more.get("seed", 1), name, "succeeded")


def series_of(*cells: Cell) -> Matrix:
    return Matrix("s", "scale", {"mode": "weak"}, cells)


def test_sizes_side_by_side(tmp_path: Path) -> None:
    series = series_of(
        run_of(tmp_path, "one", 1, 100),
        run_of(tmp_path, "two", 2, 125, 25),
        Cell({"nodes": 4, "gpus": None}, 0, 1, "gone", "interrupted"),
        Cell({"nodes": 8, "gpus": None}, 0, 1),
    )
    write_matrix(tmp_path / "scales", series)
    assert read_matrix(tmp_path / "scales") == series
    assert not series.done
    scaling = scaling_of(series, tmp_path)
    one, two = scaling.points
    assert (one.ranks, one.step_s, one.samples_per_s.median, one.hardware_efficiency) == (1, 0.1, 100.0, 1.0)
    assert (two.ranks, two.step_s, two.samples_per_s.median) == (2, 0.125, 160.0)
    assert two.hardware_efficiency == pytest.approx(0.8)
    assert two.time_speed_up is None, "no run reached a target"
    text = text_of(render_scaling(scaling), 100)
    assert "2 of 4 runs have not come to their own end" in text
    assert "1.6 x the throughput (80 % hardware efficiency)" in text
    assert series.with_cell(3, state="succeeded").cells[3].succeeded


def target_series(tmp_path: Path) -> Matrix:
    """Twice the ranks need the same steps, so twice the samples: half the statistical efficiency."""
    return series_of(
        *(run_of(tmp_path, f"one{i}", 1, 100 + i, steps=20, seed=i, quality=(400, 200)) for i in range(3)),
        *(run_of(tmp_path, f"two{i}", 2, 110 + i, 10, steps=20, seed=i, quality=(400, 200)) for i in range(3)),
        *(run_of(tmp_path, f"four{i}", 4, 130 + i, 30, steps=20, seed=i, quality=(400, 200)) for i in range(3)),
    )


def test_the_speed_up_is_taken_apart_and_its_parts_multiply_to_it(tmp_path: Path) -> None:
    scaling = scaling_of(target_series(tmp_path), tmp_path)
    for point in scaling.points:
        assert point.statistical_efficiency == pytest.approx(1 / point.ranks)
        product = point.ranks * point.hardware_efficiency * (point.statistical_efficiency or 0) * (point.rest or 0)
        assert point.time_speed_up == pytest.approx(product)
        assert point.price_index == pytest.approx(point.nodes / (point.time_speed_up or 0) ** 2)
    one, two, four = scaling.points
    assert (one.samples_to_target.median, two.samples_to_target.median) == (150.0, 300.0), (
        "half-way between evaluations"
    )
    assert one.steps_to_target.median == 20
    assert four.hardware_efficiency == pytest.approx(101 / 131)
    between = four.hardware_interval
    assert between is not None
    assert (between.low, between.high) == (pytest.approx(100 / 132), pytest.approx(102 / 130)), "of all runs' ratios"
    assert between.coverage == pytest.approx(0.9), "three against three"
    assert one.hardware_interval is None
    assert one.time_speed_up_interval is None
    assert four.time_speed_up_interval is not None
    assert four.time_speed_up_interval.holds(four.time_speed_up or 0)
    assert "77.1 (75.8 to 78.5, 90 %)" in text_of(render_scaling(scaling), 200)
    assert scaling.fit is not None
    assert scaling.fit.predictions[0].ranks == 8


def test_a_size_where_a_run_missed_the_target_is_not_compared_by_it(tmp_path: Path) -> None:
    series = series_of(
        run_of(tmp_path, "one", 1, 100, steps=20, quality=(400, 200)),
        run_of(tmp_path, "two", 2, 110, 10, steps=20, quality=(400, 200)),
        run_of(tmp_path, "missed", 2, 110, 10, steps=20, seed=2, quality=(400, 350)),
    )
    scaling = scaling_of(series, tmp_path)
    assert scaling.points[1].time_speed_up is None
    assert "2 nodes: not every run reached the target" in text_of(render_scaling(scaling), 100)


def test_a_target_that_the_first_evaluation_meets_says_nothing_of_efficiency(tmp_path: Path) -> None:
    """400 samples at the first evaluation of every size: by these nobody needs more samples than another."""
    sizes = [(ranks, 80 // ranks) for ranks in (1, 2, 4)]
    series = series_of(*(run_of(tmp_path, f"n{p}", p, 100, steps=s, quality=(250, 200)) for p, s in sizes))
    scaling = scaling_of(series, tmp_path)
    assert [point.samples_to_target.median for point in scaling.points] == [400.0] * 3
    assert [point.at_most for point in scaling.points] == [True] * 3
    for point in scaling.points:
        derived = (point.statistical_efficiency, point.rest, point.time_speed_up, point.price_index)
        assert derived == (None,) * 4
        assert point.hardware_efficiency == pytest.approx(1.0), "of which the target says nothing"
    text = text_of(render_scaling(scaling), 200)
    assert text.count("<= 400 ") == 3
    assert "2 nodes: a run met the target at its first evaluation." in text
    assert "evaluate more often, or take a farther target" in text
    assert "as fast to the target" not in text
    assert "Best price index" not in text
    assert "efficiency" in {chart.id for chart in charts_of_scaling(scaling)}


@pytest.mark.parametrize("near", ["one", "two"])
def test_one_size_of_which_only_a_bound_is_known(tmp_path: Path, near: str) -> None:
    """Held against a bound, or a bound itself: either way there is no ratio; other sizes keep theirs."""
    quality = {name: (250, 200) if name == near else (400, 200) for name in ("one", "two", "four")}
    sizes = {"one": 1, "two": 2, "four": 4}
    series = series_of(*(run_of(tmp_path, n, p, 100, steps=20, quality=quality[n]) for n, p in sizes.items()))
    one, two, four = scaling_of(series, tmp_path).points
    assert (one.at_most, two.at_most, four.at_most) == (near == "one", near == "two", False)
    assert two.statistical_efficiency is None
    assert four.statistical_efficiency == (None if near == "one" else pytest.approx(0.25))
    assert (four.price_index is None) == (near == "one")


def test_runs_that_failed_or_lack_a_log_are_said(tmp_path: Path) -> None:
    one = run_of(tmp_path, "one", 1, 100, steps=20, quality=(400, 200))
    two, cut = (run_of(tmp_path, n, 2, 110, 10, steps=20, quality=(400, 200)) for n in ("two", "cut"))
    log = RunFolder(tmp_path / "cut").rank_events(1)
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:12]))
    failed = Cell({"nodes": 4, "gpus": None}, 0, 7, "four", "failed", "Rank 3 failed first: boom.")
    scaling = scaling_of(series_of(one, two, cut, failed), tmp_path)
    assert [(point.nodes, point.runs) for point in scaling.points] == [(1, 1), (2, 1)]
    text = text_of(render_scaling(scaling), 200)
    assert "2 nodes: cut is left out: no whole log of rank 1." in text
    assert "nodes=4: the run with seed 7 failed: Rank 3 failed first: boom." in text
    assert scaling.to_json()["left_out"] == {"cut": "no whole log of rank 1"}


def test_the_page_of_a_series(tmp_path: Path) -> None:
    scaling = scaling_of(target_series(tmp_path), tmp_path)
    charts = [chart.id for chart in charts_of_scaling(scaling)]
    assert charts[:2] == ["speed-up", "efficiency"]
    assert {"quality-time", "quality-samples", "strip-times", "split-of-step"} <= set(charts)
    html = scaling_page(scaling)
    for said in ("Prediction, not measured", "statistical efficiency %", "price index", ">ideal<", "x to the target"):
        assert said in html


@pytest.mark.parametrize("law", [Law(0.01, 0.0005, 0.00002), Law(0.01, 0.001, 0.0), Law(0.01, 0.0, 0.0)])
def test_a_law_is_found_again(law: Law) -> None:
    found = law_of([(p, [law.rate(p)]) for p in (1, 2, 4, 8)], coherent=True)
    assert (found.a, found.b, found.c) == pytest.approx((law.a, law.b, law.c), rel=1e-6, abs=1e-12)
    assert law.rate(1) == pytest.approx(1 / law.a)


def test_no_coefficient_is_below_zero() -> None:
    """More than twice the throughput of twice the ranks: caches. No law has that; the curve is the ideal then."""
    found = law_of([(1, [100.0]), (2, [220.0]), (4, [450.0])], coherent=True)
    assert (found.b, found.c) == (0.0, 0.0)


def test_a_prediction_holds_what_would_have_come() -> None:
    """Of 8 noisy series by one law, 6 or more intervals hold the law's own value (95 % asked for)."""
    law, held = Law(0.01, 0.0008, 0.00001), 0
    for seed in range(8):
        random = np.random.default_rng(seed)
        fit = fit_of([(p, (law.rate(p) * random.normal(1, 0.02, 4)).tolist()) for p in (1, 2, 4)])
        assert fit is not None
        interval = fit.predictions[0].interval
        held += interval is not None and interval.holds(law.rate(8))
    assert held >= 6


def test_too_little_for_a_curve_or_an_interval() -> None:
    assert fit_of([(2, [100.0, 101.0])]) is None
    two = fit_of([(1, [100.0]), (2, [180.0])])
    assert two is not None
    assert two.name == "Amdahl's law"
    assert (two.largest_error, two.predictions[0].interval) == (None, None)


def test_a_curve_that_missed_the_largest_size_says_so() -> None:
    """Two cores: four ranks are no faster than two, which the first two sizes cannot know."""
    fit = fit_of([(1, [100.0]), (2, [195.0]), (4, [200.0])])
    assert fit is not None
    assert fit.largest_error == pytest.approx(0.86, abs=0.02)


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", '{"schema_version": 9, "cells": []}', "[" * 100_000])
def test_what_is_no_series_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "matrix.json").write_text(text)
    with pytest.raises(ResultsInvalid, match="not a matrix of runs"):
        read_matrix(tmp_path)
