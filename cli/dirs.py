"""Where mlb keeps its files: the XDG folders, or all of them under MLB_HOME."""

from __future__ import annotations

import os
from pathlib import Path


def config_file() -> Path:
    """The user's config file."""
    return _folder("XDG_CONFIG_HOME", ".config", "") / "config.toml"


def runs_dir() -> Path:
    """The folder of all runs."""
    return _folder("XDG_DATA_HOME", ".local/share", "") / "runs"


def cache_dir() -> Path:
    """Downloads and prepared data: may be deleted at any time."""
    return _folder("XDG_CACHE_HOME", ".cache", "cache")


def _folder(variable: str, default: str, under_home: str) -> Path:
    home = os.environ.get("MLB_HOME")
    if home:
        return (Path(home).expanduser() / under_home).resolve()
    base = os.environ.get(variable)
    # The XDG specification: a relative path in the variable is to be ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / default
    return root / "mlb"
