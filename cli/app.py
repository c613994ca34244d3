"""The command line: which commands there are. Each has a file of its own and imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from . import bench, catalog, compare, config_show, dashboard, data, doctor, infra, man, report, runs, scale, share

app = typer.Typer(
    name="mlb",
    help="The benchmark of distributed machine learning that says where the time went.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="First run: mlb bench task3a --goal smoke",
)
app.add_typer(infra.app, name="infra")
app.add_typer(catalog.app, name="catalog")
app.add_typer(bench.app, name="bench")
app.add_typer(data.app, name="data")
app.command("scale")(scale.scale)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("pack")(share.pack)
app.command("verify")(share.verify)
app.command("rerun")(share.rerun)
app.command("dashboard")(dashboard.dashboard)
app.command("doctor")(doctor.doctor)
app.command("man", hidden=True)(man.man)
app.command("runs")(runs.runs)
app.command("config")(config_show.config)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlb {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and the time of each stage.")] = False,
) -> None:
    """The benchmark of distributed machine learning that says where the time went."""
