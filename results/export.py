"""Runs in the formats of others: a Chrome trace for Perfetto, a Parquet table, MLPerf's log lines (docs/exports.md)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..errors import ResultsInvalid, UsageError
from . import mllog, parquet, trace
from .run import RunFolder

EXPORTS: Mapping[str, Callable[[RunFolder, Path], int]] = {
    "trace": trace.write,
    "parquet": parquet.write,
    "mllog": mllog.write,
}
"""Option -> what writes that format; gives the number of events, rows or lines."""


def export(folder: RunFolder, kind: str, path: Path) -> int:
    """Write a run to `path` in one of `EXPORTS`; all of it or nothing.

    Raises:
        UsageError: the file cannot be written.
        ResultsInvalid: the run has nothing that could be written.
    """
    with _whole(path) as temporary:
        written = EXPORTS[kind](folder, temporary)
        if not written:
            raise ResultsInvalid(
                f"The run {folder.run_id} has nothing to write to {path}.",
                why="No training step is in the logs of all its ranks." if kind != "mllog" else "Its logs are empty.",
                fix=f"What is known of it: mlb report {folder.run_id}",
            )
    return written


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file that becomes `path` at the end, if there was no error."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> UsageError:
    why = error.strerror or str(error)
    return UsageError(f"{path} cannot be written.", why=why, fix="Name a file in a folder of yours.")
