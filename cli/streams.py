"""The standard streams as commands may count on them: open, and failing in a way that is told from faults of mlb."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TextIO, cast

from ..errors import PreflightError


class ReaderGone(Exception):
    """Nobody reads our output any more (`mlb runs | head`): the rest of it is not wanted."""


class OutputLost(PreflightError):
    """Standard output takes nothing: its disk is full, or it was opened for reading."""


def open_streams() -> None:
    """Guard standard output and error, and send a stream that the caller closed (`>&-`) nowhere.

    A closed one is opened on its own number: otherwise the next file would have it, and get what a child prints.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)  # noqa: SIM115, PTH123  # for as long as the process lives
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
    sys.stdout = cast(TextIO, _Guarded(sys.stdout, _tell))
    sys.stderr = cast(TextIO, _Guarded(sys.stderr, _nobody_to_tell))


def silence() -> None:
    """Send the rest of standard output nowhere, so that Python does not complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Guarded:
    """A stream whose failing writes are no `OSError`, which could be anything's, but what `failed` makes of them."""

    def __init__(self, stream: TextIO, failed: Callable[[OSError], None]) -> None:
        self._stream, self._failed = stream, failed

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._failed(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _tell(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):
        raise ReaderGone from error
    raise OutputLost(
        "Standard output cannot be written.",
        why=error.strerror or str(error),
        fix="Send it to a file on a disk with room. Of a run nothing is lost: mlb report shows its result again.",
    ) from error


def _nobody_to_tell(_error: OSError) -> None:
    """Progress and errors that nobody can read are no reason to let go of a run."""
