"""The dashboard in a real browser, over real runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dashboards import Dashboard
from mlb.results.run import RunFolder
from stories import LAUNCHED, Run, S, Story, small_run

pytestmark = pytest.mark.system
RUN_MS = 240_000


@pytest.fixture
def page(browser: Any, dashboard: Dashboard) -> Iterator[Any]:
    """The dashboard's page; an error of its script or a request to elsewhere fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 1000})
    page, complaints = context.new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if "Content Security" in message.text else None)
    page.on("request", lambda r: complaints.append(r.url) if not r.url.startswith((dashboard.root, "data:")) else None)
    page.goto(dashboard.address)
    page.get_by_text("live", exact=True).wait_for()
    yield page
    context.close()
    assert not complaints


def test_the_token_leaves_the_address(page: Any, dashboard: Dashboard) -> None:
    assert page.url == dashboard.root + "/"
    assert page.evaluate("document.cookie") == "", "the cookie is not for scripts"


def test_a_run_that_grows_is_followed(page: Any, dashboard: Dashboard, mlb_home: Path) -> None:
    story = Story(0).start().event("run_start").step(*[S // 7] * 7)
    run = Run(mlb_home / "runs", ranks=1).tell(story).node(state="running")
    page.get_by_role("button", name="a-run", exact=True).click()
    page.get_by_text("epoch 1, step 1,").wait_for()
    run.tell(story.step(*[S // 7] * 7).evaluate(280.0, S))
    page.get_by_text("evaluating the validation split").wait_for()
    page.locator("#quality canvas").wait_for()
    run.tell(story.event("run_stop", status="success", reason="goal").stop())
    page.get_by_text("ended: goal").wait_for()


def test_the_nodes_of_a_run_are_shown_together_and_one_by_one(page: Any, mlb_home: Path) -> None:
    run = Run(mlb_home / "runs", ranks=64, nodes=64)
    run.tell(Story(0).start().event("run_start").step(*[S // 7] * 7)).node(state="running")
    for node in range(64):
        lines = [sample(second, busy_ns=second * (node + 1) * S // 16) for second in range(1, 30)]
        run.folder.node_resources(node).write_text(HEADER + "".join(lines))
    page.get_by_role("button", name="a-run", exact=True).click()
    page.get_by_role("heading", name="64 nodes: mean, least and most").wait_for()
    page.get_by_role("img", name="CPU % 50.781, CPU % least 1.562, CPU % most 100").wait_for()
    assert page.locator("#resources tbody tr").count() == 64
    page.get_by_role("button", name="7", exact=True).click()
    page.get_by_role("img", name="CPU % 12.5", exact=True).wait_for()
    # It goes on although the run logs nothing.
    with run.folder.node_resources(7).open("a") as file:
        file.write(sample(30, busy_ns=(29 * 8 + 16 * 4) * S // 16))
    page.get_by_role("img", name="CPU % 100", exact=True).wait_for()
    page.get_by_role("button", name="All nodes together").click()
    page.get_by_role("heading", name="64 nodes: mean, least and most").wait_for()


HEADER = '{"key":"resources_start","time_ns":1,"cores":4,"methods":{}}\n'


def sample(second: int, busy_ns: int) -> str:
    now = {"time_ns": second * S, "unix_time_ns": LAUNCHED + second * S, "cpu_busy_ns": busy_ns}
    return json.dumps({"key": "resources", **now, "memory_used_bytes": 1 << 30, "network": {}, "gpus": []}) + "\n"


def test_output_that_is_looked_at_goes_on(page: Any, mlb_home: Path) -> None:
    run = Run(mlb_home / "runs", ranks=1).tell(Story(0).start()).node(state="running")
    run.folder.rank_log(0).write_text("the first line\n")
    page.get_by_role("button", name="a-run", exact=True).click()
    page.get_by_role("button", name="Output").click()
    page.get_by_text("the first line").wait_for()
    with run.folder.rank_log(0).open("a") as file:
        file.write("the second line\n")
    page.get_by_text("the second line").wait_for()


def test_it_fits_a_phone(page: Any, mlb_home: Path) -> None:
    run = small_run(mlb_home / "runs")
    run.folder.node_resources(0).write_text(HEADER + "".join(sample(s, busy_ns=s * S) for s in range(1, 30)))
    page.set_viewport_size({"width": 375, "height": 812})
    page.get_by_role("button", name="a-run", exact=True).click()
    page.locator("#network canvas").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert all(box["width"] <= 375 for canvas in page.locator("canvas").all() if (box := canvas.bounding_box()))


def test_words_from_nodes_are_text(page: Any, mlb_home: Path) -> None:
    evil = "<img src=x onerror=document.title='broken'>"
    story = Story(0).start().event("run_start").step(*[S // 7] * 7).event("eval_start", split=evil)
    run = (
        Run(mlb_home / "runs", ranks=1, fleet=evil, task=evil, metric=evil)
        .tell(story)
        .node(state="failed", message=evil)
    )
    run.folder.rank_log(0).write_text(evil + "\n\x1b[31mred")
    page.get_by_role("button", name="a-run", exact=True).click()
    page.get_by_text("evaluating the <img").wait_for()
    page.get_by_role("button", name="Output").click()
    page.get_by_text("==> rank-00000.log <==").wait_for()
    assert page.locator("img").count() == 0
    assert page.title() == "mlb dashboard"


def test_two_runs_are_compared_and_one_downloaded(page: Any, mlb_home: Path) -> None:
    small_run(mlb_home / "runs", run_id="one")
    small_run(mlb_home / "runs", run_id="two", seed=44)
    page.get_by_label("Mark one").check()
    page.get_by_label("Mark two").check()
    page.get_by_role("button", name="Compare marked").click()
    page.get_by_role("heading", name="task3a, goal smoke: 2 runs of 1 configuration").wait_for()
    page.go_back()
    page.get_by_role("button", name="two", exact=True).click()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Archive").click()
    assert saved.value.suggested_filename == "two.mlb.zip"


def test_a_page_says_when_the_dashboard_is_gone(page: Any, dashboard: Dashboard) -> None:
    dashboard.stop()
    page.get_by_text("no word from mlb dashboard").wait_for()


def test_a_real_run_is_started_followed_and_another_stopped(page: Any, dashboard: Dashboard, mlb_home: Path) -> None:
    """One run ends by itself after its steps; the next would go on for minutes and is stopped."""
    page.get_by_label("Task").select_option("task3a")
    page.get_by_label("Data").select_option("synthetic")
    page.get_by_role("textbox", name="Ranks").fill("1")
    page.get_by_role("textbox", name="Steps").fill("40")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("ended: steps").wait_for(timeout=RUN_MS)
    page.locator("#loss canvas").wait_for()
    page.locator("#run-table td", has_text="succeeded").wait_for(timeout=RUN_MS)
    page.get_by_role("textbox", name="Steps").fill("")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("epoch 1, step").first.wait_for(timeout=RUN_MS)
    page.get_by_role("button", name="Stop").click()
    page.locator("#run-table td", has_text="stopped").first.wait_for(timeout=RUN_MS)
    runs = sorted((mlb_home / "runs").iterdir())
    assert len(runs) == 2
    assert RunFolder(runs[1]).stop_request.exists()


def test_a_refusal_is_shown(page: Any) -> None:
    page.get_by_label("Task").select_option("task3a")
    page.get_by_label("Data").select_option("synthetic")
    page.get_by_role("textbox", name="Ranks").fill("4000")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("alert").get_by_text("4000 ranks do not fit").wait_for(timeout=RUN_MS)


@pytest.mark.slow
def test_a_smoke_run_is_followed_to_its_goal(page: Any, dashboard: Dashboard) -> None:
    page.get_by_label("Task").select_option("task3a")
    page.get_by_label("Data").select_option("synthetic")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("ended: goal").wait_for(timeout=280_000)
    page.locator("#run-table td", has_text="goal reached in").wait_for(timeout=RUN_MS)
