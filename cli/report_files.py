"""The files that `mlb report` writes: pages, pictures, tables, and what other tools read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import UsageError
from ..pages import charts, compare_charts, page
from ..pages.plot import Chart
from ..pages.png import png_of
from ..provisioner.runs import known_state
from ..results.compare import compare, entry_of
from ..results.export import export
from ..results.extent import BUCKETS
from ..results.files import write_bytes
from ..results.flat import to_csv
from ..results.metrics import Metrics, compute
from ..results.run import RunFolder
from .console import note, show_text

_UNITS: Final = {"trace": "events", "parquet": "rows", "mllog": "lines"}


@dataclass(frozen=True)
class Files:
    """What is to be written, and where; None: not at all."""

    html: Path | None = None
    csv: Path | None = None
    svg: Path | None = None
    """A folder, as `png` is."""
    png: Path | None = None

    @property
    def any(self) -> bool:
        return any((self.html, self.csv, self.drawn))

    @property
    def drawn(self) -> bool:
        """Whether anything needs charts."""
        return any((self.html, self.svg, self.png))


def export_one(folders: Sequence[RunFolder], files: Mapping[str, Path]) -> None:
    """Write one run for other tools.

    Raises:
        UsageError: more than one run, or a file that cannot be written.
    """
    if len(folders) > 1:
        raise UsageError("A file can hold one run only.", fix="Name one run beside --" + ", --".join(files) + ".")
    for kind, path in files.items():
        written = export(folders[0], kind, path)
        note(f"{path}: {written:,} {_UNITS[kind]} of {folders[0].run_id}")
    if "mllog" in files:
        note("not an MLPerf result, whatever a checker says of it (docs/exports.md)")


def track(folders: Sequence[RunFolder], places: Mapping[str, str]) -> None:
    """Hand runs to trackers of experiments: `tensorboard`, `mlflow`, `wandb` -> where.

    Raises:
        UsageError: a place that cannot be used.
        PreflightError: the tracker is not installed.
    """
    from ..results import to_mlflow, to_tensorboard, to_wandb

    write_to = {"tensorboard": to_tensorboard.write, "mlflow": to_mlflow.write, "wandb": to_wandb.write}
    for name, place in places.items():
        for folder in folders:
            try:
                points = write_to[name](folder, place)
            except OSError as error:
                raise UsageError(f"{place} cannot be written.", why=str(error), fix="Name a folder of yours.") from None
            note(f"{place}: {points:,} points of {folder.run_id}")


def write_pages(folders: Sequence[RunFolder], files: Files, *, mixed: bool) -> list[Metrics]:
    """Write the page of one run, or of several side by side; their numbers; their pictures. Gives their metrics.

    Raises:
        UsageError: a file cannot be written, or the runs do not belong side by side.
        PreflightError: what draws PNG files is not installed.
    """
    runs = [compute(folder, BUCKETS, state=known_state(folder)) for folder in folders]
    if files.csv:
        write(files.csv, to_csv(runs))
    if not files.drawn:
        return runs
    if len(runs) > 1:
        made = compare([entry_of(*one) for one in zip(folders, runs, strict=True)], mixed=mixed)
        write_drawn(files, page.comparison_page(made), compare_charts.charts_of_comparison(made))
    else:
        write_drawn(files, page.run_page(folders[0], runs[0]), charts.charts_of(runs[0]))
    return runs


def write_drawn(files: Files, html: str, drawn: Sequence[Chart]) -> None:
    """Write a page and its pictures; raises as `write_pages`."""
    if files.html:
        write(files.html, html)
    for name, picture in page.pictures(drawn) if files.svg or files.png else ():
        if files.svg:
            write(files.svg / f"{name}.svg", picture)
        if files.png:
            write(files.png / f"{name}.png", png_of(picture))


def write(path: Path, content: str | bytes) -> None:
    """Write a file in one step, or text to standard output for `-`.

    Raises:
        UsageError: it cannot be written.
    """
    if str(path) == "-" and isinstance(content, str):
        show_text(content.rstrip("\n"))
        return
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written.", why=str(error), fix="Name a file in a folder you may write."
        ) from None
    note(f"wrote {path} ({len(data) / 1000:,.0f} kB)")
