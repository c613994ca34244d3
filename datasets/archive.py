"""Take known files out of a downloaded archive (zip, tar, gzip, bzip2), and nothing else."""

from __future__ import annotations

import bz2
import gzip
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ..errors import DataCorrupt
from .files import check, disk_errors
from .sources import SourceFile

_CHUNK_BYTES = 1 << 20
_UNREADABLE = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error,
    EOFError, KeyError, RuntimeError, NotImplementedError,
)  # fmt: skip
"""What the archive modules raise for damaged, missing, encrypted and unsupported members."""

_Member = tuple[SourceFile, str, int | None, IO[bytes]]
"""A file wanted, its member's name, the size that the archive announces (None: it does not say), its bytes."""


def extract(archive: Path, members: Mapping[SourceFile, str], into: Path) -> None:
    """Write each named member to its file's name in the folder `into`, in one step, verified.

    The names and sizes in the archive are not trusted: only the members asked for are read, only to names of
    ours, and never beyond the size that the file must have.

    Raises:
        DataCorrupt: the archive is damaged or holds other bytes; `why` is one short line.
        DiskFull: no room for a file.
    """
    try:
        for file, member, announced, packed in _opened(archive, members):
            _extract(packed, member, announced, file, into / file.name)
    except _UNREADABLE as error:
        raise DataCorrupt(f"{archive.name} is not a readable archive.", why=_one_line(error)) from error
    except OSError as error:
        if error.errno is not None:
            raise
        # bz2 says so of a stream that is no bzip2.
        raise DataCorrupt(f"{archive.name} is not a readable archive.", why=_one_line(error)) from error


def _opened(archive: Path, members: Mapping[SourceFile, str]) -> Iterator[_Member]:
    if archive.suffix == ".zip":
        return _in_zip(archive, members)
    if archive.suffix in {".tgz", ".tar"} or archive.name.endswith((".tar.gz", ".tar.bz2")):
        return _in_tar(archive, members)
    return _packed(archive, members)


def _in_zip(archive: Path, members: Mapping[SourceFile, str]) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for file, member in members.items():
            info = opened.getinfo(member)
            with opened.open(info) as packed:
                yield file, member, info.file_size, packed


def _in_tar(archive: Path, members: Mapping[SourceFile, str]) -> Iterator[_Member]:
    wanted = {member: file for file, member in members.items()}
    # As a stream: a packed archive is read once, from front to back.
    with tarfile.open(archive, "r|*") as opened:
        for info in opened:
            file = wanted.pop(info.name.removeprefix("./"), None)
            packed = opened.extractfile(info) if file is not None else None
            if file is not None and packed is not None:
                yield file, info.name, info.size, packed
            if not wanted:
                return
    raise KeyError(f"no member named {', '.join(wanted)}")


def _packed(archive: Path, members: Mapping[SourceFile, str]) -> Iterator[_Member]:
    unpack: Any = bz2.open if archive.suffix == ".bz2" else gzip.open
    for file, member in members.items():
        with unpack(archive, "rb") as packed:
            yield file, member, None, packed


def _extract(packed: IO[bytes], member: str, announced: int | None, file: SourceFile, path: Path) -> None:
    expected = announced if file.size_bytes is None else file.size_bytes
    assert expected is not None, "a single packed file must be pinned: nothing else bounds its size"
    if announced not in {None, expected}:
        raise _other_bytes(member, f"{expected:,} bytes expected, {announced:,} announced")
    temporary = path.with_name(path.name + ".unzipped")
    try:
        with disk_errors(path, expected), temporary.open("wb") as plain:
            while chunk := packed.read(min(_CHUNK_BYTES, expected + 1)):
                plain.write(chunk)
                if plain.tell() > expected:
                    break
            plain.flush()
            os.fsync(plain.fileno())
        if problem := check(temporary, expected, file.sha256).problem:
            raise _other_bytes(member, problem)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _other_bytes(member: str, problem: str) -> DataCorrupt:
    return DataCorrupt(f"{member} in the archive is not the file expected.", why=f"{member}: {problem}")


def _one_line(error: Exception) -> str:
    text = error.args[0] if error.args and isinstance(error.args[0], str) else type(error).__name__
    return text.partition("\n")[0]
