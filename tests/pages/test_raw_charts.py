"""Task 0a's charts: a line a backend, a chart an operation and type, both axes logarithmic; and its page."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from mlb.pages.page import pictures, raw_page
from mlb.pages.plot import Axis
from mlb.pages.raw_charts import charts_of_points
from mlb.results.raw import Point
from mlb.results.run import RunFolder, write_json
from support import example_spec

SIZES = [4 * 10**k for k in range(9)]


def point(backend: str, size: int, **changes: object) -> Point:
    time = (20.0 if backend == "gloo" else 5.0) + size / 1e3
    made = Point(backend, "cpu", "all_reduce", "float32", size, 5, time, time * 0.8, time * 1.5, time * 2,
                 size / time / 1e3, size / time / 1e3, True)  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


POINTS = [point(backend, size) for size in SIZES for backend in ("gloo", "mpi")]


def test_time_and_bandwidth_of_every_operation_and_type() -> None:
    more = [*POINTS, *(replace(p, operation="broadcast", dtype="bfloat16") for p in POINTS)]
    charts = {chart.id: chart for chart in charts_of_points(more)}
    assert list(charts) == [
        "time-all_reduce-float32", "bandwidth-all_reduce-float32",
        "time-broadcast-bfloat16", "bandwidth-broadcast-bfloat16",
    ]  # fmt: skip
    for chart in charts.values():
        assert chart.legend == (("s0", "gloo"), ("s1", "mpi"))
        assert [shape.title for shape in chart.shapes if shape.css.startswith("line")] == ["gloo", "mpi"]
    ticks = charts["time-all_reduce-float32"].x_ticks
    assert [tick.text for tick in ticks] == [
        "10 B", "100 B", "1 kB", "10 kB", "100 kB", "1 MB", "10 MB", "100 MB",
    ]  # fmt: skip
    assert [tick.text for tick in charts["time-all_reduce-float32"].y_ticks] == [
        "10 us", "100 us", "1 ms", "10 ms", "100 ms",
    ]  # fmt: skip


def test_a_line_goes_through_the_medians_and_its_band_from_p5_to_p95() -> None:
    time = charts_of_points(POINTS)[0]
    x = Axis(4 * 0.9, SIZES[-1] * 1.1, 96, 760 - 16, logarithmic=True)
    y = Axis(min(p.p5_us for p in POINTS) * 0.9, max(p.p95_us for p in POINTS) * 1.1, 300 - 44, 14, logarithmic=True)
    gloo = [p for p in POINTS if p.backend == "gloo"]
    (line,) = (shape for shape in time.shapes if shape.css == "line s0")
    drawn = [tuple(map(float, place)) for place in re.findall(r"[ML]([\d.]+) ([\d.]+)", line.d)]
    assert drawn == [pytest.approx((x.at(p.size_bytes), y.at(p.median_us)), abs=0.01) for p in gloo]
    (area,) = (shape for shape in time.shapes if shape.css == "spread s0")
    ends = [tuple(map(float, place)) for place in re.findall(r"[ML]([\d.]+) ([\d.]+)", area.d)]
    assert ends[: len(gloo)] == [pytest.approx((x.at(p.size_bytes), y.at(p.p95_us)), abs=0.01) for p in gloo]
    assert ends[len(gloo) :] == [pytest.approx((x.at(p.size_bytes), y.at(p.p5_us)), abs=0.01) for p in gloo[::-1]]
    assert not [shape for shape in charts_of_points(POINTS)[1].shapes if shape.css.startswith("spread")]


def test_one_rank_has_no_bus_bandwidth_and_wrong_results_are_marked() -> None:
    alone = [replace(p, busbw=None, correct=p.size_bytes != 40) for p in POINTS if p.backend == "gloo"]
    (chart,) = charts_of_points(alone)
    assert chart.id == "time-all_reduce-float32"
    (wrong,) = (dot for dot in chart.dots if dot.css == "failed")
    assert wrong.title.startswith("gloo: 40 bytes,")
    many = [point("gloo", 4 * n, correct=n != 7) for n in range(1, 80)]
    assert [dot.css for dot in charts_of_points(many)[0].dots] == ["failed"]


def test_pictures_and_a_page_are_whole(tmp_path: Path) -> None:
    drawn = dict(pictures(charts_of_points([*POINTS, point("ucc", 4)])))
    for text in drawn.values():
        assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314
        assert "nan" not in text
        assert '<path class="line s1" d="M266.0 314.0h14"/>' in text, "a line in its own style, not a black square"
    folder = RunFolder(tmp_path / "run")
    folder.create()
    argv = ("mlb", "bench", "task0a", "--quick")
    write_json(folder.spec, example_spec(task="task0a", goal="quick", dataset="", argv=argv, backends=("gloo", "mpi")))
    html = raw_page(folder, POINTS)
    for said in (
        "18 points, every result checked and right",
        "collectives over gloo, mpi",
        "busbw GB/s",
        'class="result"',
        'id="bandwidth-all_reduce-float32"',
        "mlb bench task0a --quick --goal quick --ranks 2<",
    ):
        assert said in html, said
    assert "not evaluated" not in html
    assert 'class="result bad"' in raw_page(folder, [replace(POINTS[0], correct=False)])
