"""The door to rich: results on stdout, progress and errors on stderr, plain text wherever that is no terminal."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

from ..errors import MlbError
from ..results.text import harmless

if TYPE_CHECKING:
    from rich.console import Console

_ENVIRONMENT_SAYS_PLAIN = ("NO_COLOR", "CI")


def show_json(value: Mapping[str, Any]) -> None:
    """One JSON object on stdout; `schema_version` comes first and is 1 unless `value` has it."""
    print(json.dumps({"schema_version": 1, **value}, indent=2, allow_nan=False))  # noqa: T201


def plain(value: Any) -> dict[str, Any]:
    """A dataclass as JSON can hold it: paths become text."""
    fields: dict[str, Any] = json.loads(json.dumps(asdict(value), default=str))
    return fields


def show_text(text: str) -> None:
    """A result, as it is, on stdout."""
    print(text)  # noqa: T201


def result_width(off_terminal: int = 100) -> int:
    """Characters a line of a result may have: the terminal's, within reason, or `off_terminal` where there is none."""
    if not sys.stdout.isatty():
        return off_terminal
    return min(max(shutil.get_terminal_size((100, 24)).columns, 60), max(120, off_terminal))


def note(text: str) -> None:
    """A line about what is going on, on stderr."""
    _stderr().print(harmless(text), markup=False, highlight=False, soft_wrap=True)


def show_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(Text(harmless(cell)) for cell in row))
    _stdout().print(table)


def show_error(error: MlbError) -> None:
    """What, why and what to do, on stderr."""
    from rich.text import Text

    console = _stderr()
    console.print(Text("error: ", style="bold red") + Text(harmless(error.what)), soft_wrap=True)
    for part in (error.why, error.fix):
        for line in part.splitlines():
            console.print(Text("  " + harmless(line)), soft_wrap=True)


def stderr_is_live() -> bool:
    """Whether a moving display may be drawn: stderr is a terminal, and nothing asks for plain text."""
    return sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


def ask_allowed() -> bool:
    """Whether a question may be asked: both ends are a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


@contextmanager
def live_lines(text: Callable[[], str] | None = None) -> Iterator[Any]:
    """A display on stderr that is redrawn in place: from `text`, or call `.update(text)` on what this yields."""
    from rich.live import Live
    from rich.text import Text

    get = (lambda: Text("\n".join(map(harmless, text().splitlines())))) if text else None
    with Live(console=_stderr(), refresh_per_second=5, transient=True, get_renderable=get) as live:
        yield live


@contextmanager
def progress(title: str) -> Iterator[Any]:
    """A function (done, total) in bytes that draws a bar on a terminal and does nothing elsewhere."""
    if not stderr_is_live():
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_stderr(), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@cache
def _stdout() -> Console:
    from rich.console import Console

    # Off a terminal, wide enough that no cell is folded: the output may be read by a program.
    return Console(file=sys.stdout, no_color=_no_color(), width=None if sys.stdout.isatty() else 200)


@cache
def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, no_color=_no_color())


def _no_color() -> bool | None:
    return True if any(os.environ.get(name) for name in _ENVIRONMENT_SAYS_PLAIN) else None
