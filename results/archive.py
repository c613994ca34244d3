"""One run as one file: a ZIP of the run folder with a manifest of checksums. What comes in is not trusted.

The format is described in docs/archive.md. Packing the same folder twice gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from ..errors import ResultsInvalid
from .run import RunFolder
from .text import sanitise

ARCHIVE_SCHEMA_VERSION: Final = 1
KIND: Final = "mlb run"
MANIFEST: Final = "manifest.json"
SUFFIX: Final = ".mlb.zip"
LIMIT_BYTES: Final = 4 << 30
"""Most that an archive may hold once unpacked, unless the caller allows more."""
_MANIFEST_LIMIT: Final = 16 << 20
_FILES_LIMIT: Final = 50_000
_CHUNK: Final = 1 << 20

# What a run folder holds (docs/run-folder.md), `pids/` left out: it says nothing once the run is over.
_MEMBERS: Final = re.compile(
    r"(run|plan|metrics|fleet|health)\.json|(node|environment)-\d{5}\.json|stop-requested"
    r"|events/rank-\d{5}\.jsonl|(events/)?resources-\d{5}\.jsonl|logs/(rank|node)-\d{5}\.log|hangs?/[\w.-]+\.txt"
)


def pack(folder: RunFolder, file: Path) -> int:
    """Write the archive of a run; returns how many files it holds.

    Raises:
        ResultsInvalid: the folder is no run's.
        OSError: the archive cannot be written; nothing is left of it.
    """
    folder.read_spec()
    names = sorted(_members(folder.path))
    entries = {name: _fingerprint(folder.path / name) for name in names}
    manifest = {
        "schema_version": ARCHIVE_SCHEMA_VERSION,
        "kind": KIND,
        "run_id": folder.run_id,
        "files": {name: {"bytes": size, "sha256": digest} for name, (size, digest) in entries.items()},
    }
    handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_info(MANIFEST), json.dumps(manifest, indent=1) + "\n")
            for name in names:
                with (folder.path / name).open("rb") as source, archive.open(_info(f"run/{name}"), "w") as member:
                    _copy(source, member, entries[name][0])
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return len(names)


@contextmanager
def unpacked(file: Path, limit_bytes: int = LIMIT_BYTES) -> Iterator[RunFolder]:
    """The run of an archive in a temporary folder, every byte checked against the manifest.

    Raises:
        ResultsInvalid: it is no archive of a run, it was changed, or it claims or holds more than `limit_bytes`.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise _refused(file, f"It cannot be read as a ZIP archive: {error}.") from None
    with archive, tempfile.TemporaryDirectory(prefix="mlb-archive-") as home:
        members = _checked_members(file, archive, limit_bytes)
        manifest = _manifest(file, archive, members)
        folder = RunFolder(Path(home) / manifest["run_id"])
        folder.create()
        for name, claimed in manifest["files"].items():
            target = folder.path / name
            target.parent.mkdir(mode=0o700, exist_ok=True)
            _extract(file, archive, members[f"run/{name}"], target, claimed)
        yield folder


def _members(path: Path) -> Iterator[str]:
    for entry in path.rglob("*"):
        name = entry.relative_to(path).as_posix()
        if _MEMBERS.fullmatch(name) and stat.S_ISREG(entry.lstat().st_mode):
            yield name


