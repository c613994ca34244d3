"""The report, word by word for one small run, and by its promises for the others."""

import os
from pathlib import Path
from typing import Any

import pytest
from mlb.pages.charts import throughput
from mlb.results.metrics import compute
from mlb.results.report import EVALUATIONS_SHOWN, last_words, render, to_markdown, to_text
from mlb.results.table import Report, Table, markdown_of, text_of

S = 1_000_000_000
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "results"


@pytest.mark.parametrize("name", ["report.txt", "report.md"])
def test_golden(small_run: Any, tmp_path: Path, name: str) -> None:
    metrics = compute(small_run(tmp_path).folder)
    text = to_text(metrics) if name.endswith("txt") else to_markdown(metrics)
    golden = GOLDEN / name
    if os.environ.get("MLB_ACCEPT_GOLDEN"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text)
    expected = golden.read_text() if golden.exists() else ""
    assert text == expected, f"{golden} differs; if the new one is right: MLB_ACCEPT_GOLDEN=1 pytest {__file__}"


def test_images_have_no_tokens(story: Any, run_at: Any, tmp_path: Path) -> None:
    """A task without text logs as many tokens as samples."""
    tale = story().start().event("run_start").step(0, 0, S, 0, 0, 0, 0, samples=75_000, tokens=75_000).stop()
    metrics = compute(run_at(tmp_path, ranks=1).tell(tale).folder, buckets=10)
    text = to_text(metrics)
    assert "1 step, 75,000 samples" in text
    assert "75,000.0 samples/s" in text
    assert "token" not in text
    assert metrics.series is not None
    chart = throughput(metrics, metrics.series)
    assert chart is not None
    assert chart.y_label == "samples/s"


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_no_line_is_wider_than_asked_for(small_run: Any, tmp_path: Path, width: int) -> None:
    text = to_text(compute(small_run(tmp_path).folder), width)
    # Facts need room beside their labels: below that they are as narrow as they can be.
    assert max(map(len, text.splitlines())) <= max(width, 40)


def test_one_rank_has_no_column_of_its_own(story: Any, run_at: Any, tmp_path: Path) -> None:
    run = run_at(tmp_path, ranks=1).tell(story().start().stage("model", S).stop())
    table = render(compute(run.folder)).tables[0]
    assert table.headers == ("part", "s", "%")
    assert table.rows[-1] == ("wall", "1.000", "100.0")


def test_many_ranks_are_shown_by_their_least_and_their_most(story: Any, run_at: Any, tmp_path: Path) -> None:
    stories = (story(rank).start().stage("model", (rank + 1) * S).stop() for rank in range(5))
    table = render(compute(run_at(tmp_path, ranks=5).tell(*stories).folder)).tables[0]
    assert table.headers == ("part", "mean s", "%", "least s", "most s")
    assert table.rows[1] == ("start-up", "3.000", "60.0", "1.000", "5.000")
    assert table.rows[-3] == ("ending (2)", "2.000", "40.0", "0.000", "4.000")
    assert table.rows[-1] == ("wall", "5.000", "100.0", "5.000", "5.000")


def test_communication_is_split_where_the_ranks_can_be_compared(small_run: Any, tmp_path: Path) -> None:
    run = small_run(tmp_path)
    assert "(1)" not in to_text(compute(run.folder))
    run.folder.rank_events(1).write_bytes(run.folder.rank_events(1).read_bytes().replace(b'"all_reduce"', b'"gossip"'))
    for text in (to_text(compute(run.folder)), to_markdown(compute(run.folder))):
        assert "communication (1)" in text
        assert "(1) The waiting for slower ranks included" in text


def test_only_the_last_evaluations_are_shown(story: Any, run_at: Any, tmp_path: Path) -> None:
    tale = story().start().event("run_start")
    for epoch in range(1, 21):
        tale.evaluate(400.0 - epoch, S, epoch=epoch)
    metrics = compute(run_at(tmp_path, ranks=1).tell(tale.stop()).folder)
    table = render(metrics).tables[-1]
    assert table.title == "Evaluations (the last 8; 12 before them)"
    assert [row[1] for row in table.rows] == [str(epoch) for epoch in range(13, 21)]
    assert len(table.rows) == EVALUATIONS_SHOWN
    assert len(metrics.to_json()["quality"]["evaluations"]) == 20


def test_a_smoke_run_says_smoke_in_any_division(run_at: Any, tmp_path: Path) -> None:
    report = render(compute(run_at(tmp_path, division="open").folder))
    assert report.title[1] == "smoke: not comparable (recipe smoke, division open)"
    assert report.warnings[0] == "smoke: not comparable with other systems' results."


def test_a_comparable_run_says_so_without_a_warning(story: Any, run_at: Any, tmp_path: Path) -> None:
    spec = {"comparable": True, "division": "closed", "recipe": "reference", "goal": "light", "ranks": 1}
    tale = story().start().event("run_start").evaluate(90.0, S).event("run_stop", status="success", reason="goal")
    report = render(compute(run_at(tmp_path, **spec).tell(tale.stop()).folder))
    assert report.title[1] == "closed: comparable (recipe reference, division closed)"
    assert report.title[2] == "Goal reached: validation perplexity 90 <= 300 at epoch 1"
    assert report.warnings == ()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(288.1234, "288.1"), (300.0, "300"), (299.96, "300"), (300.04, "300.04"), (300.0000001, "300.0000001"),
     (12345.6, "12346"), (9999.96, "10000"), (1e20, "1e+20"), (float("inf"), "inf"), (0.00123456, "0.001235")],
)  # fmt: skip
def test_a_value_shows_its_side_of_the_target(
    story: Any, run_at: Any, tmp_path: Path, value: float, shown: str
) -> None:
    run = run_at(tmp_path, ranks=1).tell(story().start().event("run_start").evaluate(value, S).stop())
    (row,) = render(compute(run.folder)).tables[-1].rows
    assert row[2] == shown


def test_plain_forms_of_a_table() -> None:
    table = Table("T | t", ("name", "n"), (("a*b", "1"), ("c", "22"), ("sum", "23")), sums_up=True, notes=("A note.",))
    report = Report(("Title", "Result <= 1"), ("Cause", "```"), (("Fact", "x"),), (table,), ("Careful.",))
    assert text_of(report, 80).splitlines() == [
        *("Title", "", "Result <= 1", "", "Cause", "  | ```", "", "! Careful.", "", "Fact  x", ""),
        *("T | t", "name   n", "--------", "a*b    1", "c     22", "--------", "sum   23", "A note."),
    ]
    markdown = markdown_of(report)
    assert "**Result \\<= 1**" in markdown
    assert (
        "## T \\| t\n\n| name | n |\n| --- | --: |\n| a\\*b | 1 |\n| c | 22 |\n| sum | 23 |\n\n- A note.\n" in markdown
    )
    assert "\n\nCause\n\n    ```\n\n" in markdown


def test_the_empty_report_of_an_empty_run(run_at: Any, tmp_path: Path) -> None:
    report = render(compute(run_at(tmp_path).folder))
    assert report.tables == ()
    assert ("Time to target", "target not reached") in report.rows
    assert ("Event logs", "0 of 2 complete, 0 lines") in report.rows


def test_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_words(log) == ""
    log.write_bytes(b"x" * 100_000 + b"\nfirst\n\x1b[31msecond\xff\n\nthird\n")
    assert last_words(log, lines=2) == "second\ufffd\nthird"
    log.write_bytes(b"short")
    assert last_words(log) == "short"
