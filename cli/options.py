"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on stdout.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder that holds data sets.")]
Offline = Annotated[bool, typer.Option("--offline", help="Do not try to download anything.")]
FleetName = Annotated[
    str | None, typer.Option("--fleet", help="Run on this fleet; `local` is this machine. [default: the current fleet]")
]
Queue = Annotated[bool, typer.Option("--queue", help="Wait for the run that holds the fleet.")]
SkipHealth = Annotated[
    bool, typer.Option("--skip-health", help="Do not check the nodes before the run; the result says so.")
]
RequireTransport = Annotated[
    str | None, typer.Option(help="efa, ib or tcp: refuse to run where the ranks of several nodes go over another.")
]
Wheelhouse = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="Wheels for nodes without a package index.")
]
Oversubscribe = Annotated[bool, typer.Option("--oversubscribe", help="Allow more CPU ranks than cores.")]