def _fingerprint(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = (stat.S_IFREG | 0o600) << 16
    return info


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    """Exactly the bytes that the fingerprint was taken of: a log may have grown since."""
    while size > 0 and (chunk := source.read(min(_CHUNK, size))):
        target.write(chunk)
        size -= len(chunk)


def _checked_members(file: Path, archive: zipfile.ZipFile, limit_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """The members by name: regular files of a run folder and nothing else, of a bearable size."""
    infos = archive.infolist()
    if len(infos) > _FILES_LIMIT:
        raise _refused(file, f"It holds {len(infos):,} files; a run has at most {_FILES_LIMIT:,}.")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename
        shown = repr(sanitise(name, 120))
        if name in members:
            raise _refused(file, f"It holds {shown} twice.")
        if name.startswith("/") or "\\" in name or ".." in name.split("/") or re.match(r"[A-Za-z]:", name):
            raise _refused(file, f"{shown} leads out of the folder it is unpacked to.")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise _refused(file, f"{shown} is no regular file.")
        if name != MANIFEST and not (name.startswith("run/") and _MEMBERS.fullmatch(name[4:])):
            raise _refused(file, f"{shown} is no file of a run.")
        if info.flag_bits & 1:
            raise _refused(file, f"{shown} is encrypted.")
        members[name] = info
    total = sum(info.file_size for info in infos)
    if total > limit_bytes:
        raise _refused(
            file,
            f"It claims to hold {total / (1 << 30):,.1f} GiB; the limit is {limit_bytes / (1 << 30):,.1f} GiB.",
            fix="If it is what you expect, raise the limit: --limit-gib.",
        )
    return members


def _manifest(file: Path, archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> dict[str, Any]:
    info = members.get(MANIFEST)
    if info is None:
        raise _refused(file, f"It has no {MANIFEST}.", fix="`mlb pack` makes archives of runs.")
    if info.file_size > _MANIFEST_LIMIT:
        raise _refused(file, f"Its {MANIFEST} is larger than any run's.")
    try:
        raw = json.loads(_read(archive, info, info.file_size))
        version, kind, run_id = raw["schema_version"], raw["kind"], raw["run_id"]
        files = {str(name): (int(claim["bytes"]), str(claim["sha256"])) for name, claim in raw["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, zipfile.BadZipFile) as error:
        raise _refused(file, f"Its {MANIFEST} cannot be read: {type(error).__name__}: {sanitise(error)}.") from None
    if kind != KIND or version != ARCHIVE_SCHEMA_VERSION:
        raise _refused(
            file,
            f"Its {MANIFEST} is of kind {sanitise(kind, 40)!r}, format {sanitise(version, 20)}.",
            fix=f"This version of mlb reads {KIND!r}, format {ARCHIVE_SCHEMA_VERSION}.",
        )
    if not isinstance(run_id, str) or not re.fullmatch(r"[\w.-]{1,200}", run_id) or run_id.startswith("."):
        raise _refused(file, f"Its {MANIFEST} names the run {sanitise(run_id, 60)!r}, which is no run's name.")
    present = {name[4:] for name in members if name != MANIFEST}
    for what, names in (("lacks", set(files) - present), ("has, unlisted,", present - set(files))):
        if names:
            raise _refused(file, f"It {what} {', '.join(sanitise(name, 80) for name in sorted(names)[:5])}.")
    return {"run_id": run_id, "files": files}


def _extract(file: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, claim: tuple[int, str]) -> None:
    name, (size, sha256) = sanitise(info.filename[4:], 80), claim
    if info.file_size != size:
        raise _refused(file, f"{name} has {info.file_size:,} bytes; the manifest says {size:,}.")
    digest, left = hashlib.sha256(), size
    try:
        with archive.open(info) as source, target.open("xb") as out:
            # One byte more than is claimed would be too much: never unpack more than was announced.
            while chunk := source.read(min(_CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    raise _refused(file, f"{name} holds more than the {size:,} bytes it claims.")
                digest.update(chunk)
                out.write(chunk)
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise _refused(file, f"{name} cannot be unpacked: {sanitise(error)}.") from None
    if left or digest.hexdigest() != sha256:
        raise _refused(file, f"{name} is not what the manifest's checksum says: it was changed or damaged.")


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    with archive.open(info) as source:
        return source.read(limit + 1)


def _refused(file: Path, why: str, fix: str = "") -> ResultsInvalid:
    return ResultsInvalid(
        f"{file} is not a sound archive of a run.", why=why, fix=fix or "Ask for it again from whoever packed it."
    )
