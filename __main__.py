"""`python -m mlb` and the `mlb` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; the process ends with the exit code of docs/exit-codes.md."""
    from .cli.edge import run

    sys.exit(run())


if __name__ == "__main__":
    main()
