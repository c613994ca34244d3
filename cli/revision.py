"""Which source tree mlb runs from."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_revision() -> str:
    """The commit of the tree mlb runs from; empty where it is no checkout."""
    here = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        run = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
        return run.stdout.strip()

    try:
        # A checkout of something else that mlb happens to be installed under says nothing about mlb.
        if Path(git("rev-parse", "--show-toplevel")) != here:
            return ""
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return ""
