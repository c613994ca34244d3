"""The files that `mlb report` writes: pages, pictures, tables, and what other tools read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ..errors import UsageError
from ..pages import charts, compare_charts, page
from ..results.compare import compare, entry_of
from ..results.export import export
from ..results.files import write_text
from ..results.flat import to_csv
from ..results.metrics import compute
from ..results.run import RunFolder
from ..results.series import series_of
from .console import note, show_text
from .cost import cost_of

_UNITS: Final = {"trace": "events", "parquet": "rows", "mllog": "lines"}


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


def write_pages(
    folders: Sequence[RunFolder], html: Path | None, csv: Path | None, svg: Path | None, *, mixed: bool
) -> None:
    """Write the page of one run, or of several side by side; their numbers; their pictures.

    Raises:
        UsageError: a file cannot be written, or the runs do not belong side by side.
    """
    runs = [compute(folder) for folder in folders]
    if csv:
        write(csv, to_csv(runs))
    if not (html or svg):
        return
    if len(runs) > 1:
        made = compare([entry_of(*one) for one in zip(folders, runs, strict=True)], mixed=mixed)
        drawn, text = compare_charts.charts_of_comparison(made), page.comparison_page(made)
    else:
        series = series_of(folders[0], runs[0])
        drawn = charts.charts_of(runs[0], series)
        text = page.run_page(folders[0], runs[0], series, cost_of(runs[0]))
    if html:
        write(html, text)
    for name, picture in page.pictures(drawn) if svg else ():
        write(Path(svg or ".") / name, picture)


def write(path: Path, text: str) -> None:
    """Write a file in one step, or to standard output for `-`.

    Raises:
        UsageError: it cannot be written.
    """
    if str(path) == "-":
        show_text(text.rstrip("\n"))
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written.", why=str(error), fix="Name a file in a folder you may write."
        ) from None
    note(f"wrote {path} ({len(text.encode()) / 1000:,.0f} kB)")
