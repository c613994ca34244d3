"""The browser of tests/browser.py as a fixture."""

from browser import browser as browser
