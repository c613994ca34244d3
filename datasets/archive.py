"""Take known files out of a downloaded zip archive, and nothing else."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from ..errors import DataCorrupt
from .files import check, disk_errors
from .sources import SourceFile

_CHUNK_BYTES = 1 << 16
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, NotImplementedError)
"""What zipfile raises for damaged, missing, encrypted and unsupported members."""


def extract(archive: Path, members: Mapping[SourceFile, str], into: Path) -> None:
    """Write each named member to its file's name in the folder `into`, in one step, verified.

    The names and sizes in the archive are not trusted: only the members asked for are read, only to names of
    ours, and never beyond the size that the file must have.

    Raises:
        DataCorrupt: the archive is damaged or holds other bytes; `why` is one short line.
        DiskFull: no room for a file.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            for file, member in members.items():
                _extract(opened, member, file, into / file.name)
    except _UNREADABLE as error:
        raise DataCorrupt(f"{archive.name} is not a readable archive.", why=_one_line(error)) from error


def _extract(archive: zipfile.ZipFile, member: str, file: SourceFile, path: Path) -> None:
    info = archive.getinfo(member)
    if info.file_size != file.size_bytes:
        raise _other_bytes(member, f"{file.size_bytes:,} bytes expected, {info.file_size:,} announced")
    temporary = path.with_name(path.name + ".unzipped")
    try:
        with disk_errors(path, file.size_bytes), archive.open(info) as packed, temporary.open("wb") as plain:
            while chunk := packed.read(_CHUNK_BYTES):
                plain.write(chunk)
                if plain.tell() > file.size_bytes:
                    break
            plain.flush()
            os.fsync(plain.fileno())
        if problem := check(temporary, file.size_bytes, file.sha256).problem:
            raise _other_bytes(member, problem)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _other_bytes(member: str, problem: str) -> DataCorrupt:
    return DataCorrupt(f"{member} in the archive is not the file expected.", why=f"{member}: {problem}")


def _one_line(error: Exception) -> str:
    text = error.args[0] if error.args and isinstance(error.args[0], str) else type(error).__name__
    return text.partition("\n")[0]
