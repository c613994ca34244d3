"""Checks of files: can they be written, is there room, are secrets for their owner alone."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .finding import Finding, Place, fail, ok, warn

_ROOM_BYTES: Final = 2 << 30
_SECRETS: Final = ("id_ed25519", "*.tfstate", "fleet.json")


def folders(place: Place) -> Iterator[Finding]:
    """Runs, cache and state: writable, with room."""
    for name, folder in (("runs", place.runs_dir), ("cache", place.cache_dir), ("state", place.state_home)):
        there = _nearest(folder)
        if not there.is_dir():
            yield fail(name, f"{there} is a file, where a folder has to be", f"Move it away: mv {there} {there}.old")
        elif not _writable(there):
            yield fail(name, f"{folder} cannot be written", f"chown -R $USER {there}, or set MLB_HOME to another place")
        else:
            free = shutil.disk_usage(there).free
            said = f"{folder} ({free / (1 << 30):,.1f} GiB free)"
            if free < _ROOM_BYTES:
                yield fail(name, f"{said}: a run can fill that", "Make room, or set MLB_HOME to a larger disk.")
            else:
                yield ok(name, said)


def secrets(place: Place) -> Iterator[Finding]:
    """Keys and state of fleets: whoever reads them can log in to the nodes."""
    fleets = place.state_home / "fleets"
    open_ones = [path for path in _private(fleets) if _others_may(path)]
    if open_ones:
        fix = f"chmod -R go-rwx {place.state_home}; then destroy and apply again if others have accounts here"
        yield fail("permissions", f"others may read {', '.join(str(path) for path in open_ones[:3])}", fix)
    elif fleets.is_dir():
        yield ok("permissions", f"{fleets} is for its owner alone")


def leftovers_of_a_crash(place: Place) -> Iterator[Finding]:
    """What a killed command left behind; it does no harm, it takes room."""
    old = [*place.state_home.glob("fleets/.*"), *place.runs_dir.glob("*/.*.json.*")]
    if old:
        fix = "rm -rf " + " ".join(str(path) for path in old[:5])
        yield warn("leftovers", f"{len(old)} temporary files of commands that were killed", fix)


def _nearest(folder: Path) -> Path:
    """The folder, or the closest of its parents that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _writable(folder: Path) -> bool:
    # Tried, not asked: access(2) knows nothing of read-only mounts in containers, of quotas or of NFS.
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _private(fleets: Path) -> Iterator[Path]:
    if not fleets.is_dir():
        return
    yield fleets
    for fleet in fleets.iterdir():
        if fleet.is_dir():
            yield fleet
            for pattern in _SECRETS:
                yield from fleet.rglob(pattern)


def _others_may(path: Path) -> bool:
    mode = path.stat().st_mode
    # A folder above that is closed closes what is in it.
    closed = any(stat.S_IMODE(p.stat().st_mode) & 0o077 == 0 for p in path.parents if p.stat().st_uid == os.getuid())
    return bool(mode & 0o077) and (not closed or path.name == "id_ed25519")
