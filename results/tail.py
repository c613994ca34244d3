"""The end of a text file, without reading the rest."""

from __future__ import annotations

import os
from pathlib import Path


def last_lines(path: Path, lines: int, limit_bytes: int) -> list[str]:
    """Up to `lines` last lines among the last `limit_bytes` of a file, decoded; bytes that are no UTF-8 are replaced.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(-min(limit_bytes, file.seek(0, os.SEEK_END)), os.SEEK_END)
        return file.read(limit_bytes).decode(errors="replace").splitlines()[-lines:]
