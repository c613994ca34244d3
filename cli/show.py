"""Shows a run's metrics: as JSON, or as the report."""

from __future__ import annotations

from ..results.metrics import Metrics
from ..results.report import to_text
from .console import result_width, show_json, show_text


def show_metrics(metrics: Metrics, as_json: bool) -> None:
    """Print a run's report on stdout."""
    if as_json:
        show_json(metrics.to_json())
    else:
        show_text(to_text(metrics, result_width()).rstrip())
