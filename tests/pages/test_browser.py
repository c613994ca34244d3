"""The report in a real browser: no request, no error, any width, dark, on paper, by keyboard."""

from pathlib import Path
from typing import Any

import pytest
from mlb.pages.page import run_page
from mlb.results.extent import BUCKETS
from mlb.results.metrics import compute
from stories import small_run

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page")
    folder = small_run(path).folder
    metrics = compute(folder, BUCKETS)
    file = path / "report.html"
    file.write_text(run_page(folder, metrics))
    return file


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_asks_for_nothing(browser: Any, report: Path, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(report.as_uri())
    assert requests == [report.as_uri()]
    assert not complaints
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light == (scheme == "light")
    page.close()


WORDS = """() => [...document.querySelectorAll("figure svg[role=img] text")].map((words) => {
  const picture = words.ownerSVGElement, box = picture.getBoundingClientRect(), own = words.getBoundingClientRect();
  const px = parseFloat(getComputedStyle(words).fontSize) * box.width / picture.viewBox.baseVal.width;
  return { text: words.textContent, px, inside: own.left >= box.left - 1 && own.right <= box.right + 1 };
}).filter((words) => words.px > 0)"""


@pytest.mark.parametrize("width", [320, 375, 640, 641, 1280])
def test_the_words_of_the_charts_can_be_read_at_any_width(browser: Any, report: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 812})
    page.goto(report.as_uri())
    words = page.evaluate(WORDS)
    assert len(words) > 30
    assert all(one["px"] >= 10 for one in words), min(words, key=lambda one: one["px"])
    assert all(one["inside"] for one in words), [one for one in words if not one["inside"]]
    # No chart has to be pushed sideways.
    assert page.evaluate("Math.max(...[...document.querySelectorAll('figure')].map((f) => f.scrollWidth))") <= width
    assert page.locator("figure svg[role=img]:visible").count() == page.locator("figure").count()
    page.close()


def test_it_is_read_by_keyboard(browser: Any, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details[open]").count() == 1
    page.close()


def test_the_tree_that_a_screen_reader_gets(browser: Any, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    assert page.get_by_role("img", name="Validation perplexity against the clock").count() == 1
    assert page.get_by_role("img", name="Who was waited for, over the steps").count() == 1
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("table", name="Evaluations").count() == 1
    assert page.get_by_role("navigation", name="Sections").count() == 1
    page.close()


def test_it_prints(browser: Any, report: Path, tmp_path: Path) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(report.as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    pdf = page.pdf(path=str(tmp_path / "report.pdf"), format="A4")
    assert 2 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") <= 8
    page.close()
