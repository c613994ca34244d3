"""A real browser: Debian's Chromium, driven by Playwright; skipped where it is not installed."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window. Needs Debian's package `chromium` and PyPI's `playwright` (extra `dev`)."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        reason = "no Chromium here: apt-get install chromium"
        if {"browser", "all"} & set(os.environ.get("MLB_REQUIRE", "").split(",")):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()
