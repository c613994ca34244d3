"""What stands for the checksum of raw data too large to be read for one: the names and sizes of all it holds."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import DataCorrupt


def listing_digest(path: Path) -> str:
    """SHA-256 over the names and sizes of everything in a folder or an unpacked tar file.

    Raises:
        DataCorrupt: the file is no tar file, or ends early.
    """
    digest = hashlib.sha256()
    for name, size in folder_files(path) if path.is_dir() else ((m.name, m.size) for m in members(path)):
        digest.update(f"{name}\0{size}\n".encode(errors="surrogateescape"))
    return f"listing:{digest.hexdigest()}"


def folder_files(path: Path, below: str = "") -> Iterator[tuple[str, int]]:
    """(name from the folder on, bytes) of every file at or below a folder, sorted; what is hidden is left out."""
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from folder_files(path / entry.name, f"{below}{entry.name}/")
            elif entry.is_file():
                yield f"{below}{entry.name}", entry.stat().st_size


def members(path: Path) -> Iterator[tarfile.TarInfo]:
    """The files in an unpacked tar file, in its order; their content is skipped, not read.

    Raises:
        DataCorrupt: the file is no tar file, or ends early.
    """
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all in memory
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError(f"it ends within {member.name}")
                if member.isfile():
                    yield member
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataCorrupt(
            f"{path} is damaged.", why=f"{error}.", fix="Replace the file with an intact copy: compare its size."
        ) from error
