"""Files on disk: checksums, one writer at a time, and disk errors in words."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DiskFull, PreflightError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}


@dataclass(frozen=True)
class Check:
    """What one file was found to be."""

    state: str
    """`ok`, `absent` or `corrupt`."""
    size_bytes: int | None
    """Size found; None for a file that is absent or cannot be read."""
    problem: str = ""
    """What is wrong with a corrupt file, with the expected and the found value; empty otherwise."""


def check(path: Path, size_bytes: int | None, sha256: str | None) -> Check:
    """Compare a file with its size and, if that is right, its SHA-256, each where it is known; a folder passes."""
    try:
        if path.is_dir():
            return Check("ok", None)
        found_bytes = path.stat().st_size
        if size_bytes is not None and found_bytes != size_bytes:
            return Check("corrupt", found_bytes, f"{size_bytes:,} bytes expected, {found_bytes:,} found")
        found_sha256 = sha256_of(path) if sha256 is not None else None
    except FileNotFoundError:
        return Check("absent", None)
    except OSError as error:
        return Check("corrupt", None, f"it cannot be read: {error.strerror}")
    if found_sha256 != sha256:
        return Check("corrupt", found_bytes, f"SHA-256 {sha256} expected, {found_sha256} found")
    return Check("ok", found_bytes)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def disk_errors(path: Path, needed_bytes: int) -> Iterator[None]:
    """Turn the failures of writing `needed_bytes` below `path` into errors for people.

    Raises:
        DiskFull: no room left on the device, or a quota or a size limit is reached.
        PreflightError: the folder does not let us write.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFull(
                f"There is no room for {path}.",
                why=f"It needs {needed_bytes:,} bytes: {error.strerror}." if needed_bytes else f"{error.strerror}.",
                fix="Free some space there, or choose a cache folder on another disk.",
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}:
            raise PreflightError(
                f"{path} cannot be written.",
                why=f"{error.strerror}: {error.filename or path}",
                fix="Choose a cache folder that you may write to.",
            ) from error
        raise


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Be the only process that writes into `folder`, which is made; waits for one that is.

    The lock is the kernel's (`folder/.lock` is only its handle), so a process that is killed gives it up. A
    file system without locks is used without one: files appear in one step anyway, and are verified.
    """
    with disk_errors(folder, 0):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("ab")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
