"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on stdout.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder that holds data sets.")]
Offline = Annotated[bool, typer.Option("--offline", help="Do not try to download anything.")]
