"""Where mlb keeps its files: the XDG folders, or all of them under MLB_HOME."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from ..errors import PreflightError

_NO_FAULT_OF_OURS: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EIO}
)


def config_file() -> Path:
    """The user's config file."""
    return _folder("XDG_CONFIG_HOME", ".config", "") / "config.toml"


def runs_dir() -> Path:
    """The folder of all runs."""
    return _folder("XDG_DATA_HOME", ".local/share", "") / "runs"


def cache_dir() -> Path:
    """Downloads and prepared data: may be deleted at any time."""
    return _folder("XDG_CACHE_HOME", ".cache", "cache")


def unusable(error: OSError) -> PreflightError | None:
    """What to say of an error of a file in, or on the way to, one of mlb's folders; None where it is of another kind.

    A folder that is missing counts only if it cannot be made either.
    """
    from ..infra.folder import state_home

    if not isinstance(error.filename, str):
        return None
    path = Path(error.filename).absolute()
    for folder in (runs_dir(), cache_dir(), state_home(), config_file().parent):
        if not (path.is_relative_to(folder) or folder.is_relative_to(path)):
            continue
        if error.errno in _NO_FAULT_OF_OURS or _cannot_be_made(folder):
            return PreflightError(
                f"mlb's folder {folder} cannot be used.",
                why=f"{path}: {error.strerror}",
                fix="Set MLB_HOME to a folder of yours on a disk with room, or see to this one: mlb doctor",
            )
    return None


def _cannot_be_made(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return True
    return False


def _folder(variable: str, default: str, under_home: str) -> Path:
    home = os.environ.get("MLB_HOME")
    if home:
        return (Path(home).expanduser() / under_home).resolve()
    base = os.environ.get(variable)
    # The XDG specification: a relative path in the variable is to be ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / default
    return root / "mlb"
