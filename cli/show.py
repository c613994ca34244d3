"""Shows a run's metrics: as JSON, or as the report's rows and tables."""

from __future__ import annotations

from ..results.metrics import Metrics
from ..results.report import render
from .console import show_json, show_table, show_text


def show_metrics(metrics: Metrics, as_json: bool) -> None:
    """Print a run's report on stdout."""
    if as_json:
        show_json(metrics.to_json())
        return
    report = render(metrics)
    for line in report.title:
        show_text(line)
    for key, value in report.rows:
        show_text(f"{key + ':':<24}{value}")
    for table in report.tables:
        show_table(table.title, table.headers, table.rows, numeric_from=1)
    for warning in report.warnings:
        show_text(f"warning: {warning}")
