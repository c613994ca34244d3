"""The HTML page of a run: one file that needs nothing else, in any browser, on paper, without a network."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .. import __version__
from ..results import reproduce
from ..results.compare_report import render_comparison
from ..results.comparison import Comparison
from ..results.cost import target_words_of, words_of
from ..results.metrics import Metrics
from ..results.raw import Point, report_of
from ..results.report import render
from ..results.run import RunFolder, RunSpec
from ..results.scale import Scaling
from ..results.scale_report import render_scaling
from ..results.text import count, sanitise
from ..results.verdict import GOAL_REACHED
from .charts import charts_of
from .compare_charts import AT_A_GLANCE, charts_of_comparison
from .environment import environments
from .narrow import narrow
from .plot import Chart
from .png import plain_style
from .raw_charts import charts_of_points
from .scale_charts import LEAD, charts_of_scaling


def run_page(folder: RunFolder, metrics: Metrics) -> str:
    """The page of one run.

    Args:
    """
    spec = metrics.spec
    return page(
        "report/run.html.j2",
        title=f"{spec.task} {spec.goal} {spec.run_id}",
        report=render(metrics),
        reached=metrics.status == GOAL_REACHED,
        header=tuple(_header(metrics)),
        charts=charts_of(metrics),
        environment=environments(folder, spec.ranks),
        reproduce=_command(spec),
        reproduce_note=_source(spec),
    )


def raw_page(folder: RunFolder, points: list[Point]) -> str:
    """The page of a run of task 0a."""
    spec, over = folder.read_spec(), ", ".join(dict.fromkeys(point.backend for point in points))
    return page(
        "report/run.html.j2",
        title=f"{spec.task} {spec.goal} {spec.run_id}",
        report=report_of(folder, points),
        reached=bool(points) and all(point.correct for point in points),
        header=(
            ("What", sanitise(f"{spec.task}, goal {spec.goal}: collectives over {over}")),
            ("Where", sanitise(f"fleet {spec.fleet}: {spec.ranks} ranks on {count(spec.nodes, 'node')}")),
            ("When", when(spec.launched_unix_ns)),
        ),
        charts=charts_of_points(points),
        environment=environments(folder, spec.ranks),
        reproduce=_command(spec),
        reproduce_note=_source(spec),
    )


def comparison_page(comparison: Comparison) -> str:
    """The page of runs side by side."""
    runs = [run.metrics.spec for group in comparison.groups for run in group.runs]
    report, charts = render_comparison(comparison), charts_of_comparison(comparison)
    # What differs comes first, then what it did.
    then = [chart for chart in charts if chart.id in AT_A_GLANCE]
    return page(
        "report/compare.html.j2",
        title=report.title[0],
        report=report,
        tone=_tone(comparison),
        lead=(),
        then=then,
        charts=[chart for chart in charts if chart not in then],
        reproduce=[_command(spec) for spec in runs],
    )


def _tone(comparison: Comparison) -> str:
    """The colour of the headline: green for a winner outside noise alone."""
    won = comparison.fastest is not None and not comparison.fastest.within_noise
    return "bad" if comparison.mixed else "" if won else "plain"


def scaling_page(scaling: Scaling) -> str:
    """The page of a scaling series."""
    report, charts = render_scaling(scaling), charts_of_scaling(scaling)
    lead = [chart for chart in charts if chart.id in LEAD]
    return page(
        "report/compare.html.j2",
        title=report.title[0],
        report=report,
        tone="plain",
        lead=lead,
        then=(),
        charts=[chart for chart in charts if chart not in lead],
        # One command made them all.
        reproduce=[shlex.join(sanitise(word) for word in scaling.runs[0].metrics.spec.argv)],
    )


def page(template: str, **values: Any) -> str:
    """A page from a template of templates/; everything that is no `Markup` is escaped."""
    return (
        _environment()
        .get_template(template)
        .render(version=__version__, page_css=_style("page.css"), chart_css=_style("chart.css"), **values)
    )


def picture(chart: Chart) -> str:
    """A chart as an SVG file of its own, for papers."""
    macro: Any = _environment().get_template("report/chart.svg.j2").module
    # As plain text: a Markup would escape what is put in front of it.
    drawn = str(macro.svg(chart, Markup(plain_style(_style("chart.css")))))  # noqa: S704  # a file of the package
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + drawn.strip() + "\n"


def when(unix_ns: int) -> str:
    """A moment as people write it, UTC."""
    try:
        return datetime.fromtimestamp(unix_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "-"


def pictures(charts: Sequence[Chart]) -> Iterator[tuple[str, str]]:
    """Names without an ending, and SVG files, of all charts."""
    yield from ((chart.id, picture(chart)) for chart in charts)


def _header(metrics: Metrics) -> Iterator[tuple[str, str]]:
    spec = metrics.spec
    yield "What", sanitise(f"{spec.task}, goal {spec.goal}, recipe {spec.recipe}, on {spec.dataset}")
    hosts = len(metrics.hosts)
    yield "Where", sanitise(f"fleet {spec.fleet}: {spec.ranks} ranks on {hosts or '?'} host{'' if hosts == 1 else 's'}")
    yield "When", when(metrics.launched_unix_ns)
    yield "Division", sanitise(f"{spec.division}, {'' if spec.comparable else 'not '}comparable")
    yield "Cost", sanitise(words_of(metrics))
    if to_target := target_words_of(metrics):
        yield "  to the target", sanitise(to_target)


def _command(spec: RunSpec) -> str:
    return shlex.join(sanitise(word) for word in reproduce.command(spec))


def _source(spec: RunSpec) -> str:
    revision = sanitise(spec.git_revision.removesuffix("-dirty"), 64)
    changed = " That tree had changes of its own." if spec.git_revision.endswith("-dirty") else ""
    return f"With mlb {sanitise(spec.mlb_version)}{f' at commit {revision}' if revision else ''}.{changed}"


def _style(name: str) -> Markup:
    """A style sheet of ours: the one thing that goes into a page as it is."""
    source, _, _ = PackageLoader("mlb", "templates").get_source(_environment(), f"report/{name}")
    return Markup(source)  # noqa: S704  # a file of the package, with nothing filled in


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("mlb", "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["narrow"] = narrow
    return made
