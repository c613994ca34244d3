"""A run on a fleet that nobody attends but the dashboard's page, over real SSH."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dashboards import Dashboard
from ssh_fleet import need_namespaces, running_fleet
from support import Mlb

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
RUN_MS = 300_000
FINISH_S = 60


@pytest.fixture
def mlb(tmp_path: Path) -> Iterator[Mlb]:
    need_namespaces()
    with running_fleet(tmp_path, 2):
        yield Mlb(tmp_path, tmp_path)


def test_a_run_on_a_fleet_is_followed_to_its_end(browser: Any, mlb: Mlb) -> None:
    folder = mlb.detached("--steps", "40", "--fleet", "t")
    dashboard = Dashboard(mlb)
    try:
        page = browser.new_page()
        page.goto(dashboard.address)
        page.get_by_role("button", name=folder.run_id, exact=True).click()
        page.get_by_text("ended: steps").wait_for(timeout=RUN_MS)
        page.locator("#run-table td", has_text="succeeded").wait_for(timeout=RUN_MS)
        page.locator("#resources tbody tr").nth(1).wait_for()
        page.close()
    finally:
        dashboard.stop()
    # What attends a run to its end writes its numbers down, page or no page.
    end = time.monotonic() + FINISH_S
    while not folder.metrics.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
