"""A scaling series: means over its sizes, and what is left out; a matrix of runs read back."""

from pathlib import Path
from typing import Any

import pytest
from mlb.errors import ResultsInvalid
from mlb.results.matrix import Cell, Matrix, read_matrix, write_matrix
from mlb.results.scale import points_of, to_text

MS = 1_000_000


def run_of(story: Any, run_at: Any, runs: Path, name: str, ranks: int, step_ms: int, communication_ms: int) -> Cell:
    run = run_at(runs / name, ranks=ranks)
    for rank in range(ranks):
        told = story(rank).start()
        for _ in range(4):
            rest = (step_ms - communication_ms) * MS
            told.step(0, 0, rest, 0, communication_ms * MS, 0, 0, samples=10)
        told.event("run_stop", status="aborted", reason="steps").stop()
        run.tell(told)
    run.node(state="succeeded")
    return Cell({"nodes": ranks, "gpus": None}, 0, 1, f"{name}/a-run", "succeeded")


def test_sizes_side_by_side(story: Any, run_at: Any, tmp_path: Path) -> None:
    cells = [
        run_of(story, run_at, tmp_path, "one", 1, 100, 0),
        run_of(story, run_at, tmp_path, "two", 2, 125, 25),
        Cell({"nodes": 4, "gpus": None}, 0, 1, "gone", "interrupted"),
        Cell({"nodes": 8, "gpus": None}, 0, 1),
    ]
    series = Matrix("s", "scale", {"mode": "weak"}, tuple(cells))
    write_matrix(tmp_path / "scales", series)
    assert read_matrix(tmp_path / "scales") == series
    assert not series.done
    one, two = points_of(series, tmp_path)
    assert (one.ranks, one.step_s, one.samples_per_s, one.efficiency) == (1, 0.1, 100.0, 1.0)
    assert (two.ranks, two.step_s, two.samples_per_s) == (2, 0.125, 160.0)
    assert two.efficiency == pytest.approx(0.8)
    text = to_text(series, (one, two))
    assert "2 of 4 runs have not come to their own end" in text
    assert series.with_cell(3, state="succeeded").cells[3].succeeded


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", '{"schema_version": 9, "cells": []}', "[" * 100_000])
def test_what_is_no_series_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "matrix.json").write_text(text)
    with pytest.raises(ResultsInvalid, match="not a matrix of runs"):
        read_matrix(tmp_path)
