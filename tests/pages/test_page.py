"""The report page: whole, safe, small, and made of what the run logged."""

import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from mlb.pages.charts import RANKS_DRAWN, charts_of
from mlb.pages.narrow import NARROW, narrow
from mlb.pages.page import comparison_page, picture, pictures, run_page
from mlb.pages.plot import Chart
from mlb.pages.png import ZOOM, png_of
from mlb.results.compare import compare, entry_of
from mlb.results.compare_report import render_comparison
from mlb.results.comparison import Entry
from mlb.results.extent import BUCKETS
from mlb.results.keys import PHASES
from mlb.results.metrics import compute
from mlb.results.run import RunFolder
from mlb.results.split import PARTS
from PIL import Image
from stories import LAUNCHED, MS, Run, S, Story, small_run

CHARTS = {"quality", "split-over-time", "split-by-rank", "critical-ranks", "throughput", "loss"}
VOID = {"meta", "link", "br", "hr", "img", "input", "col"}


class Page(HTMLParser):
    """The elements of a page, in their order; fails where tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page_of(folder: RunFolder) -> str:
    metrics = compute(folder, BUCKETS)
    return run_page(folder, metrics)


def test_a_page_says_what_the_run_was(tmp_path: Path) -> None:
    html = page_of(small_run(tmp_path).folder)
    page = Page(html)
    text = " ".join("".join(page.text).split())
    for said in (
        "Goal reached: validation perplexity 288.1 <= 300 at epoch 2",
        "nothing was rented",
        "2023-11-14 22:13:20 UTC",
        "fleet local: 2 ranks on 2 hosts",
        "open, not comparable" if "division open" in html else "smoke, not comparable",
        "mlb bench task3a --goal smoke --seed 43 --data synthetic --backend gloo --ranks 2",
        "target 300",
    ):
        assert said in text, said
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for chart in CHARTS:
        assert chart in ids


def test_a_page_needs_nothing_from_anywhere(tmp_path: Path) -> None:
    html = page_of(small_run(tmp_path).folder)
    page = Page(html)
    assert not [tag for tag, _ in page.tags if tag in ("script", "img", "iframe", "object")]
    links = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("href", "src")]
    assert all(str(link).startswith(("#", "data:,")) for link in links), links
    assert "@import" not in html
    assert "url(" not in html


def test_pictures_have_words_for_those_who_do_not_see_them(tmp_path: Path) -> None:
    page = Page(page_of(small_run(tmp_path).folder))
    ids = {attributes.get("id") for _, attributes in page.tags}
    drawn = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("role") == "img"]
    assert len(drawn) == 2 * len(CHARTS), "each once for wide screens and paper, once for phones"
    for one in drawn:
        assert set(str(one["aria-labelledby"]).split()) <= ids
    headers = [attributes for tag, attributes in page.tags if tag == "th"]
    assert all("scope" in attributes for attributes in headers)
    assert len([tag for tag, _ in page.tags if tag == "h1"]) == 1
    assert dict(page.tags[0][1])["lang"] == "en"


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"


def test_words_from_nodes_stay_words(tmp_path: Path) -> None:
    run = Run(tmp_path, ranks=1, fleet=HOSTILE, data_origin=HOSTILE, metric=HOSTILE, beside=(HOSTILE,))
    story = Story(0, host=HOSTILE).wait(S).start().stage(HOSTILE, S).event("run_start").step(*[MS] * 7)
    story.evaluate(400.0, MS).event("failure", kind=HOSTILE, message=HOSTILE).stop()
    run.tell(story).node(state="failed", message=HOSTILE)
    run.folder.node_environment(0).write_text(json.dumps({HOSTILE: HOSTILE, "cpu": {HOSTILE: [HOSTILE]}}))
    html = page_of(run.folder)
    page = Page(html)
    assert not [tag for tag, _ in page.tags if tag in ("script", "img")]
    assert "49" not in re.sub(r"\d\d\d+", "", html.split("Environment")[1].split("Repeat it")[0])
    assert "<script>alert(1)</script>" in "".join(page.text)


@pytest.mark.parametrize("environment", ["{", "[1]", "\udcff", json.dumps({"a": {"b": [[[]]]}}), "{}", "9" * 5000])
def test_an_environment_that_is_none_is_left_out(tmp_path: Path, environment: str) -> None:
    run = small_run(tmp_path)
    run.folder.node_environment(0).write_bytes(environment.encode(errors="surrogateescape"))
    Page(page_of(run.folder))


def test_runs_that_lack_things_have_a_page_too(tmp_path: Path) -> None:
    nothing = Run(tmp_path / "nothing")
    assert "Incomplete" in page_of(nothing.folder)
    begun = Run(tmp_path / "begun", ranks=1).tell(Story(0).start())
    Page(page_of(begun.folder))
    one = Run(tmp_path / "one", ranks=1).tell(Story(0).start().event("run_start").evaluate(500.0, MS).stop())
    assert 'id="quality"' in page_of(one.folder)
    no_goal = Run(tmp_path / "no-goal", ranks=1).tell(Story(0).start().step(*[MS] * 7).stop())
    html = page_of(no_goal.folder)
    assert 'id="quality"' not in html
    assert 'id="split-over-time"' in html
    not_a_number = Story(0).start().event("run_start").wait(MS)
    not_a_number.event("eval_accuracy", value="nan", metric="m", epoch_num=1, split="validation").step(*[MS] * 7).stop()
    Page(page_of(Run(tmp_path / "nan", ranks=1).tell(not_a_number).folder))


def test_many_ranks_and_steps_stay_small(tmp_path: Path) -> None:
    run = Run(tmp_path, ranks=100)
    for rank in range(100):
        story = Story(rank, host=f"h{rank}").start().event("run_start")
        for _ in range(30):
            story.step(*[MS + rank] * 7)
        run.write(rank, story.evaluate(290.0, MS).stop().bytes)
    html = page_of(run.folder)
    assert len(html.encode()) < 3_000_000
    assert f"{RANKS_DRAWN} of 100 ranks are drawn" in html


def test_the_bars_of_a_rank_are_as_long_as_its_time(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    metrics = compute(run.folder, BUCKETS)
    bars = next(c for c in charts_of(metrics) if c.id == "split-by-rank")
    assert metrics.split.wall_s
    for part in (phase for phase in PHASES if phase != "communication"):
        of_rank_0 = [s for s in bars.shapes if s.css == f"area part-{part}" and s.title.startswith("rank 0:")]
        width = sum(float(re.search(r"h([\d.]+)v", s.d)[1]) for s in of_rank_0)  # type: ignore[index]
        expected = metrics.split.ranks[0].seconds(part) / metrics.split.wall_s * (760 - 64 - 16)
        assert width == pytest.approx(expected, abs=0.02), part
    # Communication is told apart: rank 0 arrives 40 ms early at each of ten steps.
    drawn = {s.css for s in bars.shapes if s.title.startswith("rank 0:")}
    assert {"area part-transfer", "area part-wait"} <= drawn
    assert any("waiting for a rank 0.40 s" in s.title for s in bars.shapes if s.title.startswith("rank 0:"))


def test_every_chart_is_a_file_of_its_own(tmp_path: Path) -> None:
    import xml.etree.ElementTree as ET

    run = small_run(tmp_path)
    metrics = compute(run.folder, BUCKETS)
    drawn = dict(pictures(charts_of(metrics)))
    assert set(drawn) == CHARTS
    for text in drawn.values():
        assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314
        assert "var(" not in text, "programs for papers know no variables"
        assert "@media" not in text


def test_a_picture_is_a_png_in_its_colours(tmp_path: Path) -> None:
    folder = small_run(tmp_path).folder
    (bars,) = [c for c in charts_of(compute(folder)) if c.id == "split-by-rank"]
    image = Image.open(io.BytesIO(png_of(picture(bars)))).convert("RGB")
    assert image.width == ZOOM * bars.width
    forward = re.search(r"\.part-forward \{ fill: #(\w+)", picture(bars))
    assert forward is not None
    colours = {colour for _, colour in image.getcolors(1 << 20)}
    assert tuple(bytes.fromhex(forward[1])) in colours, "the style sheet reached the renderer"


def test_every_part_of_the_time_has_a_colour() -> None:
    css = (files("mlb.templates") / "report/chart.css").read_text()
    for part in PARTS:
        assert f".part-{part} {{ fill: var(--{part}); }}" in css
        assert f"--{part}: #" in css


def entries(path: Path, *runs: dict) -> list[Entry]:
    made = []
    for i, spec in enumerate(runs):
        folder = small_run(path, **{"run_id": f"run-{i}", "seed": i, **spec}).folder
        made.append(entry_of(folder))
    return made


def test_a_comparison_shows_the_differences_first(tmp_path: Path) -> None:
    html = comparison_page(compare(entries(tmp_path, {}, {"backend": "nccl"}, {"backend": HOSTILE})))
    page = Page(html)
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert (
        html.index("Differences of configuration</h2>") < html.index("Every run</h2>") < html.index("Side by side</h2>")
    )
    for axis in ("time", "steps", "samples"):
        assert f'id="quality-{axis}"' in html


def test_many_configurations_are_rows(tmp_path: Path) -> None:
    """Of twenty patterns a column each, and two lines of verdict each, nobody could read."""
    made = entries(tmp_path, *({"backend": f"backend-{i}"} for i in range(7)))
    tables = {table.title: table for table in render_comparison(compare(made)).tables}
    differences = tables["Differences of configuration"]
    assert differences.headers == ("what", "backend")
    assert differences.rows[0] == ("A", "backend-0")
    assert len(differences.rows) == 7
    against = tables["One against another"]
    assert against.rows[0] == ("B : A", "1 x", "1 x")
    assert not any("B : A" in name for name, _ in render_comparison(compare(made)).rows)
    few = render_comparison(compare(made[:3]))
    assert any("B : A" in name for name, _ in few.rows)
    assert "One against another" not in {table.title for table in few.tables}


def test_the_launch_is_when_the_header_says(tmp_path: Path) -> None:
    assert compute(small_run(tmp_path).folder).launched_unix_ns == LAUNCHED


def told_by(path: Path, ranks: int, steps: int, late: Callable[[int, int], int]) -> RunFolder:
    """A run of steps in which all ranks end together; `late` says how many ms a rank works longer in a step."""
    run = Run(path, ranks=ranks, nodes=ranks)
    extra = [[late(rank, step) * MS for rank in range(ranks)] for step in range(steps)]
    for rank in range(ranks):
        story = Story(rank, host=f"h{rank}", clock_ns=(7 + rank) * S).start(world_size=ranks).sync().event("run_start")
        for own in extra:
            wait = max(own) - own[rank]
            story.step(0, 0, 10 * MS + own[rank], 0, 5 * MS + wait, 0, 0)
        run.tell(story.sync().stop())
    return run.folder


def critical_of(folder: RunFolder) -> Chart | None:
    return next((c for c in charts_of(compute(folder)) if c.id == "critical-ranks"), None)


def test_who_was_waited_for_is_drawn_over_the_steps(tmp_path: Path) -> None:
    chart = critical_of(told_by(tmp_path, 3, 401, lambda rank, step: 20 * (rank == (0 if step <= 200 else 2))))
    assert chart is not None
    assert [tick.text for tick in chart.y_ticks] == ["rank 0, 50 %", "rank 1, 0 %", "rank 2, 50 %", "nobody, 0 %"]
    assert chart.about.startswith("The others waited for rank 0 in 50 %, rank 2 in 50 % of steps.")
    assert chart.table is not None
    first, *_, last = chart.table.rows
    assert first[:4] == ("rank 0", "50", "20.000", "forward")
    assert first[4:] == ("100", "100", "100", "57", "0", "0", "0", "0"), "56 steps each: 32 of the fourth"
    assert last == ("nobody", "0", "-", "-", *["0"] * 8)
    assert len([shape for shape in chart.shapes if shape.css == "area part-wait"]) == 2


def test_many_ranks_are_drawn_by_how_often_they_were_waited_for(tmp_path: Path) -> None:
    chart = critical_of(
        told_by(tmp_path, RANKS_DRAWN + 6, 160, lambda r, step: 20 * (r == (0 if step == 99 else 69 - step % 64)))
    )
    assert chart is not None
    assert len(chart.y_ticks) == RANKS_DRAWN + 2
    assert f"{RANKS_DRAWN} of {RANKS_DRAWN + 6} ranks are drawn" in chart.about
    assert "rank 69, 1 %" in [tick.text for tick in chart.y_ticks]
    assert chart.y_ticks[-2].text == "others, 1 %"
    assert len(picture(chart)) < 80_000


def test_one_rank_waits_for_nobody(tmp_path: Path) -> None:
    assert critical_of(told_by(tmp_path, 1, 10, lambda *_: 0)) is None
    together = critical_of(told_by(tmp_path / "two", 2, 10, lambda *_: 0))
    assert together is not None
    assert "All ranks arrived together" in together.about


def test_a_narrow_chart_says_the_same(tmp_path: Path) -> None:
    folder = small_run(tmp_path).folder
    metrics = compute(folder, BUCKETS)
    for chart in charts_of(metrics):
        small = narrow(chart)
        assert small.width == NARROW
        assert small.shapes == chart.shapes
        assert small.x_ticks
        assert {tick.text for tick in small.x_ticks} <= {tick.text for tick in chart.x_ticks}
        assert small.squeeze is not None
        assert small.squeeze.x(chart.left) == pytest.approx(small.left, abs=0.1)
        assert small.squeeze.x(chart.width - chart.right) == pytest.approx(NARROW - small.right, abs=0.1)
